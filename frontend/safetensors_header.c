/* The header of a safetensors file: from bytes in memory to checked tensors. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/json.h"
#include "frontend/safetensors.h"

/* ---- element types ---- */

static const st_dtype dtypes[] = {
#define DTYPE(name, bytes) {#name, bytes},
#include "frontend/dtypes.def"
#undef DTYPE
};

const char st_dtype_names[] =
#define DTYPE(name, bytes) " " #name
#include "frontend/dtypes.def"
#undef DTYPE
    ;

const st_dtype *st_dtype_find(const char *name) {
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
    if (!strcmp(dtypes[i].name, name)) return &dtypes[i];
  return NULL;
}

/* ---- one tensor ---- */

static bool mul64(uint64_t a, uint64_t b, uint64_t *out) {
  if (b != 0 && a > UINT64_MAX / b) return false;
  *out = a * b;
  return true;
}

/* Elements and bytes. Dimensions of 0 are left out until the end: a product that overflows stays an
 * error wherever the 0 stands. */
static bool multiply(const st_tensor *t, uint64_t width, uint64_t *elements, uint64_t *size) {
  uint64_t product = 1, total;
  bool empty = false;
  for (uint32_t i = 0; i < t->rank; i++) {
    if (t->dim[i] == 0)
      empty = true;
    else if (!mul64(product, (uint64_t)t->dim[i], &product))
      return false;
  }
  if (!mul64(product, width, &total)) return false;
  *elements = empty ? 0 : product;
  *size = empty ? 0 : total;
  return true;
}

uint64_t st_elements(const st_tensor *t) {
  uint64_t elements = 0, size;
  multiply(t, 1, &elements, &size);
  return elements;
}

static bool check_name(diag *d, const char *shown, const char *name) {
  size_t length = strlen(name);
  if (!strcmp(name, ST_METADATA))
    return diag_error(d, loc_file(shown), E_W_NAME, "no tensor may be called '%s'", name);
  if (length >= 1 && length <= ST_MAX_NAME) return true;
  return diag_error(d, loc_file(shown), E_W_NAME,
                    "the tensor name '%.60s%s' has %zu bytes; a name has 1 to %d", name,
                    length > 60 ? "…" : "", length, ST_MAX_NAME);
}

bool st_check_tensor(diag *d, const char *shown, const st_tensor *t, const st_dtype *type,
                     uint64_t *size) {
  uint64_t elements;
  if (!check_name(d, shown, t->name)) return false;
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->dim[i] < 0)
      return diag_error(d, loc_file(shown), E_W_DIM,
                        "tensor '%s': dimension %" PRIu32 " is %" PRId64 ", below 0", t->name, i,
                        t->dim[i]);
  if (!multiply(t, type->bytes, &elements, size))
    return diag_error(d, loc_file(shown), E_W_OVERFLOW,
                      "tensor '%s': the size of its shape does not fit in 64 bits", t->name);
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->dim[i] > ST_MAX_DIM)
      return diag_error(d, loc_file(shown), E_W_DIM,
                        "tensor '%s': dimension %" PRIu32 " is %" PRId64 "; the limit is %" PRId64,
                        t->name, i, t->dim[i], ST_MAX_DIM);
  if (elements > ST_MAX_ELEMENTS)
    return diag_error(d, loc_file(shown), E_LIMIT,
                      "tensor '%s' has %" PRIu64 " elements; the limit is %" PRIu64, t->name,
                      elements, ST_MAX_ELEMENTS);
  return true;
}

/* ---- the JSON of one tensor ---- */

/* What the readers of one header share. */
typedef struct reader {
  arena *arena;
  diag *diag;
  const char *shown;
  uint64_t data_begin, data_size; /* the data follows the header up to the end of the file */
} reader;

static bool integer_of(const json_t *value, int64_t *out) {
  if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
  *out = json_integer_value(value);
  return true;
}

static bool read_shape(const reader *r, const json_t *shape, st_tensor *t) {
  src_loc loc = loc_file(r->shown);
  if (!json_is_array(shape))
    return diag_error(r->diag, loc, E_W_DIM, "tensor '%s': \"shape\" is not a list", t->name);
  size_t rank = json_array_size(shape);
  if (rank > IR_MAX_RANK)
    return diag_error(r->diag, loc, E_LIMIT, "tensor '%s' has %zu dimensions; the limit is %d",
                      t->name, rank, IR_MAX_RANK);
  t->rank = (uint32_t)rank;
  for (size_t i = 0; i < rank; i++)
    if (!integer_of(json_array_get(shape, i), &t->dim[i]))
      return diag_error(r->diag, loc, E_W_DIM,
                        "tensor '%s': dimension %zu is not a non-negative integer", t->name, i);
  return true;
}

