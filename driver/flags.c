/* Reading the command line by the tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/driver.h"
#include "frontend/suggest.h"

/* ---- values ---- */

/* A plain decimal number of digits, with a fraction when `real`. */
static bool parse_decimal(const char *text, bool real, double *out) {
  size_t n = strspn(text, "0123456789");
  size_t digits = n;
  if (real && text[n] == '.') {
    size_t fraction = strspn(text + n + 1, "0123456789");
    digits += fraction;
    n += 1 + fraction;
  }
  if (!digits || text[n] || n > 30) return false;
  *out = strtod(text, NULL);
  return true;
}

/* 1000, 64K, 512M, 16G: powers of 1024. */
static bool parse_bytes(const driver *dr, const char *text, double *out) {
  size_t n = strspn(text, "0123456789");
  const char *units = "KMG";
  const char *unit = text[n] ? strchr(units, text[n]) : NULL;
  if (text[n] && (!unit || text[n + 1])) return false;
  if (!parse_decimal(arena_strndup(dr->arena, text, n), false, out)) return false;
  if (unit) *out = ldexp(*out, 10 * (int)(unit - units + 1));
  return *out >= 1 && *out <= 0x1p52;
}

static bool is_choice(const char *choices, const char *text) {
  size_t length = strlen(text);
  for (const char *c = choices; *c; c += strcspn(c, "|"), c += *c == '|')
    if (strcspn(c, "|") == length && memcmp(c, text, length) == 0) return true;
  return false;
}

/* Checks a value against the kind of its flag and stores it. */
static bool set_value(const driver *dr, flag_use *use, const char *text) {
  const flag_info *f = &flag_table[use->flag];
  use->text = text;
  bool ok;
  switch (f->kind) {
  case FLAG_INT:
  case FLAG_NUMBER:
  case FLAG_SECONDS:
    ok = parse_decimal(text, f->kind != FLAG_INT, &use->number) && use->number >= f->lo &&
         use->number <= f->hi;
    if (!ok)
      usage_error(dr, "'%s' is no value for %s: %s from %.10g to %.10g is expected", text,
                  f->spelling, f->kind == FLAG_INT ? "an integer" : "a number", f->lo, f->hi);
    return ok;
  case FLAG_BYTES:
    ok = parse_bytes(dr, text, &use->number);
    if (!ok)
      usage_error(dr, "'%s' is no value for %s: bytes such as 512M or 4G are expected", text,
                  f->spelling);
    return ok;
  case FLAG_CHOICE:
    ok = is_choice(f->value, text);
    if (!ok) usage_error(dr, "'%s' is no value for %s=%s", text, f->spelling, f->value);
    return ok;
  case FLAG_TEXT:
    if (!*text) usage_error(dr, "%s needs a value: %s", f->spelling, f->value);
    return *text != 0;
  case FLAG_SWITCH:
    break;
  }
  return true;
}

/* ---- spelling ---- */

/* Where the value begins in `argument` when it is flag `f`: "" when none is joined to it, NULL when
 * the argument is another flag. */
static const char *match(const flag_info *f, const char *argument) {
  size_t length = strlen(f->spelling);
  if (strncmp(argument, f->spelling, length) != 0) return NULL;
  const char *rest = argument + length;
  if (!*rest || f->kind == FLAG_SWITCH) return *rest ? NULL : rest;
  if (length == 2) return rest; /* -ofile */
  return *rest == '=' ? rest : NULL;
}

/* The flag of the command that `argument` spells; the longest spelling wins. */
static enum flag find_flag(enum command command, const char *argument, const char **rest) {
  enum flag best = FLAG_COUNT;
  for (int i = 0; i < FLAG_COUNT; i++) {
    const flag_info *f = &flag_table[i];
    if (!(f->commands >> command & 1)) continue;
    const char *at = match(f, argument);
    if (!at) continue;
    if (best != FLAG_COUNT && strlen(flag_table[best].spelling) >= strlen(f->spelling)) continue;
    best = (enum flag)i;
    *rest = at;
  }
  return best;
}

static int unknown_flag(const driver *dr, const char *argument) {
  const char *word = arena_strndup(dr->arena, argument, strcspn(argument, "="));
  suggestion s = {.word = word};
  uint32_t elsewhere = 0;
  for (int i = 0; i < FLAG_COUNT; i++) {
    if (flag_table[i].commands >> dr->command & 1) suggest_offer(&s, flag_table[i].spelling);
    if (!strcmp(flag_table[i].spelling, word)) elsewhere |= flag_table[i].commands;
  }
  for (int c = 0; elsewhere && c < CMD_COUNT; c++)
    if (elsewhere >> c & 1)
      return usage_error(dr, "%s is a flag of 'spcc %s', not of 'spcc %s'", word,
                         command_table[c].name, command_table[dr->command].name);
  return usage_error(dr, "unknown flag '%s'%s", word, suggest_text(dr->arena, &s));
}

