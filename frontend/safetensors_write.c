/* Writing safetensors. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/json.h"
#include "frontend/safetensors.h"
#include "support/checked.h"

/* The header's length is padded to this, so that the data is aligned in the file. */
enum { PADDING = 8 };

/* The tensor with its place in the data, by the same rules as for reading. */
static bool check(diag *d, const char *path, const st_write_tensor *w) {
  st_tensor t = {.name = w->name, .dtype = w->dtype, .rank = w->rank};
  const st_dtype *type = st_dtype_find(w->dtype);
  if (!type)
    return diag_error(d, loc_file(path), E_W_DTYPE, "tensor '%s': unknown dtype '%s'; known are%s",
                      w->name, w->dtype, st_dtype_names);
  if (w->rank > IR_MAX_RANK)
    return diag_error(d, loc_file(path), E_LIMIT,
                      "tensor '%s' has %" PRIu32 " dimensions; the limit is %d", w->name, w->rank,
                      IR_MAX_RANK);
  memcpy(t.dim, w->dim, sizeof t.dim);
  uint64_t need;
  if (!st_check_tensor(d, path, &t, type, &need)) return false;
  if (need == w->size) return true;
  return diag_error(d, loc_file(path), E_W_SIZE,
                    "tensor '%s': %" PRIu64 " elements of %s need %" PRIu64 " bytes, %zu are given",
                    w->name, st_elements(&t), type->name, need, w->size);
}

static json_t *entry_of(const st_write_tensor *w, uint64_t begin) {
  json_t *shape = json_array();
  for (uint32_t i = 0; i < w->rank; i++)
    json_array_append_new(shape, json_integer(w->dim[i]));
  return json_pack("{s:s, s:o, s:[I, I]}", "dtype", w->dtype, "shape", shape, "data_offsets",
                   (json_int_t)begin, (json_int_t)(begin + w->size));
}

static bool add_entry(diag *d, const char *path, json_t *root, const st_write_tensor *w,
                      uint64_t begin) {
  if (!check(d, path, w)) return false;
  if (json_object_get(root, w->name))
    return diag_error(d, loc_file(path), E_W_DUP, "tensor '%s' is given twice", w->name);
  if (json_object_set_new(root, w->name, entry_of(w, begin)) == 0) return true;
  return diag_error(d, loc_file(path), E_W_NAME, "tensor '%s': its name is not valid UTF-8",
                    w->name);
}

static bool add_metadata(diag *d, const char *path, json_t *root, const char *format) {
  if (!format || json_object_set_new(root, ST_METADATA, json_pack("{s:s}", "format", format)) == 0)
    return true;
  return diag_error(d, loc_file(path), E_W_META, "the metadata is not valid UTF-8");
}

/* The header's JSON object; NULL after an error. */
static json_t *build(diag *d, const char *path, const st_write_tensor *t, size_t count,
                     const char *format_metadata) {
  json_t *root = json_object();
  uint64_t at = 0;
  bool good = add_metadata(d, path, root, format_metadata);
  for (size_t i = 0; good && i < count; at += t[i++].size)
    good = add_entry(d, path, root, &t[i], at);
  if (good) return root;
  json_decref(root);
  return NULL;
}

/* Length and padded text of the header, as they stand in the file. */
static bool header_bytes(arena *a, diag *d, const char *path, const json_t *root, bytes *out) {
  char *text = json_dumps(root, JSON_COMPACT);
  if (!text) return diag_error(d, loc_file(path), E_MEMORY, "out of memory");
  size_t length = strlen(text), padded = (length + PADDING - 1) / PADDING * PADDING;
  unsigned char *data = arena_alloc(a, ST_PREFIX + padded, 1);
  for (int i = 0; i < ST_PREFIX; i++)
    data[i] = (unsigned char)((uint64_t)padded >> 8 * i);
  memcpy(data + ST_PREFIX, text, length);
  memset(data + ST_PREFIX + length, ' ', padded - length);
  free(text);
  *out = (bytes){data, ST_PREFIX + padded};
  if (padded <= ST_MAX_HEADER) return true;
  return diag_error(d, loc_file(path), E_LIMIT, "the header has %zu bytes; the limit is %d", padded,
                    ST_MAX_HEADER);
}

