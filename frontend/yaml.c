#include "frontend/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* The state of one reading. stack[0..depth) are the open mappings and sequences. */
typedef struct reader {
  arena *arena;
  diag *diag;
  const char *shown;
  yaml_parser_t parser;
  ynode *stack[YAML_MAX_DEPTH];
  ynode *key[YAML_MAX_DEPTH]; /* of an open mapping: the key that waits for its value */
  uint32_t depth, nodes, documents;
  bool ended; /* the document is complete */
  ynode *root;
} reader;

static src_loc mark_loc(const reader *r, yaml_mark_t mark) {
  return loc_at(r->shown, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1);
}

static bool second_document(reader *r, src_loc loc) {
  return diag_error(r->diag, loc, E_YAML_MULTI,
                    "text follows the end of the document; one file holds one document");
}

/* Reports libyaml's own complaint. */
static bool parser_error(reader *r) {
  const yaml_parser_t *p = &r->parser;
  if (p->error == YAML_MEMORY_ERROR)
    return diag_error(r->diag, loc_file(r->shown), E_MEMORY, "out of memory while reading YAML");
  const char *problem = p->problem ? p->problem : "malformed YAML";
  src_loc loc = mark_loc(r, p->problem_mark);
  if (r->ended) return second_document(r, loc);
  if (!p->context) return diag_error(r->diag, loc, E_YAML, "%s", problem);
  return diag_error(r->diag, loc, E_YAML, "%s, %s that begins at line %u, column %u", problem,
                    p->context, (unsigned)p->context_mark.line + 1,
                    (unsigned)p->context_mark.column + 1);
}

static bool refuse_anchor(reader *r, src_loc loc, const yaml_char_t *anchor) {
  return !anchor || diag_error(r->diag, loc, E_YAML_ALIAS,
                               "anchor '&%.64s' is not accepted; write the value out where it "
                               "is needed",
                               (const char *)anchor);
}

static bool refuse_tag(reader *r, src_loc loc, const yaml_char_t *tag) {
  return !tag || diag_error(r->diag, loc, E_YAML_TAG, "tag '%.64s' is not accepted; remove it",
                            (const char *)tag);
}

static ynode *new_node(reader *r, enum ynode_kind kind, src_loc loc) {
  if (r->nodes == YAML_MAX_NODES) {
    diag_error(r->diag, loc, E_LIMIT, "more than %d nodes", YAML_MAX_NODES);
    return NULL;
  }
  r->nodes++;
  ynode *n = arena_new_one(r->arena, ynode);
  n->kind = kind;
  n->loc = loc;
  return n;
}

/* Takes a scalar as the key of the innermost open mapping. */
static bool take_key(reader *r, ynode *n) {
  if (n->kind != Y_SCALAR)
    return diag_error(r->diag, n->loc, E_TYPE, "a key must be a plain word, not a %s",
                      n->kind == Y_MAPPING ? "mapping" : "sequence");
  if (n->plain && strcmp(n->text, "<<") == 0)
    return diag_error(r->diag, n->loc, E_DUP_KEY,
                      "merge key '<<' is not accepted; write the keys out");
  r->key[r->depth - 1] = n;
  return true;
}

/* Puts a finished scalar, or a mapping or sequence that just opened, where it belongs. */
static bool place(reader *r, ynode *n) {
  if (r->depth == 0) {
    r->root = n;
    return true;
  }
  ynode *parent = r->stack[r->depth - 1];
  if (parent->kind == Y_MAPPING) {
    if (!r->key[r->depth - 1]) return take_key(r, n);
    n->key = r->key[r->depth - 1];
    r->key[r->depth - 1] = NULL;
  }
  if (parent->last)
    parent->last->next = n;
  else
    parent->first = n;
  parent->last = n;
  parent->count++;
  return true;
}

static bool on_scalar(reader *r, const yaml_event_t *e, src_loc loc) {
  const char *text = (const char *)e->data.scalar.value;
  size_t size = e->data.scalar.length;
  if (!refuse_anchor(r, loc, e->data.scalar.anchor) || !refuse_tag(r, loc, e->data.scalar.tag))
    return false;
  if (size > YAML_MAX_SCALAR)
    return diag_error(r->diag, loc, E_LIMIT, "a text of %zu bytes; at most %d are accepted", size,
                      YAML_MAX_SCALAR);
  for (size_t i = 0; i < size; i++)
    if ((unsigned char)text[i] < 0x20 && text[i] != '\n' && text[i] != '\t')
      return diag_error(r->diag, loc, E_YAML, "control character U+%04X inside a text",
                        (unsigned char)text[i]);
  ynode *n = new_node(r, Y_SCALAR, loc);
  if (!n) return false;
  n->text = arena_strndup(r->arena, text, size);
  n->size = size;
  n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
  return place(r, n);
}