/* Reads the flag at argv[*i] and, where its value stands alone, moves *i to that. */
static bool parse_flag(driver *dr, int argc, char **argv, int *i) {
  const char *rest = NULL;
  enum flag flag = find_flag(dr->command, argv[*i], &rest);
  if (flag == FLAG_COUNT) {
    unknown_flag(dr, argv[*i]);
    return false;
  }
  const flag_info *f = &flag_table[flag];
  flag_use *use = &dr->uses[dr->use_count++];
  *use = (flag_use){.flag = flag, .text = ""};
  if (f->kind == FLAG_SWITCH || (f->kind == FLAG_SECONDS && !*rest)) return true;
  if (*rest) return set_value(dr, use, rest + (*rest == '='));
  if (++*i < argc) return set_value(dr, use, argv[*i]);
  usage_error(dr, "%s needs a value: %s", f->spelling, f->value);
  return false;
}

/* The command that argv[1] names, or compile; *first is the argument after it. */
static enum command find_command(int argc, char **argv, int *first) {
  *first = 1;
  for (int i = 0; argc > 1 && i < CMD_COUNT; i++) {
    if (strcmp(argv[1], command_table[i].name) != 0) continue;
    *first = 2;
    return (enum command)i;
  }
  return CMD_compile;
}

/* False, with an error, when the first operand looks like the name of a command and is no file. */
static bool check_command(const driver *dr) {
  const char *operand = dr->operand_count ? dr->operands[0] : "";
  if (dr->command != CMD_compile || strpbrk(operand, "./") || access(operand, F_OK) == 0)
    return true;
  suggestion s = {.word = operand};
  for (int i = 0; i < CMD_COUNT; i++)
    suggest_offer(&s, command_table[i].name);
  if (s.best)
    usage_error(dr, "'%s' is neither a command nor a file%s", operand, suggest_text(dr->arena, &s));
  return !s.best;
}

static bool check_operands(const driver *dr) {
  const command_info *c = &command_table[dr->command];
  if (flag_given(dr, F_HELP) || flag_given(dr, F_HELP_SHORT) || flag_given(dr, F_VERSION))
    return true;
  if (!check_command(dr)) return false;
  if (dr->operand_count < c->operands_min)
    usage_error(dr, "no model is given; usage: spcc%s%s %s", dr->command == CMD_compile ? "" : " ",
                dr->command == CMD_compile ? "" : c->name, c->operands);
  else if (dr->operand_count > c->operands_max)
    usage_error(dr, "'%s' is one operand too many; spcc %s takes %zu",
                dr->operands[c->operands_max], c->name, c->operands_max);
  else
    return true;
  return false;
}

bool flags_parse(driver *dr, int argc, char **argv) {
  int i;
  dr->command = find_command(argc, argv, &i);
  size_t most = argc > 0 ? (size_t)argc : 1;
  dr->uses = arena_array(dr->arena, flag_use, most);
  dr->operands = arena_array(dr->arena, const char *, most);
  bool only_operands = false;
  for (; i < argc; i++) {
    if (!only_operands && !strcmp(argv[i], "--")) {
      only_operands = true;
    } else if (only_operands || argv[i][0] != '-' || !argv[i][1]) {
      dr->operands[dr->operand_count++] = argv[i];
    } else if (!parse_flag(dr, argc, argv, &i)) {
      return false;
    }
  }
  return check_operands(dr);
}

/* ---- asking ---- */

static const flag_use *last_use(const driver *dr, enum flag f) {
  for (size_t i = dr->use_count; i-- > 0;)
    if (dr->uses[i].flag == f) return &dr->uses[i];
  return NULL;
}

bool flag_given(const driver *dr, enum flag f) {
  return last_use(dr, f) != NULL;
}

const char *flag_text(const driver *dr, enum flag f, const char *otherwise) {
  const flag_use *use = last_use(dr, f);
  return use ? use->text : otherwise;
}

double flag_number(const driver *dr, enum flag f, double otherwise) {
  const flag_use *use = last_use(dr, f);
  return use && *use->text ? use->number : otherwise;
}

int64_t flag_int(const driver *dr, enum flag f, int64_t otherwise) {
  const flag_use *use = last_use(dr, f);
  return use ? (int64_t)use->number : otherwise;
}

const char *flag_next(const driver *dr, enum flag f, size_t *at) {
  while (*at < dr->use_count) {
    const flag_use *use = &dr->uses[(*at)++];
    if (use->flag == f) return use->text;
  }
  return NULL;
}

const char **flag_list(const driver *dr, enum flag f, size_t *count) {
  size_t at = 0, most = 0;
  for (const char *text; (text = flag_next(dr, f, &at));)
    most += strlen(text) / 2 + 1; /* words take at least a letter and a comma each */
  const char **list = arena_array(dr->arena, const char *, most + 1);
  *count = at = 0;
  for (const char *text; (text = flag_next(dr, f, &at));) {
    for (const char *word = text; *word;) {
      size_t length = strcspn(word, ",");
      if (length) list[(*count)++] = arena_strndup(dr->arena, word, length);
      word += length + (word[length] == ',');
    }
  }
  return list;
}
