/* Both files of the link live in memory (memfd), under names in /proc/self/fd that cc inherits: no
 * temporary file that an interruption could leave behind. */
#include "driver/link.h"

#include <errno.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool cannot(driver *dr, const char *what, int error) {
  return diag_error(dr->diag, loc_file(NULL), E_TOOL, "cannot %s: %s", what, strerror(error));
}

static bool write_fd(driver *dr, int fd, bytes data) {
  while (data.size) {
    ssize_t n = write(fd, data.data, data.size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot(dr, "hand the object to cc", errno);
    data.data += n;
    data.size -= (size_t)n;
  }
  return true;
}

static bool read_fd(driver *dr, int fd, bytes *out) {
  struct stat st;
  if (fstat(fd, &st) != 0) return cannot(dr, "read what cc made", errno);
  if (st.st_size == 0)
    return diag_error(dr->diag, loc_file(NULL), E_TOOL,
                      "cc made an empty file; its linker cannot write to memory (GNU ld can)");
  unsigned char *data = arena_alloc(dr->arena, (size_t)st.st_size, 1);
  for (size_t at = 0; at < (size_t)st.st_size;) {
    ssize_t n = pread(fd, data + at, (size_t)st.st_size - at, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return cannot(dr, "read what cc made", n < 0 ? errno : EIO);
    at += (size_t)n;
  }
  *out = (bytes){data, (size_t)st.st_size};
  return true;
}

/* Runs cc; its standard output goes to standard error. The start files are wanted for their few
 * bytes of .bss: without any, GNU ld lets the weights join the writable segment before them. */
static bool run_cc(driver *dr, const char *in, const char *out) {
  const char *args[] = {"cc", "-shared", "-Wl,-z,noexecstack", "-Wl,-z,relro,-z,now", "-o", out,
                        in,   NULL};
  posix_spawn_file_actions_t actions;
  if (posix_spawn_file_actions_init(&actions) != 0) return cannot(dr, "start cc", ENOMEM);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  pid_t pid;
  int error = posix_spawnp(&pid, args[0], &actions, NULL, (char *const *)(uintptr_t)args, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error)
    return diag_error(dr->diag, loc_file(NULL), E_TOOL,
                      "cannot start 'cc', which --emit=shared links with: %s; install a C compiler "
                      "(Debian: gcc)",
                      strerror(error));
  int status;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return cannot(dr, "wait for cc", errno);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  return diag_error(dr->diag, loc_file(NULL), E_TOOL, "'cc -shared' failed with status %d",
                    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static bool link_through(driver *dr, int in, int out, bytes object, bytes *shared) {
  if (in < 0 || out < 0) return cannot(dr, "make a file in memory", errno);
  const char *in_path = arena_printf(dr->arena, "/proc/self/fd/%d", in);
  const char *out_path = arena_printf(dr->arena, "/proc/self/fd/%d", out);
  return write_fd(dr, in, object) && run_cc(dr, in_path, out_path) && read_fd(dr, out, shared);
}

bool link_shared(driver *dr, bytes object, bytes *shared) {
  int in = memfd_create("model.o", 0), out = memfd_create("model.so", 0);
  bool ok = link_through(dr, in, out, object, shared);
  if (in >= 0) close(in);
  if (out >= 0) close(out);
  return ok;
}
