/* Choosing weights by patterns of their names. */
#include <string.h>

#include "driver/targets.h"
#include "frontend/match.h"
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

typedef struct chooser {
  driver *dr;
  enum flag flag;
  const char *file;
  const char *const *names;
  size_t count;
  bool *mark; /* set where an item matches */
} chooser;

static int no_match(const chooser *c, const char *item) {
  suggestion near = {.word = item};
  for (size_t i = 0; i < c->count; i++)
    suggest_offer(&near, match_short_name(c->dr->arena, c->names[i]));
  diag_error(c->dr->diag, loc_file(c->file), E_NAME,
             "'%s' of %s matches none of the %zu weights that can be pruned; spcc inspect lists "
             "them%s",
             item, flag_table[c->flag].spelling, c->count, suggest_text(c->dr->arena, &near));
  return EXIT_REJECTED;
}

static int mark_item(const chooser *c, const char *item) {
  size_t found;
  const char *wrong = match_names(c->dr->arena, item, c->names, c->count, c->mark, &found);
  if (wrong) return usage_error(c->dr, "%s", wrong);
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
