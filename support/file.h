/* Files: the only place that opens, reads and writes them for the compiler.
 * Reading accepts regular files alone (after open, by fstat, without blocking on a FIFO), and
 * refuses a file that changes while it is read. Writing makes the file whole or not at all. */
#ifndef SPCC_SUPPORT_FILE_H
#define SPCC_SUPPORT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/arena.h"
#include "support/diag.h"

typedef struct bytes {
  const unsigned char *data;
  size_t size;
} bytes;

/* An open regular file; its size, time and inode are checked again by file_close. */
typedef struct file file;

/* Opens `name` relative to the folder `dir`; dir NULL: the working directory. `shown` is the name
 * in messages. E_OPEN, E_NOT_FILE; NULL after an error. */
file *file_open(arena *a, diag *d, const char *dir, const char *name, const char *shown);
/* The same for a name that stands in a downloaded file, at `loc`: a single path component, never a
 * path; E_PATH. */
file *file_open_component(arena *a, diag *d, src_loc loc, const char *dir, const char *name,
                          const char *shown);
uint64_t file_size(const file *f);
const char *file_name(const file *f);
/* Reads `size` bytes at `offset` into `to`; E_W_CHANGED when the file is shorter by now. */
bool file_read_at(file *f, diag *d, uint64_t offset, void *to, size_t size);
/* Closes, and checks that the file did not change since file_open. */
bool file_close(file *f, diag *d);

/* Reads a whole file of at most `max` bytes (E_LIMIT). A zero byte follows the data. */
bool file_read(arena *a, diag *d, const char *dir, const char *name, size_t max, bytes *out);

/* The names in a folder, sorted by bytes, without "." and "..". E_OPEN. */
bool dir_list(arena *a, diag *d, const char *path, const char ***names, size_t *count);
/* Tells in *has whether a name stands in a folder. E_OPEN when the folder cannot be listed. */
bool dir_has(arena *a, diag *d, const char *path, const char *name, bool *has);

/* The folder part of `path` ("." when it has none). */
char *path_dir(arena *a, const char *path);
/* dir/name, or name alone when it is absolute or dir is NULL. */
char *path_join(arena *a, const char *dir, const char *name);
/* The path without links; its last component need not exist. NULL when its folder does not. */
char *path_resolved(arena *a, const char *path);
/* True when both paths exist and name the same file. */
bool path_same_file(const char *a, const char *b);

/* An output: written to a nameless or temporary file in the target's folder, then moved into
 * place by out_commit. Without out_commit nothing is left behind. A device or a FIFO is opened and
 * written itself, and may wait for its reader. */
typedef struct out_file out_file;
/* Refuses what out_open would refuse, and leaves nothing; a device or a FIFO is not opened, lest
 * its reader see an end. */
bool out_check(arena *a, diag *d, const char *path);
out_file *out_open(arena *a, diag *d, const char *path);
bool out_write(out_file *f, diag *d, const void *data, size_t size);
/* Waits until what was written is on the disk; out_commit does so too where this was not called. */
bool out_sync(out_file *f, diag *d);
/* Where the system has nameless files, a signal leaves either the target or nothing new. */
bool out_commit(out_file *f, diag *d);
/* Gives up; a no-op after out_commit. */
void out_abandon(out_file *f);
/* out_open, out_write and out_commit in one. */
bool out_write_file(arena *a, diag *d, const char *path, const void *data, size_t size);

/* Makes a folder; one that exists is fine. */
bool dir_make(diag *d, const char *path);

#endif
