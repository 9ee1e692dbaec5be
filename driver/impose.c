#include "driver/impose.h"

#include <stdlib.h>
#include <string.h>

#include "driver/random_weight.h"
#include "driver/targets.h"

typedef struct imposer {
  driver *dr;
  const char *file;
  ir_graph *g;
  ir_value **weights; /* of the linears */
  const char **names;
  const spo_goal **goals; /* NULL: as it is */
  size_t count;
} imposer;

static int bad_impose(const imposer *p, const char *text, const char *why) {
  return usage_error(
      p->dr, "--impose=%s: %s; 're:intermediate=4x1@0.9' and 'pooler.dense=2:4' are examples", text,
      why);
}

static bool in_list(const imposer *p, const ir_value *w) {
  for (size_t i = 0; i < p->count; i++)
    if (p->weights[i] == w) return true;
  return false;
}

static void find_weights(imposer *p) {
  arena *a = p->dr->arena;
  p->weights = arena_array(a, ir_value *, p->g->count + 1);
  p->names = arena_array(a, const char *, p->g->count + 1);
  p->goals = arena_array(a, const spo_goal *, p->g->count + 1);
  for (ir_id i = 0; i < p->g->count; i++) {
    ir_value *v = ir_at(p->g, i), *w = ir_is_op(v, OP_linear) ? ir_in(p->g, v, 1) : NULL;
    if (!w || w->kind != IR_CONST || in_list(p, w)) continue;
    p->names[p->count] = w->name;
    p->weights[p->count++] = w;
  }
}

/* Reads "4x1@0.9" into *goal; what is wrong with it, or NULL. */
static const char *read_goal(arena *a, const char *text, spo_goal *goal) {
  size_t length = strcspn(text, "@");
  double implied;
  if (!spo_pattern_parse(arena_strndup(a, text, length), &goal->pattern))
    return "the pattern is none of dense, unstructured, RxC such as 4x1 and N:M such as 2:4";
  bool fixed = spo_pattern_implies(&goal->pattern, &implied);
  goal->sparsity = SPO_IMPLIED;
  if (!text[length]) return fixed ? NULL : "this pattern needs a sparsity, such as @0.9";
  const char *number = text + length + 1;
  if (!*number || number[strspn(number, "0123456789.")]) return "the sparsity is no number";
  char *end;
  goal->sparsity = strtod(number, &end);
  if (*end || goal->sparsity > 1) return "the sparsity is not from 0 to 1";
  return fixed && goal->sparsity != implied ? "this pattern fixes the sparsity; leave it out"
                                            : NULL;
}

/* Notes what one --impose asks for. */
static int read_impose(imposer *p, const char *text) {
  arena *a = p->dr->arena;
  const char *equals = strrchr(text, '=');
  if (!equals || equals == text) return bad_impose(p, text, "TARGET=PATTERN@SPARSITY is expected");
  spo_goal *goal = arena_new_one(a, spo_goal);
  const char *why = read_goal(a, equals + 1, goal);
  if (why) return bad_impose(p, text, why);
  bool *mark = arena_array(a, bool, p->count + 1);
  int code = target_mark(p->dr, F_IMPOSE, p->file, arena_strndup(a, text, (size_t)(equals - text)),
                         p->names, p->count, mark);
  for (size_t i = 0; i < p->count; i++)
    if (mark[i]) p->goals[i] = goal;
  return code;
}

static bool replace_weight(imposer *p, size_t i) {
  ir_value *w = p->weights[i];
  const float *data = random_weight(p->dr, w->loc, w->name, p->goals[i], (size_t)w->type.dim[0],
                                    (size_t)w->type.dim[1], i);
  if (!data) return false;
  ir_tensor *t = arena_new_one(p->dr->arena, ir_tensor);
  *t = (ir_tensor){.data = data, .count = w->tensor->count, .finite = true};
  w->tensor = t;
  return true;
}

int impose_weights(driver *dr, const char *path, ir_graph *g) {
  imposer p = {.dr = dr, .file = path, .g = g};
  size_t at = 0;
  int code = EXIT_OK;
  find_weights(&p);
  for (const char *text; code == EXIT_OK && (text = flag_next(dr, F_IMPOSE, &at));)
    code = read_impose(&p, text);
  for (size_t i = 0; i < p.count && code == EXIT_OK; i++)
    if (p.goals[i] && !replace_weight(&p, i)) code = EXIT_REJECTED;
  return code;
}
