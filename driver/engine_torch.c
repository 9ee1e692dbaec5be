/* PyTorch as an engine: a child process (bench/torch_engine.py) that answers lines with lines over
 * a socket that is its standard input and output. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver/engine.h"

extern char **environ;

typedef struct child {
  pid_t pid;
  int fd;
  char *buffer; /* what was read and not yet used begins at `at` */
  size_t at, used, capacity;
} child;

enum { FIRST_BUFFER = 1 << 16 };

static bool failed(engine *e, const char *what) {
  return diag_error(e->dr->diag, loc_file(NULL), E_TOOL,
                    "the torch engine %s; it needs Python with torch and "
                    "bench/torch_engine.py (SPCC_PYTHON and SPCC_TORCH_ENGINE name "
                    "others)",
                    what);
}

/* ---- lines ---- */

static bool send_line(engine *e, const char *line) {
  const child *c = e->state;
  size_t left = strlen(line);
  while (left) {
    ssize_t n = send(c->fd, line, left, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(e, "ended early");
    line += n;
    left -= (size_t)n;
  }
  return true;
}

static bool read_more(engine *e) {
  child *c = e->state;
  if (c->used == c->capacity) {
    c->buffer = arena_grow(e->dr->arena, c->buffer, c->used, 2 * c->capacity, 1, 1);
    c->capacity *= 2;
  }
  for (;;) {
    ssize_t n = recv(c->fd, c->buffer + c->used, c->capacity - c->used, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed(e, "ended early");
    c->used += (size_t)n;
    return true;
  }
}

/* The next line, without its end; valid until the next call. */
static char *read_line(engine *e) {
  child *c = e->state;
  memmove(c->buffer, c->buffer + c->at, c->used - c->at);
  c->used -= c->at;
  c->at = 0;
  for (size_t seen = 0;;) {
    char *end = memchr(c->buffer + seen, '\n', c->used - seen);
    if (end) {
      *end = '\0';
      c->at = (size_t)(end - c->buffer) + 1;
      return c->buffer;
    }
    seen = c->used;
    if (!read_more(e)) return NULL;
  }
}

/* Reads exactly `count` numbers out of a line. */
static bool parse_numbers(engine *e, char *line, size_t count, double *to) {
  for (size_t i = 0; i < count; i++) {
    char *end;
    to[i] = strtod(line, &end);
    if (end == line) return failed(e, arena_printf(e->dr->arena, "answered '%.60s'", line));
    line = end;
  }
  return *line == '\0' || failed(e, "answered with more numbers than asked for");
}

/* ---- the engine ---- */

static bool run(engine *e, uint32_t count, double *ms) {
  if (!send_line(e, arena_printf(e->dr->arena, "run %u\n", count))) return false;
  char *line = read_line(e);
  return line && parse_numbers(e, line, count, ms);
}

static bool output(engine *e, const char *name, float *to, size_t count) {
  double *values = arena_array(e->dr->arena, double, count + 1);
  if (!send_line(e, arena_printf(e->dr->arena, "output %s\n", name))) return false;
  char *line = read_line(e);
  if (!line || !parse_numbers(e, line, count, values)) return false;
  for (size_t i = 0; i < count; i++)
    to[i] = (float)values[i];
  return true;
}

static void close_torch(engine *e) {
  child *c = e->state;
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  if (c->pid > 0) {
    kill(c->pid, SIGTERM);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
      continue;
  }
  c->pid = 0;
}

/* bench/torch_engine.py beside the build folder, or where `cmake --install` puts it. */
static const char *script_path(driver *dr) {
  const char *named = getenv("SPCC_TORCH_ENGINE");
  if (named) return named;
  char exe[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
  if (n < 0) return "bench/torch_engine.py";
  exe[n] = '\0';
  const char *dir = path_dir(dr->arena, exe);
  const char *beside = path_join(dr->arena, dir, "../bench/torch_engine.py");
  if (access(beside, R_OK) == 0) return beside;
  return path_join(dr->arena, dir, "../share/spcc/torch_engine.py");
}

static bool spawn(engine *e, const char *folder, uint32_t threads) {
  child *c = e->state;
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return failed(e, "could not be connected");
  const char *python = getenv("SPCC_PYTHON");
  const char *args[] = {python && *python ? python : "python3", script_path(e->dr), folder,
                        arena_printf(e->dr->arena, "%u", threads), NULL};
  posix_spawn_file_actions_t actions;
  int error = posix_spawn_file_actions_init(&actions);
  if (!error) {
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    error = posix_spawnp(&c->pid, args[0], &actions, NULL, (char *const *)(uintptr_t)args, environ);
    posix_spawn_file_actions_destroy(&actions);
  }
  close(ends[1]);
  c->fd = ends[0];
  if (error) c->pid = 0;
  return !error || failed(e, arena_printf(e->dr->arena, "did not start: %s", strerror(error)));
}

/* "input batch sequence name count values… name count values…", absent inputs left out. */
static bool send_inputs(engine *e, const input_set *set) {
  arena *a = e->dr->arena;
  if (!send_line(e, arena_printf(a, "input %d %d", set->batch, set->sequence))) return false;
  for (uint32_t i = 0; i < set->count; i++) {
    const input *in = &set->list[i];
    if (!in->data) continue;
    const int32_t *ids = in->data;
    if (!send_line(e, arena_printf(a, " %s %zu", in->name, in->count))) return false;
    for (size_t k = 0; k < in->count; k++)
      if (!send_line(e, arena_printf(a, " %d", ids[k]))) return false;
  }
  return send_line(e, "\n");
}

/* Waits for "ready ISA BYTES". */
static bool wait_ready(engine *e) {
  char *line = read_line(e);
  char *isa = line ? strchr(line, ' ') : NULL;
  char *size = isa ? strchr(isa + 1, ' ') : NULL;
  if (!line) return false;
  if (!size || strncmp(line, "ready ", 6) != 0)
    return failed(e, arena_printf(e->dr->arena, "answered '%.60s'", line));
  e->isa = arena_strndup(e->dr->arena, isa + 1, (size_t)(size - isa - 1));
  e->object_bytes = strtoull(size + 1, NULL, 10);
  return true;
}

bool engine_open_torch(const bench_case *c, engine *e) {
  *e = (engine){.dr = c->dr,
                .name = "torch",
                .run = run,
                .output = output,
                .close = close_torch,
                .state = arena_new_one(c->dr->arena, child)};
  child *state = e->state;
  *state = (child){
      .fd = -1, .buffer = arena_alloc(c->dr->arena, FIRST_BUFFER, 1), .capacity = FIRST_BUFFER};
  model_source *m = source_read(c->dr, c->path, &c->options->overrides);
  if (!m || !source_close(c->dr, m)) return false;
  if (!m->folder)
    return diag_error(c->dr->diag, loc_file(c->path), E_CONFIG,
                      "the torch engine needs a model in the Hugging Face form; leave it out of "
                      "--engine for an explicit graph");
  stage_begin(c->dr, "torch");
  return spawn(e, m->folder, c->threads) && send_inputs(e, &c->inputs) && wait_ready(e);
}
