/* Open addressing with linear probing. At most IR_MAX_VALUES names are looked up per text, so
 * that even names made to collide cost a second at worst. */
#include "ir/names.h"

#include <string.h>

typedef struct entry {
  const char *name; /* NULL: free */
  uint64_t hash;
  ir_id id;
} entry;

struct names {
  arena *arena;
  entry *entries;
  uint32_t count, capacity; /* capacity is a power of two, at most half full */
};

enum { NAMES_FIRST = 64 };

names *names_new(arena *a) {
  names *n = arena_new_one(a, names);
  *n = (names){.arena = a, .capacity = NAMES_FIRST, .entries = arena_array(a, entry, NAMES_FIRST)};
  return n;
}

/* FNV-1a, with the high bits mixed into the low ones, which choose the place. */
static uint64_t hash_of(const char *name) {
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  for (; *name; name++)
    h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
  return h ^ h >> 32;
}

/* The entry of `name`, or the free one where it belongs. */
static entry *place_of(const names *n, const char *name, uint64_t hash) {
  uint32_t i = (uint32_t)hash & (n->capacity - 1);
  for (;; i = (i + 1) & (n->capacity - 1)) {
    entry *e = &n->entries[i];
    if (!e->name || (e->hash == hash && strcmp(e->name, name) == 0)) return e;
  }
}

static void grow(names *n) {
  names larger = *n;
  larger.capacity *= 2;
  larger.entries = arena_array(n->arena, entry, larger.capacity);
  for (uint32_t i = 0; i < n->capacity; i++)
    if (n->entries[i].name)
      *place_of(&larger, n->entries[i].name, n->entries[i].hash) = n->entries[i];
  *n = larger;
}

ir_id names_find(const names *n, const char *name) {
  const entry *e = place_of(n, name, hash_of(name));
  return e->name ? e->id : IR_NONE;
}

ir_id names_add(names *n, const char *name, ir_id id) {
  uint64_t hash = hash_of(name);
  entry *e = place_of(n, name, hash);
  if (e->name) return e->id;
  *e = (entry){name, hash, id};
  if (++n->count > n->capacity / 2) grow(n);
  return IR_NONE;
}