/* Each offset alone, then the pair. Leaves offsets of the file in the tensor. */
static bool read_offsets(const reader *r, const json_t *offsets, st_tensor *t) {
  src_loc loc = loc_file(r->shown);
  int64_t begin, end;
  if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
      !integer_of(json_array_get(offsets, 0), &begin) ||
      !integer_of(json_array_get(offsets, 1), &end))
    return diag_error(r->diag, loc, E_W_RANGE,
                      "tensor '%s': \"data_offsets\" is not a list of two non-negative integers",
                      t->name);
  if ((uint64_t)begin > r->data_size || (uint64_t)end > r->data_size)
    return diag_error(r->diag, loc, E_W_RANGE,
                      "tensor '%s': its range [%" PRId64 ", %" PRId64 ") leaves the file's %" PRIu64
                      " bytes of data",
                      t->name, begin, end, r->data_size);
  if (begin > end)
    return diag_error(r->diag, loc, E_W_RANGE,
                      "tensor '%s': its range [%" PRId64 ", %" PRId64 ") ends before it begins",
                      t->name, begin, end);
  t->begin = r->data_begin + (uint64_t)begin;
  t->end = r->data_begin + (uint64_t)end;
  return true;
}

static const char *const fields[] = {"dtype", "shape", "data_offsets"};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };

/* Exactly the three fields. */
static bool check_fields(const reader *r, const char *name, json_t *entry) {
  src_loc loc = loc_file(r->shown);
  if (!json_is_object(entry))
    return diag_error(r->diag, loc, E_W_FIELD, "tensor '%s': its entry is not an object", name);
  for (size_t i = 0; i < FIELD_COUNT; i++)
    if (!json_object_get(entry, fields[i]))
      return diag_error(r->diag, loc, E_W_FIELD, "tensor '%s' has no \"%s\"", name, fields[i]);
  const char *key;
  json_t *value;
  json_object_foreach (entry, key, value) {
    bool known = false;
    for (size_t i = 0; i < FIELD_COUNT; i++)
      known |= !strcmp(key, fields[i]);
    if (!known)
      return diag_error(r->diag, loc, E_W_FIELD,
                        "tensor '%s': unknown field \"%.60s\"; a tensor has dtype, shape and "
                        "data_offsets",
                        name, key);
  }
  return true;
}

static const st_dtype *read_dtype(const reader *r, const json_t *entry, const char *name) {
  const char *text = json_string_value(json_object_get(entry, "dtype"));
  const st_dtype *type = text ? st_dtype_find(text) : NULL;
  if (!text)
    diag_error(r->diag, loc_file(r->shown), E_W_DTYPE, "tensor '%s': \"dtype\" is not a string",
               name);
  else if (!type)
    diag_error(r->diag, loc_file(r->shown), E_W_DTYPE,
               "tensor '%s': unknown dtype '%.60s'; known are%s", name, text, st_dtype_names);
  return type;
}

static bool read_tensor(const reader *r, const char *name, json_t *entry, st_tensor *t) {
  if (!check_name(r->diag, r->shown, name) || !check_fields(r, name, entry)) return false;
  const st_dtype *type = read_dtype(r, entry, name);
  if (!type) return false;
  *t = (st_tensor){.name = arena_strdup(r->arena, name), .dtype = type->name};
  uint64_t need;
  if (!read_shape(r, json_object_get(entry, "shape"), t) ||
      !st_check_tensor(r->diag, r->shown, t, type, &need) ||
      !read_offsets(r, json_object_get(entry, "data_offsets"), t))
    return false;
  if (t->end - t->begin == need) return true;
  return diag_error(r->diag, loc_file(r->shown), E_W_SIZE,
                    "tensor '%s': %" PRIu64 " elements of %s need %" PRIu64
                    " bytes, the range holds %" PRIu64,
                    t->name, st_elements(t), type->name, need, t->end - t->begin);
}

/* ---- the whole header ---- */

static bool check_metadata(const reader *r, json_t *metadata) {
  src_loc loc = loc_file(r->shown);
  if (!json_is_object(metadata))
    return diag_error(r->diag, loc, E_W_META, "\"__metadata__\" is not an object");
  const char *key;
  json_t *value;
  json_object_foreach (metadata, key, value) {
    if (!json_is_string(value))
      return diag_error(r->diag, loc, E_W_META,
                        "\"__metadata__\": the value of \"%.60s\" is not a string", key);
  }
  return true;
}

