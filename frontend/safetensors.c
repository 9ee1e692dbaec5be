/* Weight files on disk: one file, the shards of an index, a model folder; reading of elements. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/json.h"
#include "frontend/safetensors.h"
#include "support/text.h"

/* All shards stay open, so they are far fewer than a process may have files. */
enum { MAX_SHARDS = 512, MAX_INDEX = ST_MAX_HEADER, CHUNK = 1 << 20 };

#define ONE_FILE "model.safetensors"
#define INDEX_FILE "model.safetensors.index.json"
#define SUFFIX ".safetensors"

struct st_set {
  arena *arena;
  file **shard;      /* [shards] */
  st_header *header; /* [shards] */
  uint32_t shards;
  st_tensor **all;    /* [count], shard after shard, in the order of the headers */
  st_tensor **sorted; /* [count], by name */
  size_t count;
};

/* ---- one file ---- */

/* Reads the header of f; the ranges of all tensors are checked against the file's size. */
static bool read_header(st_set *s, diag *d, file *f, st_header *h) {
  unsigned char prefix[ST_PREFIX];
  size_t got = file_size(f) < ST_PREFIX ? (size_t)file_size(f) : ST_PREFIX, size;
  if (!file_read_at(f, d, 0, prefix, got)) return false;
  if (!st_header_size(d, file_name(f), prefix, got, file_size(f), &size)) return false;
  char *text = arena_alloc(s->arena, size, 1);
  return file_read_at(f, d, ST_PREFIX, text, size) &&
         st_parse(s->arena, d, file_name(f), text, size, file_size(f), h);
}

/* Adds the file f, NULL when it could not be opened, as the next shard. */
static bool add_shard(st_set *s, diag *d, file *f) {
  if (!f) return false;
  uint32_t shard = s->shards++;
  s->shard[shard] = f;
  if (!read_header(s, d, f, &s->header[shard])) return false;
  for (size_t i = 0; i < s->header[shard].count; i++)
    s->header[shard].tensor[i].shard = shard;
  s->count += s->header[shard].count;
  return true;
}

static int by_name(const void *x, const void *y) {
  const st_tensor *a = *(const st_tensor *const *)x, *b = *(const st_tensor *const *)y;
  int order = strcmp(a->name, b->name);
  if (order) return order;
  return a->shard < b->shard ? -1 : a->shard > b->shard;
}

/* Lists the tensors of all shards. */
static void list_tensors(st_set *s) {
  s->all = arena_array(s->arena, st_tensor *, s->count);
  s->sorted = arena_array(s->arena, st_tensor *, s->count);
  size_t n = 0;
  for (uint32_t i = 0; i < s->shards; i++)
    for (size_t k = 0; k < s->header[i].count; k++)
      s->all[n++] = &s->header[i].tensor[k];
  if (n == 0) return;
  memcpy(s->sorted, s->all, n * sizeof *s->all);
  qsort(s->sorted, n, sizeof *s->sorted, by_name);
}

/* A name that stands in two shards is an error. */
static bool check_unique(const st_set *s, diag *d) {
  bool good = true;
  for (size_t i = 1; i < s->count && !diag_full(d); i++)
    if (!strcmp(s->sorted[i - 1]->name, s->sorted[i]->name))
      good = diag_error(d, loc_file(st_shard_name(s, s->sorted[i]->shard)), E_W_DUP,
                        "tensor '%s' stands in %s too", s->sorted[i]->name,
                        st_shard_name(s, s->sorted[i - 1]->shard));
  return good;
}

static st_set *new_set(arena *a, size_t shards) {
  st_set *s = arena_new_one(a, st_set);
  s->arena = a;
  s->shard = arena_array(a, file *, shards);
  s->header = arena_array(a, st_header, shards);
  return s;
}

/* The set, or NULL with its files closed. */
static st_set *finish(st_set *s, diag *d, bool good) {
  if (good) list_tensors(s);
  if (good && check_unique(s, d)) return s;
  st_close(s, d);
  return NULL;
}

st_set *st_open(arena *a, diag *d, const char *dir, const char *name) {
  st_set *s = new_set(a, 1);
  return finish(s, d, add_shard(s, d, file_open(a, d, dir, name, path_join(a, dir, name))));
}

/* ---- an index and its shards ---- */

typedef struct st_index {
  const char *shown;
  json_t *map;        /* tensor name to shard name */
  const char **shard; /* [shards], sorted, each name once */
  size_t shards;
} st_index;

