/* The tables of ops, attributes and kernels, expanded from the .def files, and look-ups in them. */
#include <string.h>

#include "ir/ir.h"

const ir_op_info ir_ops[OP_COUNT] = {
#define OP(name, lo, hi, rule, operands, types, attrs, doc)                                        \
  {#name, lo, hi, operands, types, attrs, doc},
#include "ir/ops.def"
#undef OP
};

const ir_attr_info ir_attrs[ATTR_COUNT] = {
#define ATTR(name, kind, init, doc) {#name, ATTR_##kind, init, doc},
#include "ir/attrs.def"
#undef ATTR
};

const char *const ir_kernel_names[KERNEL_COUNT] = {
#define KERNEL(name, what, patterns) #name,
#include "ir/kernels.def"
#undef KERNEL
};

const char *const ir_kernel_patterns[KERNEL_COUNT] = {
#define KERNEL(name, what, patterns) patterns,
#include "ir/kernels.def"
#undef KERNEL
};

/* Spellings of the enumerated attributes, in the order of their enums; ended by NULL. */
static const char *const act_names[] = {"none", "gelu", "gelu_tanh", "relu", "tanh", NULL};
static const char *const form_names[] = {"erf", "tanh", NULL};
static const char *const position_names[] = {"none", NULL};
static const char *const bool_names[] = {"false", "true", NULL};

static const char *const *enum_names(enum ir_attr_kind kind) {
  switch (kind) {
  case ATTR_ACT:
    return act_names;
  case ATTR_FORM:
    return form_names;
  case ATTR_POSITION:
    return position_names;
  case ATTR_BOOL:
    return bool_names;
  case ATTR_INT:
  case ATTR_FLOAT:
    break;
  }
  return NULL;
}

const char *ir_enum_name(enum ir_attr_kind kind, int64_t value) {
  const char *const *names = enum_names(kind);
  for (int64_t i = 0; names && names[i]; i++)
    if (i == value) return names[i];
  return NULL;
}

bool ir_enum_find(enum ir_attr_kind kind, const char *text, int64_t *value) {
  const char *const *names = enum_names(kind);
  for (int64_t i = 0; names && names[i]; i++)
    if (strcmp(names[i], text) == 0) {
      *value = i;
      return true;
    }
  return false;
}

enum ir_op ir_op_find(const char *name) {
  enum ir_op op = 0;
  while (op < OP_COUNT && strcmp(ir_ops[op].name, name) != 0)
    op++;
  return op;
}

enum ir_attr ir_attr_find(const char *name) {
  enum ir_attr attr = 0;
  while (attr < ATTR_COUNT && strcmp(ir_attrs[attr].name, name) != 0)
    attr++;
  return attr;
}

enum ir_kernel ir_kernel_find(const char *name) {
  enum ir_kernel kernel = 0;
  while (kernel < KERNEL_COUNT && strcmp(ir_kernel_names[kernel], name) != 0)
    kernel++;
  return kernel;
}

/* The next word of `*list` and its length, or NULL at the end; *list moves on. */
static const char *next_word(const char **list, size_t *length) {
  const char *word = *list + strspn(*list, " ");
  *length = strcspn(word, " ");
  *list = word + *length;
  return *length ? word : NULL;
}

static bool is_word(const char *word, size_t length, const char *text) {
  return strlen(text) == length && memcmp(word, text, length) == 0;
}

bool ir_op_has_attr(enum ir_op op, enum ir_attr attr) {
  const char *list = ir_ops[op].attrs, *word;
  size_t length;
  while ((word = next_word(&list, &length)))
    if (is_word(word, length, ir_attrs[attr].name)) return true;
  return false;
}

ir_operand_info ir_operand(enum ir_op op, uint32_t i) {
  ir_operand_info info = {0};
  const char *list = ir_ops[op].operands, *word = list;
  size_t length = 0;
  for (uint32_t at = 0; at <= i && word; at++)
    word = next_word(&list, &length);
  if (!word) return info;
  info.constant = *word == '@';
  info.optional = word[length - 1] == '?';
  length -= (size_t)info.constant + (size_t)info.optional;
  if (length >= sizeof info.name) length = sizeof info.name - 1;
  memcpy(info.name, word + info.constant, length);
  info.mask = strcmp(info.name, "mask") == 0;
  return info;
}

bool ir_kernel_serves(enum ir_kernel kernel, const pattern *p) {
  char text[PATTERN_TEXT_MAX];
  pattern_print(p, text);
  if (p->kind == PATTERN_NM) strcpy(text, p->rows > 1 ? "N:MxR" : "N:M");
  const char *list = ir_kernel_patterns[kernel], *word;
  size_t length;
  while ((word = next_word(&list, &length)))
    if (is_word(word, length, text)) return true;
  return false;
}
