/* Reading: regular files alone, by pread, checked for changes. */
#include "support/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "support/checked.h"

/* One pread asks for at most this much; Linux moves less than 2 GiB per call. */
enum { READ_MAX = 1 << 30 };

struct file {
  int fd;
  struct stat at_open;
  const char *shown;
};

/* What a file that is not regular is called in messages. */
static const char *kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

static bool not_regular(diag *d, const char *shown, const char *kind) {
  return diag_error(d, loc_file(shown), E_NOT_FILE,
                    "this is %s, not a regular file; only regular files are read", kind);
}

/* Entries of /proc pass for regular files of 0 bytes, /proc/self/mem among them. */
static bool is_proc(int fd) {
  struct statfs fs;
  return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Fills f->at_open, and refuses what is not a regular file. */
static bool check_regular(file *f, diag *d) {
  if (fstat(f->fd, &f->at_open) != 0)
    return diag_error(d, loc_file(f->shown), E_OPEN, "cannot read: %s", strerror(errno));
  if (!S_ISREG(f->at_open.st_mode)) return not_regular(d, f->shown, kind_of(f->at_open.st_mode));
  if (is_proc(f->fd)) return not_regular(d, f->shown, "an entry of /proc");
  int flags = fcntl(f->fd, F_GETFL);
  if (flags < 0 || fcntl(f->fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
    return diag_error(d, loc_file(f->shown), E_OPEN, "cannot read: %s", strerror(errno));
  return true;
}

/* Opens without blocking on a FIFO; a descriptor, or -1 with errno set. */
static int open_in(const char *dir, const char *name) {
  int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  if (!dir) return open(name, flags);
  int folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return -1;
  int fd = openat(folder, name, flags), error = errno;
  close(folder);
  errno = error;
  return fd;
}

file *file_open(arena *a, diag *d, const char *dir, const char *name, const char *shown) {
  file *f = arena_new_one(a, file);
  f->shown = arena_strdup(a, shown);
  f->fd = open_in(dir, name);
  if (f->fd < 0) {
    if (errno == ENXIO)
      not_regular(d, shown, "a socket or a device");
    else
      diag_error(d, loc_file(shown), E_OPEN, "cannot open: %s", strerror(errno));
    return NULL;
  }
  if (check_regular(f, d)) return f;
  close(f->fd);
  return NULL;
}

/* A single component: no folder, no way up, nothing that another system reads as a path. */
static bool is_component(const char *name) {
  size_t length = strlen(name);
  if (length == 0 || length > 255 || !strcmp(name, ".") || !strcmp(name, "..")) return false;
  for (const char *s = name; *s; s++)
    if (*s == '/' || *s == '\\' || (unsigned char)*s < 0x20 || *s == 0x7f) return false;
  return true;
}

file *file_open_component(arena *a, diag *d, src_loc loc, const char *dir, const char *name,
                          const char *shown) {
  if (is_component(name)) return file_open(a, d, dir, name, shown);
  diag_error(d, loc, E_PATH,
             "the file name '%.80s%s' is not a plain name of at most 255 bytes; a file named by "
             "another one must lie in the same folder",
             name, strlen(name) > 80 ? "…" : "");
  return NULL;
}

uint64_t file_size(const file *f) {
  return (uint64_t)f->at_open.st_size;
}

const char *file_name(const file *f) {
  return f->shown;
}

static bool same_inode(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool file_read_at(file *f, diag *d, uint64_t offset, void *to, size_t size) {
  unsigned char *at = to;
  while (size) {
    ssize_t n = pread(f->fd, at, size < READ_MAX ? size : READ_MAX, (off_t)offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return diag_error(d, loc_file(f->shown), E_OPEN, "cannot read: %s", strerror(errno));
    if (n == 0)
      return diag_error(d, loc_offset(f->shown, offset), E_W_CHANGED,
                        "the file became shorter while it was read; try again");
    at += n;
    offset += (uint64_t)n;
    size -= (size_t)n;
  }
  return true;
}

static bool unchanged(const struct stat *a, const struct stat *b) {
  return same_inode(a, b) && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
         a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

bool file_close(file *f, diag *d) {
  struct stat now;
  bool same = fstat(f->fd, &now) == 0 && unchanged(&f->at_open, &now);
  close(f->fd);
  f->fd = -1;
  if (same) return true;
  return diag_error(d, loc_file(f->shown), E_W_CHANGED,
                    "the file changed while it was read; try again");
}

bool file_read(arena *a, diag *d, const char *dir, const char *name, size_t max, bytes *out) {
  file *f = file_open(a, d, dir, name, path_join(a, dir, name));
  if (!f) return false;
  size_t size = (size_t)file_size(f);
  if (file_size(f) > max) {
    diag_error(d, loc_file(f->shown), E_LIMIT, "the file has %" PRIu64 " bytes; the limit is %zu",
               file_size(f), max);
    close(f->fd);
    return false;
  }
  unsigned char *data = arena_alloc(a, size + 1, 1);
  *out = (bytes){data, size};
  bool good = file_read_at(f, d, 0, data, size);
  return good ? file_close(f, d) : (close(f->fd), false);
}

static int by_bytes(const void *x, const void *y) {
  return strcmp(*(const char *const *)x, *(const char *const *)y);
}

bool dir_list(arena *a, diag *d, const char *path, const char ***names, size_t *count) {
  DIR *folder = opendir(path);
  if (!folder)
    return diag_error(d, loc_file(path), E_OPEN, "cannot open this folder: %s", strerror(errno));
  size_t n = 0, room = 0;
  const char **list = NULL;
  for (struct dirent *e; (errno = 0, e = readdir(folder));) {
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
    if (n == room) {
      room = room ? 2 * room : 64;
      list = arena_grow(a, list, n, room, sizeof *list, _Alignof(const char *));
    }
    list[n++] = arena_strdup(a, e->d_name);
  }
  int error = errno;
  closedir(folder);
  if (error)
    return diag_error(d, loc_file(path), E_OPEN, "cannot list this folder: %s", strerror(error));
  if (n) qsort(list, n, sizeof *list, by_bytes);
  *names = list;
  *count = n;
  return true;
}

bool dir_has(arena *a, diag *d, const char *path, const char *name, bool *has) {
  const char **names;
  size_t count;
  *has = false;
  if (!dir_list(a, d, path, &names, &count)) return false;
  for (size_t i = 0; i < count; i++)
    *has |= strcmp(names[i], name) == 0;
  return true;
}

char *path_dir(arena *a, const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return arena_strdup(a, ".");
  if (slash == path) return arena_strdup(a, "/");
  return arena_strndup(a, path, (size_t)(slash - path));
}

char *path_join(arena *a, const char *dir, const char *name) {
  if (!dir || name[0] == '/') return arena_strdup(a, name);
  size_t length = strlen(dir);
  bool has_slash = length && dir[length - 1] == '/';
  return arena_printf(a, has_slash ? "%s%s" : "%s/%s", dir, name);
}

/* realpath() in the arena; NULL when the path does not exist. */
static char *real_path(arena *a, const char *path) {
  char *real = realpath(path, NULL);
  char *copy = real ? arena_strdup(a, real) : NULL;
  free(real);
  return copy;
}

char *path_resolved(arena *a, const char *path) {
  const char *slash = strrchr(path, '/');
  char *real = real_path(a, path), *dir = real ? NULL : real_path(a, path_dir(a, path));
  return dir ? path_join(a, dir, slash ? slash + 1 : path) : real;
}

bool path_same_file(const char *a, const char *b) {
  struct stat sa, sb;
  return stat(a, &sa) == 0 && stat(b, &sb) == 0 && same_inode(&sa, &sb);
}