static int by_text(const void *x, const void *y) {
  return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* Fills index->shard from index->map. */
static bool list_shards(arena *a, diag *d, st_index *index) {
  src_loc loc = loc_file(index->shown);
  size_t count = json_object_size(index->map), n = 0;
  if (count == 0 || count > ST_MAX_TENSORS)
    return diag_error(d, loc, count ? E_LIMIT : E_EMPTY,
                      "\"weight_map\" names %zu tensors; 1 to %d are expected", count,
                      ST_MAX_TENSORS);
  const char **name = arena_array(a, const char *, count);
  const char *tensor;
  json_t *value;
  json_object_foreach (index->map, tensor, value) {
    if (!json_is_string(value))
      return diag_error(d, loc, E_TYPE, "\"weight_map\": the value of '%.60s' is not a string",
                        tensor);
    name[n++] = arena_strdup(a, json_string_value(value));
  }
  qsort(name, n, sizeof *name, by_text);
  index->shard = name;
  for (size_t i = 0; i < n; i++)
    if (i == 0 || strcmp(name[i], name[i - 1])) name[index->shards++] = name[i];
  if (index->shards <= MAX_SHARDS) return true;
  return diag_error(d, loc, E_LIMIT, "%zu shards; the limit is %d", index->shards, MAX_SHARDS);
}

/* The index and the shards must say the same. */
static bool compare_index(const st_set *s, diag *d, const st_index *index) {
  bool good = true;
  for (size_t i = 0; i < s->count && !diag_full(d); i++) {
    const st_tensor *t = s->all[i];
    if (!json_object_get(index->map, t->name))
      good = diag_error(d, loc_file(st_shard_name(s, t->shard)), E_W_MISSING,
                        "tensor '%s' is not listed in %s", t->name, index->shown);
  }
  const char *name;
  json_t *value;
  json_object_foreach (index->map, name, value) {
    if (diag_full(d)) break;
    const st_tensor *t = st_find(s, name);
    if (!t || strcmp(index->shard[t->shard], json_string_value(value)))
      good = diag_error(d, loc_file(index->shown), E_W_MISSING,
                        "tensor '%.80s' is not in the file '%.80s' that the index names for it",
                        name, json_string_value(value));
  }
  return good;
}

static st_set *open_shards(arena *a, diag *d, const char *dir, st_index *index) {
  if (!list_shards(a, d, index)) return NULL;
  st_set *s = new_set(a, index->shards);
  bool good = true;
  for (size_t i = 0; good && i < index->shards; i++) {
    const char *name = index->shard[i];
    good = add_shard(
        s, d,
        file_open_component(a, d, loc_file(index->shown), dir, name, path_join(a, dir, name)));
  }
  s = finish(s, d, good);
  if (!s || compare_index(s, d, index)) return s;
  st_close(s, d);
  return NULL;
}

static st_set *open_index(arena *a, diag *d, const char *dir, const char *name) {
  json_text text;
  json_t *root = json_read_file(a, d, dir, name, MAX_INDEX, &text);
  if (!root) return NULL;
  st_index index = {.shown = text.shown, .map = json_object_get(root, "weight_map")};
  st_set *s = NULL;
  if (!json_is_object(index.map))
    diag_error(d, json_place(&text, "weight_map"), index.map ? E_TYPE : E_KEY,
               "an index needs an object \"weight_map\" from tensor names to file names");
  else
    s = open_shards(a, d, dir, &index);
  json_decref(root);
  return s;
}

/* ---- a folder ---- */

st_set *st_open_folder(arena *a, diag *d, const char *dir) {
  const char **names, *only = NULL;
  size_t count, files = 0;
  bool one = false, index = false;
  if (!dir_list(a, d, dir, &names, &count)) return NULL;
  for (size_t i = 0; i < count; i++) {
    one |= !strcmp(names[i], ONE_FILE);
    index |= !strcmp(names[i], INDEX_FILE);
    if (!strcmp(names[i], SUFFIX) || !text_ends_with(names[i], SUFFIX)) continue;
    only = names[i];
    files++;
  }
  if (one) return st_open(a, d, dir, ONE_FILE);
  if (index) return open_index(a, d, dir, INDEX_FILE);
  if (files == 1) return st_open(a, d, dir, only);
  if (files == 0)
    diag_error(d, loc_file(dir), E_OPEN,
               "no *.safetensors in this folder; weights in other formats must be converted");
  else
    diag_error(d, loc_file(dir), E_CONFIG,
               "%zu *.safetensors in this folder, but no %s that says what is in which", files,
               INDEX_FILE);
  return NULL;
}

/* ---- access ---- */

size_t st_count(const st_set *s) {
  return s->count;
}

st_tensor *st_at(const st_set *s, size_t i) {
  return s->all[i];
}

st_tensor *st_find(const st_set *s, const char *name) {
  size_t low = 0, high = s->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(name, s->sorted[middle]->name);
    if (order == 0) return s->sorted[middle];
    if (order < 0)
      high = middle;
    else
      low = middle + 1;
  }
  return NULL;
}