/* By place in the file; empty tensors before the one that begins at the same byte. */
static int by_place(const void *x, const void *y) {
  const st_tensor *a = *(const st_tensor *const *)x, *b = *(const st_tensor *const *)y;
  if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
  if (a->end != b->end) return a->end < b->end ? -1 : 1;
  return strcmp(a->name, b->name);
}

static bool hole(const reader *r, uint64_t begin, uint64_t end) {
  return diag_error(r->diag, loc_offset(r->shown, begin), E_W_HOLE,
                    "%" PRIu64 " bytes belong to no tensor", end - begin);
}

/* Every byte of the data belongs to exactly one tensor. */
static bool check_coverage(const reader *r, st_header *h) {
  const st_tensor **sorted = arena_array(r->arena, const st_tensor *, h->count);
  for (size_t i = 0; i < h->count; i++)
    sorted[i] = &h->tensor[i];
  qsort(sorted, h->count, sizeof *sorted, by_place);
  uint64_t at = r->data_begin;
  for (size_t i = 0; i < h->count; i++) {
    const st_tensor *t = sorted[i];
    if (t->begin < at)
      return diag_error(r->diag, loc_offset(r->shown, t->begin), E_W_OVERLAP,
                        "tensor '%s' overlaps tensor '%s'", t->name, sorted[i - 1]->name);
    if (t->begin > at) return hole(r, at, t->begin);
    at = t->end;
  }
  uint64_t end = r->data_begin + r->data_size;
  return at == end || hole(r, at, end);
}

static bool read_header(const reader *r, json_t *root, st_header *h) {
  json_t *metadata = json_object_get(root, ST_METADATA);
  if (metadata && !check_metadata(r, metadata)) return false;
  size_t count = json_object_size(root) - (metadata ? 1 : 0);
  if (count > ST_MAX_TENSORS)
    return diag_error(r->diag, loc_file(r->shown), E_LIMIT, "%zu tensors; the limit is %d", count,
                      ST_MAX_TENSORS);
  h->tensor = arena_array(r->arena, st_tensor, count);
  h->count = 0;
  bool good = true;
  const char *name;
  json_t *entry;
  json_object_foreach (root, name, entry) {
    if (entry == metadata) continue;
    good &= read_tensor(r, name, entry, &h->tensor[h->count++]);
    if (diag_full(r->diag)) return false;
  }
  return good && check_coverage(r, h);
}

/* The JSON stands between the first byte and the spaces that may pad it. */
static bool check_frame(diag *d, const char *shown, const char *text, size_t *size) {
  if (text[0] != '{')
    return diag_error(d, loc_offset(shown, ST_PREFIX), E_W_JSON,
                      "the header does not begin with '{'; is this a safetensors file?");
  while (text[*size - 1] == ' ')
    --*size;
  if (text[*size - 1] == '}') return true;
  return diag_error(d, loc_offset(shown, ST_PREFIX + *size - 1), E_W_JSON,
                    "the header does not end with '}' and spaces");
}

bool st_parse(arena *a, diag *d, const char *shown, const char *text, size_t size,
              uint64_t file_size, st_header *out) {
  reader r = {a, d, shown, ST_PREFIX + size, file_size - ST_PREFIX - size};
  if (!check_frame(d, shown, text, &size)) return false;
  json_text in = {.shown = shown, .text = text, .size = size, .weights = true, .base = ST_PREFIX};
  json_t *root = json_parse(d, &in);
  if (!root) return false;
  bool good = read_header(&r, root, out);
  json_decref(root);
  return good;
}

bool st_header_size(diag *d, const char *shown, const unsigned char *prefix, size_t got,
                    uint64_t file_size, size_t *size) {
  src_loc loc = loc_file(shown);
  if (got < ST_PREFIX)
    return diag_error(d, loc, E_W_SHORT, "%zu bytes are too few for a safetensors file", got);
  uint64_t length = 0;
  for (int i = ST_PREFIX; i-- > 0;)
    length = length << 8 | prefix[i];
  if (length == 0) return diag_error(d, loc, E_W_HEADER, "the length of the header is 0");
  if (length > ST_MAX_HEADER)
    return diag_error(d, loc, E_LIMIT,
                      "the header claims %" PRIu64
                      " bytes; the limit is %d; is this a safetensors file?",
                      length, ST_MAX_HEADER);
  if (length > file_size - ST_PREFIX)
    return diag_error(d, loc, E_W_SHORT,
                      "the header claims %" PRIu64 " bytes, the file has %" PRIu64
                      " after its length; is the download complete?",
                      length, file_size - ST_PREFIX);
  *size = (size_t)length;
  return true;
}
