/* Choosing weights by name or regular expression. */
#include <regex.h>
#include <string.h>

#include "driver/targets.h"
#include "frontend/suggest.h"

/* Length of the item at the start of `list`: up to a comma outside (), [] and {}. */
static size_t item_length(const char *list) {
  int depth = 0;
  size_t i = 0;
  for (; list[i] && (list[i] != ',' || depth > 0); i++) {
    if (list[i] == '\\' && list[i + 1])
      i++;
    else if (strchr("([{", list[i]))
      depth++;
    else if (strchr(")]}", list[i]))
      depth--;
  }
  return i;
}

/* True when `item` is `name`, with or without ".weight". */
static bool same_name(const char *item, const char *name) {
  size_t length = strlen(item);
  return strncmp(item, name, length) == 0 &&
         (!name[length] || strcmp(name + length, ".weight") == 0);
}

typedef struct chooser {
  driver *dr;
  enum flag flag;
  const char *file;
  const char *const *names;
  size_t count;
  bool *mark; /* set where an item matches */
} chooser;

/* `name` without ".weight". */
static const char *short_name(arena *a, const char *name) {
  size_t length = strlen(name), suffix = strlen(".weight");
  bool ends = length > suffix && strcmp(name + length - suffix, ".weight") == 0;
  return ends ? arena_strndup(a, name, length - suffix) : name;
}

static int no_match(const chooser *c, const char *item) {
  suggestion near = {.word = item};
  for (size_t i = 0; i < c->count; i++)
    suggest_offer(&near, short_name(c->dr->arena, c->names[i]));
  diag_error(c->dr->diag, loc_file(c->file), E_NAME,
             "'%s' of %s matches none of the %zu weights that can be pruned; spcc inspect lists "
             "them%s",
             item, flag_table[c->flag].spelling, c->count, suggest_text(c->dr->arena, &near));
  return EXIT_REJECTED;
}

static int mark_regex(const chooser *c, const char *item) {
  regex_t regex;
  char why[128];
  bool found = false;
  int error = regcomp(&regex, item + strlen("re:"), REG_EXTENDED | REG_NOSUB);
  if (error) {
    regerror(error, &regex, why, sizeof why);
    return usage_error(c->dr, "'%s' is no regular expression: %s", item, why);
  }
  for (size_t i = 0; i < c->count; i++)
    if (regexec(&regex, c->names[i], 0, NULL, 0) == 0) found = c->mark[i] = true;
  regfree(&regex);
  return found ? EXIT_OK : no_match(c, item);
}

static int mark_item(const chooser *c, const char *item) {
  bool found = false;
  if (strncmp(item, "re:", 3) == 0) return mark_regex(c, item);
  for (size_t i = 0; i < c->count; i++)
    if (same_name(item, c->names[i])) found = c->mark[i] = true;
  return found ? EXIT_OK : no_match(c, item);
}

int target_mark(driver *dr, enum flag flag, const char *file, const char *item,
                const char *const *names, size_t count, bool *mark) {
  chooser c = {dr, flag, file, names, count, mark};
  return mark_item(&c, item);
}

/* Marks what the uses of one flag match. */
static int mark_flag(const chooser *c) {
  size_t at = 0;
  for (const char *list; (list = flag_next(c->dr, c->flag, &at));)
    for (;;) {
      size_t length = item_length(list);
      int code = mark_item(c, arena_strndup(c->dr->arena, list, length));
      if (code != EXIT_OK) return code;
      if (!list[length]) break;
      list += length + 1;
    }
  return EXIT_OK;
}

int targets_choose(driver *dr, const char *file, const char *const *names, size_t count,
                   bool *chosen) {
  bool *ignored = arena_array(dr->arena, bool, count);
  chooser c = {dr, F_TARGETS, file, names, count, chosen};
  memset(chosen, !flag_given(dr, F_TARGETS), count * sizeof *chosen);
  int code = mark_flag(&c);
  if (code != EXIT_OK) return code;
  c.flag = F_IGNORE;
  c.mark = ignored;
  code = mark_flag(&c);
  for (size_t i = 0; i < count; i++)
    chosen[i] = chosen[i] && !ignored[i];
  return code;
}