static bool write_all(out_file *f, diag *d, bytes header, const st_write_tensor *t, size_t count) {
  bool good = out_write(f, d, header.data, header.size);
  for (size_t i = 0; good && i < count; i++)
    good = out_write(f, d, t[i].data, t[i].size);
  if (good) return out_commit(f, d);
  out_abandon(f);
  return false;
}

/* The bytes before the data. */
static bool make_header(arena *a, diag *d, const char *path, const st_write_tensor *t, size_t count,
                        const char *format_metadata, bytes *out) {
  json_t *root = build(d, path, t, count, format_metadata);
  if (!root) return false;
  bool good = header_bytes(a, d, path, root, out);
  json_decref(root);
  return good;
}

bool st_write(arena *a, diag *d, const char *path, const st_write_tensor *t, size_t count,
              const char *format_metadata) {
  bytes header;
  if (!make_header(a, d, path, t, count, format_metadata, &header)) return false;
  out_file *f = out_open(a, d, path);
  return f && write_all(f, d, header, t, count);
}

bool st_format(arena *a, diag *d, const char *path, const st_write_tensor *t, size_t count,
               bytes *out) {
  bytes header;
  if (!make_header(a, d, path, t, count, NULL, &header)) return false;
  size_t size = header.size;
  for (size_t i = 0; i < count; i++)
    if (!size_add(size, t[i].size, &size))
      return diag_error(d, loc_file(path), E_OVERFLOW, "the size of the file overflows");
  unsigned char *data = arena_alloc(a, size, 1), *to = data;
  memcpy(to, header.data, header.size);
  to += header.size;
  for (size_t i = 0; i < count; to += t[i++].size)
    if (t[i].size > 0) memcpy(to, t[i].data, t[i].size);
  *out = (bytes){data, size};
  return true;
}

/* ---- element types ---- */

/* The bits of `value` shifted right by `shift`, rounded to nearest, ties to even. */
static uint32_t shift_round(uint32_t value, unsigned shift) {
  uint32_t half = 1u << (shift - 1), rest = value & ((1u << shift) - 1), kept = value >> shift;
  return kept + (rest > half || (rest == half && (kept & 1)));
}

static uint16_t to_bf16(uint32_t bits) {
  return (uint16_t)shift_round(bits, 16);
}

/* Exponents: 127 is 1 in f32, 15 in f16. */
static uint16_t to_f16(uint32_t bits) {
  enum { LOWEST = 113, TINY = 102 }; /* of f16's normal numbers; below TINY all is zero */
  uint32_t sign = bits >> 16 & 0x8000, exponent = bits >> 23 & 255, mantissa = bits & 0x7fffff;
  if (exponent < TINY) return (uint16_t)sign;
  if (exponent < LOWEST) /* subnormal: the leading 1 becomes visible */
    return (uint16_t)(sign | shift_round(mantissa | 0x800000, 13 + LOWEST - exponent));
  if (exponent > 142) return (uint16_t)(sign | 0x7c00);
  return (uint16_t)(sign | shift_round((exponent - LOWEST + 1) << 23 | mantissa, 13));
}

bool st_encode_f32(const char *dtype, const float *from, size_t count, void *to) {
  if (strcmp(dtype, "F32") == 0) {
    memcpy(to, from, count * sizeof *from);
    return true;
  }
  bool f16 = strcmp(dtype, "F16") == 0;
  uint16_t infinite = f16 ? 0x7c00 : 0x7f80, *half = to;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &from[i], sizeof bits);
    half[i] = f16 ? to_f16(bits) : to_bf16(bits);
    if ((half[i] & infinite) == infinite) return false;
  }
  return true;
}
