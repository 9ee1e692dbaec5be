/* A strict YAML reader: libyaml's events to a small tree in which every node knows its place.
 *
 * Accepted is one document in UTF-8 of plain mappings, sequences and scalars. Anchors, aliases,
 * tags, directives, merge keys, duplicate keys and keys that are no scalars are refused, so a tree
 * is never larger than its text. This and yaml.c are the only files that know libyaml. */
#ifndef SPCC_FRONTEND_YAML_H
#define SPCC_FRONTEND_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/arena.h"
#include "support/diag.h"

/* The limits; each counts what it accepts. */
enum {
  YAML_MAX_BYTES = 1 << 20,
  YAML_MAX_DEPTH = 32,
  YAML_MAX_NODES = 65536,
  YAML_MAX_SCALAR = 4096
};

enum ynode_kind { Y_SCALAR, Y_SEQUENCE, Y_MAPPING };

typedef struct ynode {
  enum ynode_kind kind;
  src_loc loc;
  const char *text;    /* Y_SCALAR: UTF-8 without zero bytes inside, ended by one */
  size_t size;         /* bytes of text */
  bool plain;          /* Y_SCALAR: written without quotes */
  struct ynode *key;   /* the key when the parent is a mapping, else NULL */
  struct ynode *first; /* children (values of a mapping) in the order of the text */
  struct ynode *last;
  struct ynode *next; /* the next child of the same parent */
  uint32_t count;     /* number of children */
} ynode;

/* Reads the one document in text[size]; `shown` names the file in messages. Returns the root, or
 * NULL with the errors in `d`. */
ynode *yaml_read(arena *a, diag *d, const char *shown, const char *text, size_t size);

/* The value of `key` in a mapping; NULL when absent. */
const ynode *ynode_get(const ynode *mapping, const char *key);

/* Checks that text[size] is UTF-8 without control characters and without directives, and sets
 * *skip to the bytes of its byte order mark. Part of yaml_read; separate because libyaml cannot be
 * trusted with what it refuses. */
bool yaml_check_text(diag *d, const char *shown, const char *text, size_t size, size_t *skip);

#endif
