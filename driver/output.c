#include "driver/output.h"

#include <signal.h>
#include <string.h>
#include <sys/stat.h>

struct pending {
  out_file **files;
  size_t count;
};

/* The signals that end a process by default and come from outside. */
static const int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static void hold_signals(sigset_t *old) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
    sigaddset(&set, ending[i]);
  pthread_sigmask(SIG_BLOCK, &set, old);
}

void outputs_abandon(driver *dr) {
  for (size_t i = 0; dr->pending && i < dr->pending->count; i++)
    out_abandon(dr->pending->files[i]);
  dr->pending = NULL;
}

/* Opens every output; false leaves those that are open in dr->pending. */
static bool open_all(driver *dr, const output *list, size_t count) {
  struct pending *p = arena_new_one(dr->arena, struct pending);
  p->files = arena_array(dr->arena, out_file *, count);
  dr->pending = p;
  for (; p->count < count; p->count++) {
    p->files[p->count] = out_open(dr->arena, dr->diag, list[p->count].path);
    if (!p->files[p->count]) return false;
  }
  return true;
}

static bool write_all(driver *dr, const output *list) {
  struct pending *p = dr->pending;
  for (size_t i = 0; i < p->count; i++)
    if (!out_write(p->files[i], dr->diag, list[i].data.data, list[i].data.size)) return false;
  for (size_t i = 0; i < p->count; i++)
    if (!out_commit(p->files[i], dr->diag)) return false;
  return true;
}

bool outputs_check(driver *dr, const output *list, size_t count, const char *const *inputs,
                   size_t input_count) {
  for (size_t i = 0; i < count; i++)
    for (size_t k = 0; k < input_count; k++)
      if (path_same_file(list[i].path, inputs[k]))
        return diag_error(dr->diag, loc_file(list[i].path), E_SAME,
                          "this output is also the input '%s'; choose another name", inputs[k]);
  sigset_t old;
  hold_signals(&old);
  bool ok = open_all(dr, list, count);
  outputs_abandon(dr);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return ok;
}

bool outputs_write(driver *dr, const output *list, size_t count) {
  sigset_t old;
  hold_signals(&old);
  bool ok = open_all(dr, list, count) && write_all(dr, list);
  outputs_abandon(dr);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return ok;
}

bool path_is_device(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

char *path_with_suffix(arena *a, const char *path, const char *const *suffixes, const char *to) {
  size_t length = strlen(path);
  for (; *suffixes; suffixes++) {
    size_t n = strlen(*suffixes);
    if (length <= n || strcmp(path + length - n, *suffixes) != 0 || path[length - n - 1] == '/')
      continue;
    length -= n;
    break;
  }
  return arena_printf(a, "%.*s%s", (int)length, path, to);
}
