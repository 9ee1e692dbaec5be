/* A .npy file is: "\x93NUMPY", two bytes of version, the length of the header (2 bytes in version
 * 1, else 4), the header, which is a Python dict such as
 *   {'descr': '<f4', 'fortran_order': False, 'shape': (2, 384), }
 * padded with blanks and ended by a newline, and the elements. */
#include "driver/npy.h"

#include <inttypes.h>
#include <string.h>

#include "support/checked.h"

enum { MAGIC = 6, MAX_HEADER = 65536, ALIGNMENT = 64, DATA_ALIGNMENT = 8 };
static const size_t MAX_FILE = (size_t)1 << 36;
static const char magic[MAGIC + 1] = "\x93NUMPY";

static const struct type_info {
  const char *name, *descr;
  size_t size;
} types[NPY_TYPES] = {
    [NPY_F32] = {"float32", "<f4", 4},
    [NPY_I32] = {"int32", "<i4", 4},
    [NPY_I64] = {"int64", "<i8", 8},
};

const char *npy_type_name(enum npy_type type) {
  return types[type].name;
}

size_t npy_type_size(enum npy_type type) {
  return types[type].size;
}

/* ---- the header ---- */

enum key { KEY_DESCR = 1, KEY_ORDER = 2, KEY_SHAPE = 4, KEY_ALL = 7 };

typedef struct parser {
  diag *d;
  const char *shown;
  const char *start, *at, *end; /* of the header */
  uint64_t offset;              /* of start in the file */
  npy_array *out;
} parser;

static bool fail(const parser *p, const char *what) {
  return diag_error(p->d, loc_offset(p->shown, p->offset + (uint64_t)(p->at - p->start)), E_NPY,
                    "%s", what);
}

static void skip_blanks(parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\n'))
    p->at++;
}

/* Skips blanks and then `c`, when it is there. */
static bool accept(parser *p, char c) {
  skip_blanks(p);
  if (p->at == p->end || *p->at != c) return false;
  p->at++;
  return true;
}

/* A quoted word without escapes. */
static bool quoted(parser *p, const char **word, size_t *length) {
  skip_blanks(p);
  if (p->at == p->end || (*p->at != '\'' && *p->at != '"'))
    return fail(p, "a quoted word is expected in the header");
  const char *close = memchr(p->at + 1, *p->at, (size_t)(p->end - p->at - 1));
  if (!close) return fail(p, "a quote is not closed in the header");
  *word = p->at + 1;
  *length = (size_t)(close - *word);
  p->at = close + 1;
  return true;
}

static bool word_is(const char *word, size_t length, const char *text) {
  return strlen(text) == length && memcmp(word, text, length) == 0;
}

static bool parse_descr(parser *p) {
  const char *word;
  size_t length;
  if (!quoted(p, &word, &length)) return false;
  for (int i = 0; i < NPY_TYPES; i++)
    if (word_is(word, length, types[i].descr)) {
      p->out->type = (enum npy_type)i;
      return true;
    }
  return diag_error(p->d, loc_file(p->shown), E_NPY,
                    "element type '%.*s' is not supported; convert the array to float32, int32 or "
                    "int64 (little-endian)",
                    length < 40 ? (int)length : 40, word);
}

static bool parse_order(parser *p) {
  skip_blanks(p);
  size_t left = (size_t)(p->end - p->at);
  if (left >= 5 && !memcmp(p->at, "False", 5)) {
    p->at += 5;
    return true;
  }
  if (left >= 4 && !memcmp(p->at, "True", 4))
    return fail(p, "arrays in Fortran order are not read; save numpy.ascontiguousarray(x)");
  return fail(p, "True or False is expected for fortran_order");
}

static bool parse_dim(parser *p) {
  int64_t value = 0;
  const char *first = p->at;
  for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
    value = value * 10 + (*p->at - '0');
    if (value > INT32_MAX) return fail(p, "a dimension is over 2147483647");
  }
  if (p->at == first) return fail(p, "a dimension is expected in the shape");
  if (p->out->rank == NPY_MAX_RANK) return fail(p, "the array has more than 8 dimensions");
  p->out->dim[p->out->rank++] = value;
  return true;
}

/* (), (3,), (2, 3) or (2, 3,) */
static bool parse_shape(parser *p) {
  if (!accept(p, '(')) return fail(p, "'(' is expected before the shape");
  bool comma = true;
  while (!accept(p, ')')) {
    if (!comma) return fail(p, "',' or ')' is expected in the shape");
    skip_blanks(p);
    if (!parse_dim(p)) return false;
    comma = accept(p, ',');
  }
  if (p->out->rank == 1 && !comma) return fail(p, "a shape of one dimension is written (n,)");
  return true;
}

static enum key key_of(const char *word, size_t length) {
  if (word_is(word, length, "descr")) return KEY_DESCR;
  if (word_is(word, length, "fortran_order")) return KEY_ORDER;
  return word_is(word, length, "shape") ? KEY_SHAPE : (enum key)0;
}