static bool on_open(reader *r, enum ynode_kind kind, src_loc loc, const yaml_char_t *anchor,
                    const yaml_char_t *tag) {
  if (!refuse_anchor(r, loc, anchor) || !refuse_tag(r, loc, tag)) return false;
  if (r->depth == YAML_MAX_DEPTH)
    return diag_error(r->diag, loc, E_LIMIT, "nested deeper than %d levels", YAML_MAX_DEPTH);
  ynode *n = new_node(r, kind, loc);
  if (!n || !place(r, n)) return false;
  r->stack[r->depth] = n;
  r->key[r->depth] = NULL;
  r->depth++;
  return true;
}

static int by_key(const void *a, const void *b) {
  const ynode *x = *(const ynode *const *)a, *y = *(const ynode *const *)b;
  int order = strcmp(x->key->text, y->key->text);
  if (order != 0) return order;
  if (x->loc.line != y->loc.line) return x->loc.line < y->loc.line ? -1 : 1;
  return x->loc.column < y->loc.column ? -1 : x->loc.column > y->loc.column;
}

/* Sorting finds equal keys among many thousands without comparing all pairs. */
static bool check_duplicates(reader *r, const ynode *mapping) {
  const ynode **sorted = arena_array(r->arena, const ynode *, mapping->count);
  uint32_t n = 0;
  for (const ynode *c = mapping->first; c; c = c->next)
    sorted[n++] = c;
  qsort(sorted, n, sizeof *sorted, by_key);
  for (uint32_t i = 1; i < n; i++) {
    const ynode *first = sorted[i - 1]->key, *second = sorted[i]->key;
    if (strcmp(first->text, second->text) != 0) continue;
    diag_error(r->diag, second->loc, E_DUP_KEY, "key '%.64s' stands twice", second->text);
    diag_note(r->diag, first->loc, "the first is here");
    return false;
  }
  return true;
}

static bool on_close(reader *r) {
  const ynode *n = r->stack[--r->depth];
  return n->kind != Y_MAPPING || n->count < 2 || check_duplicates(r, n);
}

static bool on_event(reader *r, const yaml_event_t *e) {
  src_loc loc = mark_loc(r, e->start_mark);
  switch (e->type) {
  case YAML_DOCUMENT_START_EVENT:
    if (e->data.document_start.version_directive ||
        e->data.document_start.tag_directives.start != e->data.document_start.tag_directives.end)
      return diag_error(r->diag, loc, E_YAML_TAG, "directives are not accepted");
    return r->documents++ == 0 || second_document(r, loc);
  case YAML_DOCUMENT_END_EVENT:
    r->ended = true;
    return true;
  case YAML_ALIAS_EVENT:
    return diag_error(r->diag, loc, E_YAML_ALIAS,
                      "alias '*%.64s' is not accepted; write the value "
                      "out",
                      (const char *)e->data.alias.anchor);
  case YAML_SCALAR_EVENT:
    return on_scalar(r, e, loc);
  case YAML_SEQUENCE_START_EVENT:
    return on_open(r, Y_SEQUENCE, loc, e->data.sequence_start.anchor, e->data.sequence_start.tag);
  case YAML_MAPPING_START_EVENT:
    return on_open(r, Y_MAPPING, loc, e->data.mapping_start.anchor, e->data.mapping_start.tag);
  case YAML_SEQUENCE_END_EVENT:
  case YAML_MAPPING_END_EVENT:
    return on_close(r);
  default:
    return true;
  }
}

static bool read_events(reader *r) {
  for (bool more = true; more;) {
    yaml_event_t event;
    if (!yaml_parser_parse(&r->parser, &event)) return parser_error(r);
    more = event.type != YAML_STREAM_END_EVENT;
    bool ok = on_event(r, &event);
    yaml_event_delete(&event);
    if (!ok) return false;
  }
  return r->documents > 0 ||
         diag_error(r->diag, loc_file(r->shown), E_EMPTY, "the file holds no document");
}

ynode *yaml_read(arena *a, diag *d, const char *shown, const char *text, size_t size) {
  size_t skip;
  if (size > YAML_MAX_BYTES) {
    diag_error(d, loc_file(shown), E_LIMIT, "the file has %zu bytes; at most %d are accepted", size,
               YAML_MAX_BYTES);
    return NULL;
  }
  if (!yaml_check_text(d, shown, text, size, &skip)) return NULL;
  reader r = {.arena = a, .diag = d, .shown = shown};
  if (!yaml_parser_initialize(&r.parser)) {
    diag_error(d, loc_file(shown), E_MEMORY, "out of memory while reading YAML");
    return NULL;
  }
  yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&r.parser, (const unsigned char *)text + skip, size - skip);
  bool ok = read_events(&r);
  yaml_parser_delete(&r.parser);
  return ok ? r.root : NULL;
}

const ynode *ynode_get(const ynode *mapping, const char *key) {
  for (const ynode *c = mapping->first; c; c = c->next)
    if (strcmp(c->key->text, key) == 0) return c;
  return NULL;
}
