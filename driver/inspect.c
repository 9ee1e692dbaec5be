/* spcc inspect model.yaml: what the weights of the linears look like. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "driver/json_line.h"
#include "driver/model.h"
#include "support/text.h"

/* The share of the elements in non-empty blocks of shape `i` that are non-zeros. */
static double block_fill(const classify_result *r, int i) {
  const pattern *p = &classify_blocks[i];
  double elements = (double)r->blocks[i] * p->rows * p->cols;
  double fill = elements > 0 ? (double)r->nnz / elements : 0;
  return fill < 1 ? fill : 1;
}

static double density(uint64_t nnz, uint64_t elements) {
  return elements ? (double)nnz / (double)elements : 0;
}

static const char *nm_name(const classify_result *r) {
  return r->nm14 ? "1:4" : r->nm24 ? "2:4" : r->nm48 ? "4:8" : "-";
}

static void print_heading(int width) {
  printf("%-*s %12s %11s %8s %-13s", width, "linear", "shape", "non-zeros", "density", "pattern");
  for (int i = 0; i < CLASSIFY_BLOCKS; i++) {
    char text[PATTERN_TEXT_MAX];
    printf(" %6s", pattern_print(&classify_blocks[i], text));
  }
  printf(" %4s\n", "N:M");
}

static void print_row(driver *dr, int width, const char *name, const classify_result *r) {
  char text[PATTERN_TEXT_MAX];
  const char *shape = arena_printf(dr->arena, "%" PRIu64 "x%" PRIu64, r->rows, r->cols);
  printf("%-*s %12s %11" PRIu64 " %7.2f%% %-13s", width, name, shape, r->nnz,
         100 * density(r->nnz, r->rows * r->cols), pattern_print(&r->best, text));
  for (int i = 0; i < CLASSIFY_BLOCKS; i++)
    printf(" %5.1f%%", 100 * block_fill(r, i));
  printf(" %4s\n", nm_name(r));
}

static bool print_json(driver *dr, const char *name, const classify_result *r) {
  char text[PATTERN_TEXT_MAX];
  json_t *fill = json_object();
  for (int i = 0; i < CLASSIFY_BLOCKS; i++)
    json_object_set_new(fill, pattern_print(&classify_blocks[i], text),
                        json_real(block_fill(r, i)));
  return json_line(dr, json_pack("{s:s, s:I, s:I, s:I, s:f, s:s, s:o, s:b, s:b, s:b}", "name", name,
                                 "rows", (json_int_t)r->rows, "cols", (json_int_t)r->cols, "nnz",
                                 (json_int_t)r->nnz, "density", density(r->nnz, r->rows * r->cols),
                                 "pattern", pattern_print(&r->best, text), "block_fill", fill,
                                 "1:4", r->nm14, "2:4", r->nm24, "4:8", r->nm48));
}

/* The weight of value `i` when that is a linear with a constant weight. */
static const ir_value *weight_of(const ir_graph *g, ir_id i) {
  const ir_value *v = ir_at(g, i);
  const ir_value *w = ir_is_op(v, OP_linear) ? ir_in(g, v, 1) : NULL;
  return w && w->kind == IR_CONST ? w : NULL;
}

static int name_width(driver *dr, const ir_graph *g) {
  size_t width = strlen("linear");
  for (ir_id i = 0; i < g->count; i++) {
    const ir_value *w = weight_of(g, i);
    size_t length = w ? strlen(text_escape(dr->arena, w->name)) : 0;
    if (length > width) width = length;
  }
  return width < 80 ? (int)width : 80;
}

static bool print_weights(driver *dr, const ir_graph *g) {
  bool json = flag_given(dr, F_JSON), ok = true;
  int width = name_width(dr, g);
  uint64_t nnz = 0, elements = 0;
  if (!json) print_heading(width);
  for (ir_id i = 0; i < g->count && ok; i++) {
    const ir_value *w = weight_of(g, i);
    if (!w) continue;
    classify_result r;
    classify(w->tensor->data, (uint64_t)w->type.dim[0], (uint64_t)w->type.dim[1], &r);
    nnz += r.nnz;
    elements += r.rows * r.cols;
    if (json)
      ok = print_json(dr, w->name, &r);
    else
      print_row(dr, width, text_escape(dr->arena, w->name), &r);
  }
  if (!json)
    printf("%-*s %12s %11" PRIu64 " %7.2f%%\n", width, "total", "", nnz,
           100 * density(nnz, elements));
  return ok;
}

int cmd_inspect(driver *dr) {
  stage_begin(dr, "read");
  model_overrides none = {0};
  model_source *m = source_read(dr, dr->operands[0], &none);
  stages_end(dr);
  if (m && source_close(dr, m)) print_weights(dr, m->graph);
  return EXIT_OK;
}