static bool parse_entry(parser *p, unsigned *seen) {
  const char *word;
  size_t length;
  if (!quoted(p, &word, &length)) return false;
  enum key key = key_of(word, length);
  if (!key) return fail(p, "unknown key in the header; descr, fortran_order and shape are known");
  if (*seen & key) return fail(p, "a key stands twice in the header");
  *seen |= key;
  if (!accept(p, ':')) return fail(p, "':' is expected after a key of the header");
  if (key == KEY_DESCR) return parse_descr(p);
  return key == KEY_ORDER ? parse_order(p) : parse_shape(p);
}

static bool parse_header(parser *p) {
  if (p->end == p->start || p->end[-1] != '\n')
    return fail(p, "the header does not end in a newline");
  if (!accept(p, '{')) return fail(p, "the header does not begin with '{'");
  unsigned seen = 0;
  bool comma = true;
  while (!accept(p, '}')) {
    if (!comma) return fail(p, "',' or '}' is expected in the header");
    if (!parse_entry(p, &seen)) return false;
    comma = accept(p, ',');
  }
  skip_blanks(p);
  if (p->at != p->end) return fail(p, "more follows the header's '}'");
  if (seen != KEY_ALL) return fail(p, "the header lacks descr, fortran_order or shape");
  return true;
}

/* ---- the file ---- */

/* Finds the header: *length bytes at *start. */
static bool find_header(diag *d, const char *shown, bytes whole, size_t *start, size_t *length) {
  const unsigned char *b = whole.data;
  if (whole.size < MAGIC + 4 || memcmp(b, magic, MAGIC) != 0)
    return diag_error(d, loc_file(shown), E_NPY,
                      "this is no .npy file; write one with numpy.save(name, array)");
  unsigned version = b[MAGIC];
  if (version < 1 || version > 3 || b[MAGIC + 1] != 0)
    return diag_error(d, loc_offset(shown, MAGIC), E_NPY,
                      "version %u.%u of the format is unknown; 1.0 to 3.0 are read", version,
                      b[MAGIC + 1]);
  *start = version == 1 ? MAGIC + 4 : MAGIC + 6;
  *length = b[MAGIC + 2] | (size_t)b[MAGIC + 3] << 8;
  if (version > 1 && whole.size >= *start)
    *length |= (size_t)b[MAGIC + 4] << 16 | (size_t)b[MAGIC + 5] << 24;
  if (whole.size < *start || *length > MAX_HEADER || *length > whole.size - *start)
    return diag_error(d, loc_offset(shown, MAGIC + 2), E_NPY,
                      "the header claims %zu bytes, which the file does not have or which are "
                      "over %d",
                      *length, MAX_HEADER);
  return true;
}

/* The product of the dims; false when it does not fit. */
static bool count_elements(npy_array *array, size_t *size) {
  array->count = 1;
  bool fits = true, empty = false;
  for (uint32_t i = 0; i < array->rank; i++) {
    empty = empty || array->dim[i] == 0;
    fits = fits && size_mul(array->count, (size_t)array->dim[i], &array->count);
  }
  if (empty) array->count = 0;
  return (fits || empty) && size_mul(array->count, types[array->type].size, size);
}

bool npy_parse(arena *a, diag *d, const char *shown, bytes whole, npy_array *out) {
  size_t start = 0, length = 0, size;
  *out = (npy_array){0};
  if (!find_header(d, shown, whole, &start, &length)) return false;
  const char *text = (const char *)whole.data + start;
  parser p = {.d = d,
              .shown = shown,
              .start = text,
              .at = text,
              .end = text + length,
              .offset = start,
              .out = out};
  if (!parse_header(&p)) return false;
  size_t left = whole.size - start - length;
  if (!count_elements(out, &size))
    return diag_error(d, loc_file(shown), E_NPY, "the size of the array overflows");
  if (size != left)
    return diag_error(d, loc_offset(shown, start + length), E_NPY,
                      "the shape asks for %zu bytes of data, the file has %zu", size, left);
  void *data = arena_alloc(a, size + 1, DATA_ALIGNMENT);
  memcpy(data, text + length, size);
  out->data = data;
  return true;
}

bool npy_read(arena *a, diag *d, const char *path, npy_array *out) {
  bytes whole;
  return file_read(a, d, NULL, path, MAX_FILE, &whole) && npy_parse(a, d, path, whole, out);
}

bytes npy_format(arena *a, const npy_array *array) {
  char *shape = arena_strdup(a, "");
  for (uint32_t i = 0; i < array->rank; i++)
    shape = arena_printf(a, "%s%" PRId64 "%s", shape, array->dim[i],
                         array->rank == 1      ? ","
                         : i + 1 < array->rank ? ", "
                                               : "");
  char *dict = arena_printf(a, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }",
                            types[array->type].descr, shape);
  size_t prefix = MAGIC + 4, used = strlen(dict) + 1; /* with the newline */
  size_t head = (prefix + used + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  size_t length = head - prefix, size = array->count * types[array->type].size;
  unsigned char *to = arena_alloc(a, head + size, 1);
  memcpy(to, magic, MAGIC);
  memcpy(to + MAGIC, (unsigned char[]){1, 0, length & 255, (unsigned char)(length >> 8)}, 4);
  memset(to + prefix, ' ', length);
  memcpy(to + prefix, dict, used - 1);
  to[head - 1] = '\n';
  if (size) memcpy(to + head, array->data, size);
  return (bytes){to, head + size};
}
