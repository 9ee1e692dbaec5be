/* SparseLLM's steps over p, z and s on whole feed-forward parts: each lowers the objective, which
 * is written out here in f64. The steps have no names outside of their file, so it is part of this
 * program. */
#include "optimizer/sparsellm.c"

#include "tests/run_suite.h"
#include "tests/unit/spo_oneshot.h"

enum { IN = 20, INNER = 36, OUT = 12, TOKENS = 300, EPOCHS = 5 };

static double exact(spo_activation a, double x) {
  if (a == SPO_RELU) return x > 0 ? x : 0;
  if (a == SPO_GELU) return 0.5 * x * (1 + erf(x / sqrt(2)));
  return x / (1 + exp(-x));
}

static double inner_loss(const part *f, const float *p, size_t t, size_t i) {
  const spo_recipe *r = f->recipe;
  size_t at = t * INNER + i;
  double up = bias_at(&f->linear[UP], i), gate = bias_at(&f->linear[GATE], i);
  double away = (double)f->z[at] - (double)f->m[at], z = (double)f->z[at] + up;
  double value = f->gated ? z * exact(f->ffn->activation, (double)f->s[at] + gate)
                          : exact(f->ffn->activation, z);
  double miss = (double)p[at] - value, sum = r->weight_pre * away * away;
  if (f->gated) sum += r->weight_pre * pow((double)f->s[at] - (double)f->g[at], 2);
  return sum + r->weight_act * miss * miss;
}

static double output_loss(const part *f, const float *p, size_t t, size_t o) {
  double miss = (double)f->y[t * OUT + o];
  for (size_t i = 0; i < INNER; i++)
    miss -= (double)f->linear[DOWN].w[o * INNER + i] * (double)p[t * INNER + i];
  return f->recipe->weight_out * miss * miss;
}

/* alpha |z - W1 X - b1|^2 + alpha |s - Wg X - bg|^2 + gamma |p - f(z)|^2 + beta |Y - W2 p - b2|^2,
 * f->m and f->g being what the linears put out now. */
static double objective(const part *f, const float *p) {
  double sum = 0;
  for (size_t t = 0; t < TOKENS; t++) {
    for (size_t i = 0; i < INNER; i++)
      sum += inner_loss(f, p, t, i);
    for (size_t o = 0; o < OUT; o++)
      sum += output_loss(f, p, t, o);
  }
  return sum;
}

/* One epoch on all tokens at once; returns how much the steps gain. */
static double one_epoch(part *f, float *p, bool first) {
  ck_assert_int_eq(update_weights(f, !first, NULL, NULL), SPO_OK);
  ck_assert_int_eq(prepare(f, NULL, NULL), SPO_OK);
  forward(f, f->x, f->m, f->g, f->p, f->out, TOKENS);
  double before = objective(f, p), middle, after, slack = 1e-5 * before;
  step_p(f, 0, 0, TOKENS);
  middle = objective(f, f->p);
  step_z(f, 0, 0, TOKENS);
  after = objective(f, f->p);
  ck_assert_msg(middle <= before + slack, "p: %g to %g", before, middle);
  ck_assert_msg(after <= middle + slack, "z: %g to %g", middle, after);
  f->pass = STEP;
  ck_assert_int_eq(add_grams(f, NULL, NULL), SPO_OK);
  memcpy(p, f->p, TOKENS * INNER * sizeof *p);
  return (before - after) / before;
}

static void check_part(spo_activation activation, double pre, double out, double act) {
  float *up = random_floats(INNER * IN), *gate = random_floats(INNER * IN),
        *down = random_floats(OUT * INNER), *bias = random_floats(INNER),
        *x = random_tokens(TOKENS, IN), *p = malloc(TOKENS * INNER * sizeof *p);
  double energy, least = INFINITY;
  spo_recipe r;
  spo_recipe_init(&r, SPO_SPARSELLM);
  r.goal.sparsity = 0.6;
  r.weight_pre = pre;
  r.weight_out = out;
  r.weight_act = act;
  spo_ffn ffn = {.activation = activation, .up_bias = bias, .gate_bias = bias};
  ffn.up = (spo_layer){"up", up, NULL, INNER, IN};
  ffn.gate = (spo_layer){"gate", gate, NULL, INNER, IN};
  ffn.down = (spo_layer){"down", down, NULL, OUT, INNER};
  part f = {.recipe = &r, .ffn = &ffn, .name = "down", .inputs = IN, .inner = INNER};
  f.outputs = OUT;
  f.tokens = TOKENS;
  f.gated = activation == SPO_SILU_GATE;
  ck_assert_int_eq(open_part(&f, &ffn, NULL), SPO_OK);
  const spo_tokens tokens = {x, TOKENS};
  ck_assert_int_eq(stream(&f, RECORD, &tokens, 1, &energy, NULL, NULL), SPO_OK);
  ck_assert_int_eq(spo_factor_make(&f.x_factor, f.x_gram, r.damping, "up", NULL, NULL), SPO_OK);
  f.at = 0;
  memcpy(p, f.p, TOKENS * INNER * sizeof *p);
  for (int e = 0; e < EPOCHS; e++)
    least = fmin(least, one_epoch(&f, p, e == 0));
  ck_assert_double_gt(least, 0); /* and they do something */
  close_part(&f);
  float *all[] = {up, gate, down, bias, x, p};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    free(all[i]);
}

START_TEST(steps_lower_the_objective) {
  for (int a = SPO_RELU; a <= SPO_SILU_GATE; a++) {
    check_part((spo_activation)a, 1, 1, 1);
    check_part((spo_activation)a, 0.1, 5, 2);
    check_part((spo_activation)a, 5, 0.1, 0.3);
  }
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_objective");
  TCase *c = untimed_case("all");
  tcase_add_test(c, steps_lower_the_objective);
  suite_add_tcase(s, c);
  return run_suite(s);
}