uint32_t st_shard_count(const st_set *s) {
  return s->shards;
}

const char *st_shard_name(const st_set *s, uint32_t i) {
  return file_name(s->shard[i]);
}

bool st_close(st_set *s, diag *d) {
  bool good = true;
  for (uint32_t i = 0; i < s->shards; i++)
    good &= file_close(s->shard[i], d);
  s->shards = 0;
  return good;
}

const unsigned char *st_read_raw(st_set *s, diag *d, arena *a, const st_tensor *t) {
  size_t size = (size_t)(t->end - t->begin);
  unsigned char *data = arena_alloc(a, size, 64);
  return file_read_at(s->shard[t->shard], d, t->begin, data, size) ? data : NULL;
}

/* ---- elements as f32 ---- */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "safetensors are little-endian, and so is every machine that spcc runs on"
#endif

static float float_of_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

static float bf16_to_f32(uint16_t h) {
  return float_of_bits((uint32_t)h << 16);
}

/* Exact: every half is a float. A subnormal half is mantissa * 2^-24. */
static float f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = h >> 10 & 31u, mantissa = h & 0x3ffu;
  if (exponent == 31) return float_of_bits(sign | 0x7f800000u | mantissa << 13);
  if (exponent) return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
  float f = (float)mantissa * 0x1p-24f;
  return sign ? -f : f;
}

typedef float widen(uint16_t);

/* Reads 2-byte elements piece by piece and widens them into `to`. */
static bool read_halves(file *f, diag *d, arena *a, const st_tensor *t, widen *f32, float *to) {
  uint64_t left = t->end - t->begin;
  size_t size = left < CHUNK ? (size_t)left : CHUNK;
  arena *scratch = arena_scratch(a);
  uint16_t *piece = arena_array(scratch, uint16_t, size / sizeof *piece);
  bool good = true;
  for (; good && left; left -= size) {
    if (left < size) size = (size_t)left;
    good = file_read_at(f, d, t->end - left, piece, size);
    for (size_t i = 0; good && i < size / sizeof *piece; i++)
      *to++ = f32(piece[i]);
  }
  arena_free(scratch);
  return good;
}

static bool check_finite(const st_set *s, diag *d, const st_tensor *t, const float *data,
                         uint64_t count) {
  for (uint64_t i = 0; i < count; i++)
    if (!isfinite(data[i]))
      return diag_error(d, loc_file(st_shard_name(s, t->shard)), E_NONFINITE,
                        "tensor '%s': element %" PRIu64 " is %s; weights must be finite", t->name,
                        i,
                        isnan(data[i]) ? "NaN"
                        : data[i] > 0  ? "infinity"
                                       : "-infinity");
  return true;
}

const float *st_read_f32(st_set *s, diag *d, arena *a, st_tensor *t) {
  file *f = s->shard[t->shard];
  bool is_f32 = !strcmp(t->dtype, "F32"), is_f16 = !strcmp(t->dtype, "F16");
  t->used = true;
  if (!is_f32 && !is_f16 && strcmp(t->dtype, "BF16")) {
    diag_error(d, loc_file(file_name(f)), E_W_DTYPE,
               "tensor '%s' is %s; weights must be F32, F16 or BF16", t->name, t->dtype);
    return NULL;
  }
  uint64_t count = st_elements(t);
  float *data = arena_calloc(a, (size_t)count, sizeof *data, 64);
  bool read = is_f32 ? file_read_at(f, d, t->begin, data, (size_t)(t->end - t->begin))
                     : read_halves(f, d, a, t, is_f16 ? f16_to_f32 : bf16_to_f32, data);
  return read && check_finite(s, d, t, data, count) ? data : NULL;
}
