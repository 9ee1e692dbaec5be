/* Writing: a file appears whole or not at all.
 *
 * The bytes go to a nameless file (O_TMPFILE) in the target's folder, which vanishes with the
 * process; out_commit gives it its name. Where the file system has no nameless files, a file with
 * a temporary name takes its place. Devices and FIFOs, such as /dev/stdout, are written directly.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdlib.h>

#include "support/file.h"
#include "support/signals.h"

enum { WRITE_MAX = 1 << 30, TEMPORARY_NAMES = 1000 };

struct out_file {
  arena *arena;
  int fd;                /* -1 after out_commit or out_abandon */
  const char *shown;     /* as the user wrote it */
  const char *target;    /* with symbolic links resolved */
  const char *dir;       /* of target */
  const char *temporary; /* name to remove or rename; NULL while the file has none */
  bool direct;           /* the target itself is what is open */
  bool synced;           /* all that was written is on the disk */
  bool failed;           /* a write failed: nothing to commit */
};

static bool cannot(out_file *f, diag *d, enum err code, const char *what) {
  f->failed = true;
  return diag_error(d, loc_file(f->shown), code, "cannot %s: %s", what, strerror(errno));
}

static const char *temporary_name(out_file *f, int attempt) {
  return path_join(f->arena, f->dir,
                   arena_printf(f->arena, ".spcc-%ld-%d.tmp", (long)getpid(), attempt));
}

static bool open_named(out_file *f) {
  for (int i = 0; i < TEMPORARY_NAMES; i++) {
    f->temporary = temporary_name(f, i);
    f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (f->fd >= 0) return true;
    if (errno != EEXIST) break;
  }
  f->temporary = NULL;
  return false;
}

/* A nameless file gets its name through /proc. */
static bool open_nameless(out_file *f) {
  if (access("/proc/self/fd", X_OK) != 0) return false;
  f->fd = open(f->dir, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  return f->fd >= 0;
}

/* Decides what is opened for the existing target `st`. */
static bool choose_existing(out_file *f, diag *d, const struct stat *st) {
  if (S_ISDIR(st->st_mode))
    return diag_error(d, loc_file(f->shown), E_OPEN,
                      "this is a folder; name the file to write in it");
  f->direct = S_ISCHR(st->st_mode) || S_ISFIFO(st->st_mode);
  if (!f->direct && !S_ISREG(st->st_mode))
    return diag_error(d, loc_file(f->shown), E_OPEN,
                      "only files, FIFOs and character devices can "
                      "be written");
  if (access(f->shown, W_OK) != 0) return cannot(f, d, E_OPEN, "open for writing");
  if (f->direct) return true;
  char *real = realpath(f->shown, NULL);
  if (!real) return cannot(f, d, E_OPEN, "open for writing");
  f->target = arena_strdup(f->arena, real);
  free(real);
  return true;
}

/* Decides what is opened, and opens nothing yet. */
static bool choose_target(out_file *f, diag *d) {
  const char *slash = strrchr(f->shown, '/');
  struct stat st;
  if (stat(f->shown, &st) == 0) {
    if (!choose_existing(f, d, &st)) return false;
  } else if (errno != ENOENT) {
    return cannot(f, d, E_OPEN, "open for writing");
  } else if (!*f->shown || (slash && !slash[1])) {
    return diag_error(d, loc_file(f->shown), E_OPEN, "no file name is given");
  }
  f->dir = path_dir(f->arena, f->target);
  return true;
}

static bool open_target(out_file *f, diag *d) {
  if (!f->direct)
    return open_nameless(f) || open_named(f) || cannot(f, d, E_OPEN, "make a file in this folder");
  f->fd = open(f->shown, O_WRONLY | O_NOCTTY | O_CLOEXEC);
  return f->fd >= 0 || cannot(f, d, E_OPEN, "open for writing");
}

static out_file *new_file(arena *a, const char *path) {
  out_file *f = arena_new_one(a, out_file);
  *f = (out_file){.arena = a, .fd = -1, .shown = arena_strdup(a, path)};
  f->target = f->shown;
  return f;
}

bool out_check(arena *a, diag *d, const char *path) {
  out_file *f = new_file(a, path);
  bool ok = choose_target(f, d) && (f->direct || open_target(f, d));
  out_abandon(f);
  return ok;
}

out_file *out_open(arena *a, diag *d, const char *path) {
  out_file *f = new_file(a, path);
  return choose_target(f, d) && open_target(f, d) ? f : NULL;
}

bool out_write(out_file *f, diag *d, const void *data, size_t size) {
  const unsigned char *at = data;
  f->synced = false;
  while (size) {
    ssize_t n = write(f->fd, at, size < WRITE_MAX ? size : WRITE_MAX);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot(f, d, E_WRITE, "write");
    at += n;
    size -= (size_t)n;
  }
  return true;
}

/* Gives a nameless file its name: the target's when that is free, else a temporary one. */
static bool name_file(out_file *f) {
  const char *nameless = arena_printf(f->arena, "/proc/self/fd/%d", f->fd);
  const char *name = f->target;
  for (int i = 0; i < TEMPORARY_NAMES; i++) {
    if (linkat(AT_FDCWD, nameless, AT_FDCWD, name, AT_SYMLINK_FOLLOW) == 0) {
      f->temporary = name;
      return true;
    }
    if (errno != EEXIST) return false;
    name = temporary_name(f, i);
  }
  return false;
}

static bool move_into_place(out_file *f) {
  if (!f->temporary && !name_file(f)) return false;
  if (f->temporary != f->target && rename(f->temporary, f->target) != 0) return false;
  f->temporary = NULL;
  return true;
}

bool out_sync(out_file *f, diag *d) {
  if (f->failed) return false;
  /* EINVAL: the file system has nothing to flush. */
  if (!f->direct && !f->synced && fsync(f->fd) != 0 && errno != EINVAL)
    return cannot(f, d, E_WRITE, "write");
  f->synced = true;
  return true;
}

bool out_commit(out_file *f, diag *d) {
  bool done = out_sync(f, d);
  sigset_t old;
  signals_hold(&old); /* a signal in the midst would leave a temporary name */
  if (done && !f->direct && !move_into_place(f))
    done = cannot(f, d, E_WRITE, "move the file into place");
  out_abandon(f);
  signals_release(&old);
  return done;
}

void out_abandon(out_file *f) {
  if (f->temporary) unlink(f->temporary);
  if (f->fd >= 0) close(f->fd);
  f->temporary = NULL;
  f->fd = -1;
}

bool out_write_file(arena *a, diag *d, const char *path, const void *data, size_t size) {
  out_file *f = out_open(a, d, path);
  if (!f) return false;
  if (out_write(f, d, data, size)) return out_commit(f, d);
  out_abandon(f);
  return false;
}

bool dir_make(diag *d, const char *path) {
  struct stat st;
  if (mkdir(path, 0777) == 0) return true;
  int error = errno;
  if (error == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return true;
  return diag_error(d, loc_file(path), E_OPEN, "cannot make the folder: %s", strerror(error));
}
