/* Arena: all memory of one compilation, freed at once by its owner.
 *
 * An allocation never returns NULL. When the memory limit is reached or the system refuses, the
 * arena calls the handler that its owner gave, which must not return (the driver prints and exits
 * with 3; a test jumps out). That keeps the passes free of error paths that nothing can act on. */
#ifndef SPCC_SUPPORT_ARENA_H
#define SPCC_SUPPORT_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct arena arena;

/* Called with the number of bytes that could not be had; must not return. */
typedef void arena_full(void *context, size_t bytes);

/* Makes an arena that hands out at most `max_bytes`; NULL when the system refuses. */
arena *arena_new(size_t max_bytes, arena_full *full, void *context);
/* A new arena for what is not needed long. It has the handler of `a`, and what the limit of `a`
 * leaves now. */
arena *arena_scratch(const arena *a);
void arena_free(arena *a);

/* `bytes` of zeroed memory at an alignment of `align`, a power of two up to 4096. */
void *arena_alloc(arena *a, size_t bytes, size_t align);

/* `count` zeroed elements of `size` bytes; an overflowing product counts as out of memory. */
void *arena_calloc(arena *a, size_t count, size_t size, size_t align);
#define arena_array(a, T, n) ((T *)arena_calloc((a), (n), sizeof(T), _Alignof(T)))
#define arena_new_one(a, T) arena_array(a, T, 1)

/* A larger copy of `old` (old_count elements); the old block stays valid. */
void *arena_grow(arena *a, const void *old, size_t old_count, size_t new_count, size_t size,
                 size_t align);

char *arena_strdup(arena *a, const char *s);
char *arena_strndup(arena *a, const char *s, size_t n);
char *arena_printf(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(arena *a, const char *format, va_list args);

/* Bytes handed out so far. */
size_t arena_used(const arena *a);

#endif
