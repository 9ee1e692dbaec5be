#include "driver/output.h"

#include <string.h>
#include <sys/stat.h>

#include "support/signals.h"

struct pending {
  out_file **files;
  size_t count;
};

void outputs_abandon(driver *dr) {
  for (size_t i = 0; dr->pending && i < dr->pending->count; i++)
    out_abandon(dr->pending->files[i]);
  dr->pending = NULL;
}

/* Opens every file; false leaves those that are open in dr->pending. */
static bool open_all(driver *dr, const output *const *list, size_t count) {
  struct pending *p = arena_new_one(dr->arena, struct pending);
  p->files = arena_array(dr->arena, out_file *, count);
  dr->pending = p;
  for (; p->count < count; p->count++) {
    p->files[p->count] = out_open(dr->arena, dr->diag, list[p->count]->path);
    if (!p->files[p->count]) return false;
  }
  return true;
}

/* No file gets its name before the bytes of all are on the disk. */
static bool write_all(driver *dr, const output *const *list) {
  const struct pending *p = dr->pending;
  for (size_t i = 0; i < p->count; i++)
    if (!out_write(p->files[i], dr->diag, list[i]->data.data, list[i]->data.size)) return false;
  for (size_t i = 0; i < p->count; i++)
    if (!out_sync(p->files[i], dr->diag)) return false;
  for (size_t i = 0; i < p->count; i++)
    if (!out_commit(p->files[i], dr->diag)) return false;
  return true;
}

static bool check_inputs(driver *dr, const char *path, const char *const *inputs, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (path_same_file(path, inputs[i]))
      return diag_error(dr->diag, loc_file(path), E_SAME,
                        "this output is also the input '%s'; choose another name", inputs[i]);
  return true;
}

/* Of two outputs in one file the first would be lost; a device takes both. */
static bool check_apart(driver *dr, const output *list, size_t count) {
  const char **place = arena_array(dr->arena, const char *, count);
  for (size_t i = 0; i < count; i++) {
    if (path_is_device(list[i].path)) continue;
    place[i] = path_resolved(dr->arena, list[i].path);
    for (size_t k = 0; place[i] && k < i; k++)
      if (place[k] && !strcmp(place[k], place[i]))
        return diag_error(dr->diag, loc_file(list[i].path), E_SAME,
                          "this output is also the output '%s'; choose another name", list[k].path);
  }
  return true;
}

bool outputs_check(driver *dr, const output *list, size_t count, const char *const *inputs,
                   size_t input_count) {
  sigset_t old;
  bool ok = true;
  for (size_t i = 0; ok && i < count; i++)
    ok = check_inputs(dr, list[i].path, inputs, input_count);
  ok = ok && check_apart(dr, list, count);
  signals_hold(&old);
  for (size_t i = 0; ok && i < count; i++)
    ok = out_check(dr->arena, dr->diag, list[i].path);
  signals_release(&old);
  return ok;
}

bool outputs_write(driver *dr, const output *list, size_t count) {
  const output **files = arena_array(dr->arena, const output *, count);
  size_t n = 0;
  for (size_t i = 0; i < count; i++)
    if (!path_is_device(list[i].path))
      files[n++] = &list[i];
    else if (!out_write_file(dr->arena, dr->diag, list[i].path, list[i].data.data,
                             list[i].data.size))
      return false;
  sigset_t old;
  signals_hold(&old);
  bool ok = open_all(dr, files, n) && write_all(dr, files);
  outputs_abandon(dr);
  signals_release(&old);
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
