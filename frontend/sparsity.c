#include "frontend/sparsity.h"

#include <inttypes.h>
#include <string.h>

#include "frontend/json.h"

enum { FILE_MAX = 64 << 20, VERSION = 1, DIGITS = 64 };

typedef struct reader {
  arena *arena;
  diag *diag;
  const char *shown;
} reader;

static bool bad(const reader *r, enum err code, const char *name, const char *what) {
  return diag_error(r->diag, loc_file(r->shown), code, "tensor '%s': %s", name, what);
}

static bool is_digest(const char *text) {
  return strlen(text) == DIGITS && strspn(text, "0123456789abcdef") == DIGITS;
}

/* An object with the three keys and no others. */
static bool read_entry(const reader *r, const char *name, const json_t *v, sparsity_entry *out) {
  const json_t *spelled = json_object_get(v, "pattern"), *kept = json_object_get(v, "kept"),
               *mask = json_object_get(v, "mask");
  if (!json_is_object(v) || !spelled || !kept || !mask || json_object_size(v) != 3)
    return bad(r, E_KEY, name, "an object with the keys 'pattern', 'kept' and 'mask' is expected");
  out->name = arena_strdup(r->arena, name);
  if (!json_is_string(spelled) || !pattern_parse(json_string_value(spelled), &out->pattern))
    return bad(r, E_PATTERN, name, "'pattern' is no pattern, such as 4x1 or 2:4");
  if (!json_is_integer(kept) || json_integer_value(kept) < 0)
    return bad(r, E_INT, name, "'kept' must be a number of weights");
  out->kept = (uint64_t)json_integer_value(kept);
  if (!json_is_string(mask) || !is_digest(json_string_value(mask)))
    return bad(r, E_TYPE, name, "'mask' must be a SHA-256 of 64 hexadecimal digits");
  out->mask = arena_strdup(r->arena, json_string_value(mask));
  return true;
}

static bool read_root(const reader *r, json_t *root, sparsity *out) {
  const json_t *version = json_object_get(root, "version");
  json_t *tensors = json_object_get(root, "tensors"), *v;
  const char *name;
  if (!json_is_integer(version) || json_integer_value(version) != VERSION)
    return diag_error(r->diag, loc_file(r->shown), E_VERSION,
                      "'version' must be %d; prune again with this version of spcc", VERSION);
  if (!json_is_object(tensors) || json_object_size(root) != 2)
    return diag_error(r->diag, loc_file(r->shown), E_KEY,
                      "an object with the keys 'version' and 'tensors' is expected");
  out->list = arena_array(r->arena, sparsity_entry, json_object_size(tensors) + 1);
  json_object_foreach (tensors, name, v) {
    if (!read_entry(r, name, v, &out->list[out->count])) return false;
    out->count++;
  }
  return true;
}

bool sparsity_read(arena *a, diag *d, const char *folder, sparsity *out) {
  bool there;
  json_text text;
  *out = (sparsity){.count = 0};
  if (!dir_has(a, d, folder, SPARSITY_FILE, &there)) return false;
  if (!there) return true;
  json_t *root = json_read_file(a, d, folder, SPARSITY_FILE, FILE_MAX, &text);
  if (!root) return false;
  reader r = {a, d, text.shown};
  out->shown = text.shown;
  bool ok = read_root(&r, root, out);
  json_decref(root);
  return ok;
}

const char *sparsity_digest(arena *a, const float *w, const unsigned char *keep, size_t count) {
  size_t size = count / 8 + (count % 8 != 0);
  unsigned char *bits = arena_alloc(a, size + 1, 1);
  for (size_t i = 0; i < count; i++)
    bits[i / 8] |= (unsigned char)((keep ? keep[i] != 0 : w[i] != 0) << i % 8);
  sha256 hash = sha256_of(bits, size);
  return sha256_hex(a, &hash);
}

static const sparsity_entry *find(const sparsity *s, const char *name) {
  for (size_t i = 0; i < s->count; i++)
    if (strcmp(s->list[i].name, name) == 0) return &s->list[i];
  return NULL;
}

bool sparsity_check(arena *a, diag *d, const sparsity *s, const char *name, const float *w,
                    size_t count) {
  const sparsity_entry *e = find(s, name);
  uint64_t nonzero = 0;
  if (!e) return true;
  for (size_t i = 0; i < count; i++)
    nonzero += w[i] != 0;
  if (nonzero > e->kept)
    return diag_error(d, loc_file(s->shown), E_SPARSITY,
                      "tensor '%s' was pruned to %" PRIu64 " weights and has %" PRIu64
                      " now; keep its zeros when training on, prune again, or remove this file",
                      name, e->kept, nonzero);
  /* With fewer, kept weights became zero, and the mask can't be seen any more. */
  if (nonzero < e->kept || strcmp(sparsity_digest(a, w, NULL, count), e->mask) == 0) return true;
  return diag_error(d, loc_file(s->shown), E_SPARSITY,
                    "tensor '%s' has its non-zero weights in other places than it was pruned to; "
                    "prune again, or remove this file",
                    name);
}

char *sparsity_format(arena *a, const sparsity_entry *list, size_t count) {
  char *text = arena_printf(a, "{\"version\": %d,\n \"tensors\": {", VERSION);
  for (size_t i = 0; i < count; i++) {
    char spelled[PATTERN_TEXT_MAX];
    text = arena_printf(
        a, "%s%s\n  \"%s\": {\"pattern\": \"%s\", \"kept\": %" PRIu64 ", \"mask\": \"%s\"}", text,
        i ? "," : "", list[i].name, pattern_print(&list[i].pattern, spelled), list[i].kept,
        list[i].mask);
  }
  return arena_printf(a, "%s}}\n", text);
}
