/* SparseLLM: its steps against grids and direct solutions, the whole against SparseGPT. */
#include <float.h>
#include <stdio.h>

#include "optimizer/ffn.h"
#include "optimizer/gemm.h"
#include "optimizer/gram.h"
#include "optimizer/linalg.h"
#include "tests/run_suite.h"
#include "tests/unit/spo_oneshot.h"

static double exact_activation(spo_activation a, double x) {
  if (a == SPO_RELU) return x > 0 ? x : 0;
  if (a == SPO_GELU) return 0.5 * x * (1 + erf(x / sqrt(2)));
  return x / (1 + exp(-x));
}

static double cost(const spo_scalar_problem *q, double x) {
  double first, second, miss = q->p - q->c * spo_curve_at(q->table, x, &first, &second);
  return q->alpha * (x - q->m) * (x - q->m) + q->gamma * miss * miss;
}

static spo_curve_table *table_of(spo_activation a) {
  static spo_curve_table t;
  spo_curve_init(&t, a);
  return &t;
}

/* Values within 2e-8 of the function's, slopes those of the values. */
START_TEST(curves) {
  for (int a = SPO_RELU; a <= SPO_SILU_GATE; a++) {
    const spo_curve_table *t = table_of((spo_activation)a);
    for (double x = -30; x < 30; x += 0.00317) {
      double first, second, unused;
      double bound = a == SPO_SILU_GATE && fabs(x) > 19 ? 1e-7 : 2e-8;
      assert_near(spo_curve_at(t, x, &first, &second), exact_activation((spo_activation)a, x),
                  bound);
      double up = spo_curve_at(t, x + 1e-5, &unused, &unused),
             down = spo_curve_at(t, x - 1e-5, &unused, &unused);
      if (fabs(x) > 1e-4 && fabs(fabs(x) - 20) > 1e-4) assert_near(first, (up - down) / 2e-5, 1e-6);
    }
  }
}
END_TEST

/* ReLU against a fine grid. */
START_TEST(relu_is_exact) {
  const spo_curve_table *t = table_of(SPO_RELU);
  for (int k = 0; k < 60; k++) {
    spo_scalar_problem q = {
        t, 0.1 + unit_random(), 0.1 + unit_random(), 6 * unit_random() - 3, 6 * unit_random() - 3,
        1};
    double got = cost(&q, spo_scalar_solve(&q, 0)), best = INFINITY;
    for (int i = 0; i <= 160000; i++)
      best = fmin(best, cost(&q, -8 + i * 1e-4));
    ck_assert(got <= best + 1e-12);
    ck_assert(got >= best - 1e-7);
  }
}
END_TEST

/* Never above the start, and as good as the best of a grid. */
START_TEST(solver_finds_minima) {
  for (int a = SPO_GELU; a <= SPO_SILU_GATE; a++) {
    const spo_curve_table *t = table_of((spo_activation)a);
    for (int k = 0; k < 1500; k++) {
      double c = a == SPO_GELU ? 1 : 6 * unit_random() - 3;
      spo_scalar_problem q = {
          t, 0.1 + unit_random(), 0.1 + unit_random(), 8 * unit_random() - 4, 8 * unit_random() - 4,
          c};
      double start = 8 * unit_random() - 4, got = cost(&q, spo_scalar_solve(&q, start));
      double best = INFINITY, scale = q.m * q.m + q.p * q.p + 1;
      for (int i = 0; i <= 3600; i++)
        best = fmin(best, cost(&q, -18 + i * 1e-2));
      ck_assert(got <= cost(&q, start));
      ck_assert_msg(got <= best + 1e-3 * scale, "%g > %g: m %g p %g c %g start %g", got, best, q.m,
                    q.p, q.c, start);
    }
  }
}
END_TEST

/* Large numbers: finite, never above the start. */
START_TEST(solver_holds) {
  for (int a = SPO_RELU; a <= SPO_SILU_GATE; a++) {
    const spo_curve_table *t = table_of((spo_activation)a);
    for (int k = 0; k < 20000; k++) {
      double size = pow(10, 8 * unit_random() - 4), start = size * (2 * unit_random() - 1);
      spo_scalar_problem q = {t,
                              pow(10, 4 * unit_random() - 2),
                              pow(10, 4 * unit_random() - 2),
                              1e4 * (2 * unit_random() - 1),
                              1e4 * (2 * unit_random() - 1),
                              a == SPO_SILU_GATE ? 1e2 * (2 * unit_random() - 1) : 1};
      double x = spo_scalar_solve(&q, start);
      ck_assert(isfinite(x));
      ck_assert(cost(&q, x) <= cost(&q, start));
    }
  }
}
END_TEST

/* The gradient at the value of a gated activation is 0. */
START_TEST(gated_value_is_exact) {
  for (int k = 0; k < 1000; k++) {
    double alpha = 0.1 + unit_random(), gamma = 0.1 + unit_random(), m = 6 * unit_random() - 3,
           p = 6 * unit_random() - 3, silu = 6 * unit_random() - 3;
    double z = spo_gated_value(alpha, gamma, m, p, silu);
    assert_near(alpha * (z - m) - gamma * silu * (p - silu * z), 0, 1e-10);
  }
}
END_TEST

/* At p = f + lift' r the objective's gradient is 0, and the direct solution is the same. */
START_TEST(lift_is_exact) {
  enum { OUT = 9, IN = 30 };
  double w[OUT * IN], lift[OUT * IN], square[OUT * OUT], f[IN], y[OUT], r[OUT], p[IN], beta = 0.7,
                                                                                       gamma = 0.3;
  for (size_t i = 0; i < OUT * IN; i++)
    w[i] = (double)normal_random();
  for (size_t i = 0; i < IN; i++)
    f[i] = (double)normal_random();
  for (size_t o = 0; o < OUT; o++) {
    y[o] = r[o] = (double)normal_random();
    for (size_t i = 0; i < IN; i++)
      r[o] -= w[o * IN + i] * f[i];
  }
  ck_assert(spo_ffn_lift(w, OUT, IN, beta, gamma, square, lift, NULL));
  double a[IN * IN], b[IN], miss[OUT];
  for (size_t i = 0; i < IN; i++) {
    p[i] = f[i];
    b[i] = gamma * f[i];
    for (size_t o = 0; o < OUT; o++) {
      p[i] += lift[o * IN + i] * r[o];
      b[i] += beta * w[o * IN + i] * y[o];
    }
    for (size_t j = 0; j < IN; j++) {
      a[i * IN + j] = i == j ? gamma : 0;
      for (size_t o = 0; o < OUT; o++)
        a[i * IN + j] += beta * w[o * IN + i] * w[o * IN + j];
    }
  }
  for (size_t o = 0; o < OUT; o++) {
    miss[o] = -y[o];
    for (size_t i = 0; i < IN; i++)
      miss[o] += w[o * IN + i] * p[i];
  }
  naive_solve(a, b, IN, 1);
  for (size_t i = 0; i < IN; i++) {
    double gradient = gamma * (p[i] - f[i]);
    for (size_t o = 0; o < OUT; o++)
      gradient += beta * w[o * IN + i] * miss[o];
    assert_near(gradient, 0, 1e-10);
    assert_near(p[i], b[i], 1e-10);
  }
}
END_TEST

/* |T - W A|^2 = |T - W* A|^2 + |(W* - W) A|^2 for the W* of spo_factor_solve. */
START_TEST(decomposition) {
  enum { IN = 20, OUT = 3, TOKENS = 80 };
  float *x = random_tokens(TOKENS, IN), *t = random_floats(TOKENS * OUT);
  double sums[OUT * IN] = {0}, c[OUT * IN], *h = naive_gram(x, TOKENS, IN), left = 0, right = 0;
  float w[OUT * IN];
  spo_gram *g = gram_of(x, TOKENS, IN);
  spo_factor factor;
  ck_assert_int_eq(spo_factor_make(&factor, g, 0, "w", NULL, NULL), SPO_OK);
  spo_add_products(sums, t, OUT, x, IN, TOKENS, false, NULL);
  spo_factor_solve(&factor, sums, c, OUT, NULL);
  for (size_t i = 0; i < OUT * IN; i++)
    w[i] = normal_random();
  for (size_t k = 0; k < TOKENS; k++)
    for (size_t o = 0; o < OUT; o++) {
      double a = (double)t[k * OUT + o], b = a;
      for (size_t i = 0; i < IN; i++) {
        a -= (double)w[o * IN + i] * (double)x[k * IN + i];
        b -= c[o * IN + i] * (double)x[k * IN + i];
      }
      left += a * a;
      right += b * b;
    }
  for (size_t o = 0; o < OUT; o++) {
    float best[IN];
    for (size_t i = 0; i < IN; i++)
      best[i] = (float)c[o * IN + i];
    right += naive_loss(h, IN, best, w + o * IN);
  }
  assert_near(left, right, 1e-4 * left);
  spo_factor_free(&factor);
  spo_gram_close(g);
  free(x);
  free(t);
  free(h);
}
END_TEST

/* ---- whole feed-forward parts ---- */

enum { IN = 24, INNER = 40, OUT = 16, TOKENS = 1500, CHUNK = 1100 };

typedef struct sample {
  spo_ffn ffn;
  float *w[3], *b[3], *given[3], *x;
  unsigned char *mask[3];
  spo_tokens chunks[2];
  spo_recipe recipe;
} sample;

static sample make(spo_activation activation, double sparsity) {
  static const size_t rows[] = {INNER, INNER, OUT}, cols[] = {IN, IN, INNER};
  sample s = {.x = random_tokens(TOKENS, IN)};
  for (int i = 0; i < 3; i++) {
    s.given[i] = random_floats(rows[i] * cols[i]);
    for (size_t k = 0; k < rows[i] * cols[i]; k++)
      s.given[i][k] *= 0.3f;
    s.w[i] = malloc(rows[i] * cols[i] * sizeof(float));
    memcpy(s.w[i], s.given[i], rows[i] * cols[i] * sizeof(float));
    s.b[i] = random_floats(rows[i]);
    s.mask[i] = malloc(rows[i] * cols[i]);
  }
  s.ffn = (spo_ffn){.activation = activation,
                    .up = {"up", s.w[0], s.mask[0], INNER, IN},
                    .gate = {"gate", s.w[1], s.mask[1], INNER, IN},
                    .down = {"down", s.w[2], s.mask[2], OUT, INNER},
                    .up_bias = s.b[0],
                    .gate_bias = s.b[1],
                    .down_bias = s.b[2]};
  s.chunks[0] = (spo_tokens){s.x, CHUNK};
  s.chunks[1] = (spo_tokens){s.x + (size_t)CHUNK * IN, TOKENS - CHUNK};
  spo_recipe_init(&s.recipe, SPO_SPARSELLM);
  s.recipe.goal.sparsity = sparsity;
  return s;
}

static void end(sample *s) {
  for (int i = 0; i < 3; i++) {
    free(s->w[i]);
    free(s->b[i]);
    free(s->given[i]);
    free(s->mask[i]);
  }
  free(s->x);
}

static spo_ffn_report prune(sample *s, double *trace, const spo_pool *pool) {
  spo_ffn_report report = {.trace = trace};
  spo_error error = {.text = ""};
  spo_status status = spo_sparsellm(&s->recipe, &s->ffn, s->chunks, 2, &report, pool, &error);
  ck_assert_msg(status == SPO_OK, "%s", error.text);
  return report;
}

/* The inner activations of weights up and gate for one token, from the definition. */
static void naive_inner(const sample *s, float *const w[3], const float *x, double *p) {
  for (size_t i = 0; i < INNER; i++) {
    double up = (double)s->b[0][i], gate = (double)s->b[1][i];
    for (size_t j = 0; j < IN; j++) {
      up += (double)w[0][i * IN + j] * (double)x[j];
      gate += (double)w[1][i * IN + j] * (double)x[j];
    }
    p[i] = s->ffn.activation == SPO_SILU_GATE ? up * exact_activation(SPO_SILU_GATE, gate)
                                              : exact_activation(s->ffn.activation, up);
  }
}

static void naive_output(const sample *s, float *const w[3], const float *x, double *y) {
  double p[INNER];
  naive_inner(s, w, x, p);
  for (size_t o = 0; o < OUT; o++) {
    y[o] = 0;
    for (size_t i = 0; i < INNER; i++)
      y[o] += (double)w[2][o * INNER + i] * p[i];
  }
}

/* |Y - Y'|^2 of what is in w against what was given, and |Y|^2. */
static double naive_error(const sample *s, double *energy) {
  double sum = 0;
  *energy = 0;
  for (size_t t = 0; t < TOKENS; t++) {
    double before[OUT], after[OUT];
    naive_output(s, s->given, s->x + t * IN, before);
    naive_output(s, s->w, s->x + t * IN, after);
    for (size_t o = 0; o < OUT; o++) {
      sum += (before[o] - after[o]) * (before[o] - after[o]);
      *energy += before[o] * before[o];
    }
  }
  return sum;
}

static const spo_activation activations[] = {SPO_RELU, SPO_GELU, SPO_SILU_GATE};

enum { BLOCK = 1024 /* tokens that the library takes at once */, SLICE = 64 };

/* The inner activations to the bits of the library: a product's do not depend on its rows. */
static void library_inner(const sample *s, const float *x, size_t count, float *p) {
  const spo_curve_table *table = table_of(s->ffn.activation);
  bool gated = s->ffn.activation == SPO_SILU_GATE;
  float out[2][SLICE * INNER];
  double first, second;
  for (int k = 0; k <= gated; k++)
    spo_gemm32(SPO_SET, count, INNER, IN, (spo_f32){x, IN, 1}, (spo_f32){s->given[k], 1, IN},
               out[k], INNER);
  for (size_t i = 0; i < count * INNER; i++) {
    double up = (double)out[0][i] + (double)s->b[0][i % INNER];
    double gate = gated ? (double)out[1][i] + (double)s->b[1][i % INNER] : 0;
    p[i] = (float)(gated ? up * spo_curve_at(table, gate, &first, &second)
                         : spo_curve_at(table, up, &first, &second));
  }
}

/* What the linears up and gate read, or `inner`: what the linear down reads. */
static spo_gram *gram_in_blocks(const sample *s, bool inner) {
  static float p[BLOCK * INNER];
  spo_gram *g;
  ck_assert_int_eq(spo_gram_open(SPO_GRAM_WHOLE, inner ? INNER : IN, &g, NULL), SPO_OK);
  for (int c = 0; c < 2; c++)
    for (size_t t = 0; t < s->chunks[c].count; t += BLOCK) {
      const float *x = s->chunks[c].x + t * IN;
      size_t count = s->chunks[c].count - t < BLOCK ? s->chunks[c].count - t : BLOCK;
      for (size_t k = 0; inner && k < count; k += SLICE)
        library_inner(s, x + k * IN, count - k < SLICE ? count - k : SLICE, p + k * INNER);
      ck_assert_int_eq(spo_gram_add(g, "w", inner ? p : x, count, NULL, NULL), SPO_OK);
    }
  return g;
}

/* SparseGPT alone makes of a linear what the sample has now. */
static void check_sparsegpt(const sample *s, int which, size_t rows, size_t cols) {
  spo_recipe r = s->recipe;
  spo_report report;
  float w[INNER * INNER];
  unsigned char mask[INNER * INNER];
  spo_gram *g = gram_in_blocks(s, which == 2);
  spo_layer layer = {"w", w, mask, rows, cols};
  r.method = SPO_SPARSEGPT;
  memcpy(w, s->given[which], rows * cols * sizeof *w);
  ck_assert_int_eq(spo_sparsegpt(&r, &layer, g, &report, NULL, NULL), SPO_OK);
  ck_assert_mem_eq(w, s->w[which], rows * cols * sizeof *w);
  ck_assert_mem_eq(mask, s->mask[which], rows * cols);
  spo_gram_close(g);
}

START_TEST(one_epoch_is_sparsegpt) {
  for (int a = 0; a < 3; a++) {
    sample s = make(activations[a], 0.5);
    s.recipe.epochs = 1;
    prune(&s, NULL, NULL);
    check_sparsegpt(&s, 0, INNER, IN);
    if (activations[a] == SPO_SILU_GATE) check_sparsegpt(&s, 1, INNER, IN);
    check_sparsegpt(&s, 2, OUT, INNER);
    end(&s);
  }
}
END_TEST

/* No epoch moves away from what is right, whatever the damping. */
START_TEST(nothing_to_drop) {
  for (int a = 0; a < 3; a++) {
    sample s = make(activations[a], 0);
    double trace[4];
    s.recipe.damping = 0.1;
    spo_ffn_report report = prune(&s, trace, NULL);
    ck_assert(report.error == 0 && trace[0] == 0 && report.epoch == 0 && !report.closed);
    for (int e = 1; e < 4; e++)
      ck_assert_msg(trace[e] < 1e-9 * report.energy, "epoch %d: %g", e, trace[e] / report.energy);
    ck_assert_mem_eq(s.w[0], s.given[0], INNER * IN * sizeof(float));
    ck_assert_mem_eq(s.w[1], s.given[1], INNER * IN * sizeof(float));
    ck_assert_mem_eq(s.w[2], s.given[2], OUT * INNER * sizeof(float));
    end(&s);
  }
}
END_TEST

/* The reported error is the true one and the least of the trace; later epochs help. */
START_TEST(best_epoch) {
  for (int a = 0; a < 3; a++) {
    sample s = make(activations[a], 0.7);
    double trace[6], energy;
    s.recipe.epochs = 6;
    s.recipe.closing = false;
    spo_ffn_report report = prune(&s, trace, NULL);
    double error = naive_error(&s, &energy);
    assert_near(report.error, error, 1e-4 * error);
    assert_near(report.energy, energy, 1e-5 * energy);
    for (int e = 0; e < 6; e++)
      ck_assert(trace[e] >= report.error);
    ck_assert(trace[report.epoch] == report.error);
    ck_assert_msg(report.error < 0.95 * trace[0], "activation %d: %g of %g", a, report.error,
                  trace[0]);
    ck_assert_uint_eq(report.up.kept, INNER * IN - (size_t)(0.7 * INNER * IN + 1e-6));
    ck_assert_uint_eq(report.down.kept, OUT * INNER - (size_t)(0.7 * OUT * INNER + 1e-6));
    ck_assert_uint_eq(report.gate.kept, a == 2 ? report.up.kept : 0);
    for (size_t i = 0; i < INNER * IN; i++)
      ck_assert(s.mask[0][i] || s.w[0][i] == 0);
    end(&s);
  }
}
END_TEST

/* What the last linear should be by the definition, before it is pruned: the least squares for the
 * activations p[TOKENS, INNER] that the pruned linears before it give, damped towards `given`. */
static void naive_closing(const sample *s, const double *p, float *down) {
  double *h = calloc(INNER * INNER, sizeof *h), *t = calloc(INNER * OUT, sizeof *t), before[OUT];
  double damping = 0;
  for (size_t k = 0; k < TOKENS; k++) {
    const double *q = p + k * INNER;
    naive_output(s, s->given, s->x + k * IN, before);
    for (size_t i = 0; i < INNER; i++) {
      damping += q[i] * q[i] * s->recipe.damping / INNER;
      for (size_t j = 0; j < INNER; j++)
        h[i * INNER + j] += q[i] * q[j];
      for (size_t o = 0; o < OUT; o++)
        t[i * OUT + o] += q[i] * before[o];
    }
  }
  for (size_t i = 0; i < INNER; i++) {
    h[i * INNER + i] += damping;
    for (size_t o = 0; o < OUT; o++)
      t[i * OUT + o] += damping * (double)s->given[2][o * INNER + i];
  }
  naive_solve(h, t, INNER, OUT);
  for (size_t i = 0; i < INNER * OUT; i++)
    down[i % OUT * INNER + i / OUT] = (float)t[i];
  free(h);
  free(t);
}

/* With the closing, the last linear is what SparseGPT makes of the least squares for the
 * activations of the pruned part; the epochs are those without it. */
START_TEST(closing) {
  for (int a = 0; a < 3; a++) {
    test_random = 501 + (uint64_t)a;
    sample open = make(activations[a], 0.6);
    test_random = 501 + (uint64_t)a;
    sample s = make(activations[a], 0.6);
    double trace[4], open_trace[4], energy, *p = malloc(TOKENS * INNER * sizeof *p);
    float *p32 = malloc(TOKENS * INNER * sizeof *p32), down[OUT * INNER];
    unsigned char mask[OUT * INNER];
    open.recipe.closing = false;
    spo_ffn_report before = prune(&open, open_trace, NULL), report = prune(&s, trace, NULL);
    ck_assert(!before.closed && report.closed);
    ck_assert_mem_eq(trace, open_trace, sizeof trace);
    ck_assert_msg(report.error < 0.9 * before.error, "%g, %g", report.error, before.error);
    assert_near(report.error, naive_error(&s, &energy), 1e-4 * report.error);
    for (size_t t = 0; t < TOKENS; t++)
      naive_inner(&s, s.w, s.x + t * IN, p + t * INNER);
    for (size_t i = 0; i < TOKENS * INNER; i++)
      p32[i] = (float)p[i];
    naive_closing(&s, p, down);
    spo_gram *g = gram_of(p32, TOKENS, INNER);
    spo_layer layer = {"down", down, mask, OUT, INNER};
    spo_recipe r = s.recipe;
    r.method = SPO_SPARSEGPT;
    ck_assert_int_eq(spo_sparsegpt(&r, &layer, g, &report.down, NULL, NULL), SPO_OK);
    ck_assert_mem_eq(mask, s.mask[2], sizeof mask);
    for (size_t i = 0; i < OUT * INNER; i++)
      assert_near((double)s.w[2][i], (double)down[i], 1e-4);
    spo_gram_close(g);
    free(p);
    free(p32);
    end(&open);
    end(&s);
  }
}
END_TEST

START_TEST(any_pool) {
  for (int a = 0; a < 3; a++) {
    float first[3][INNER * INNER];
    for (unsigned threads = 1; threads <= 16; threads *= 4) {
      test_random = 77;
      sample s = make(activations[a], 0.6);
      spo_pool *pool;
      spo_pattern_parse("4x1", &s.recipe.goal.pattern);
      ck_assert_int_eq(spo_pool_open(threads, &pool, NULL), SPO_OK);
      prune(&s, NULL, threads == 1 ? NULL : pool);
      for (int i = 0; i < 3; i++) {
        size_t bytes = (i == 2 ? OUT * INNER : INNER * IN) * sizeof(float);
        if (threads == 1) memcpy(first[i], s.w[i], bytes);
        ck_assert_mem_eq(first[i], s.w[i], bytes);
      }
      spo_pool_close(pool);
      end(&s);
    }
  }
}
END_TEST

START_TEST(refusals) {
  sample s = make(SPO_GELU, 0.5);
  spo_ffn_report report = {.trace = NULL};
  spo_error error;
  ck_assert_int_eq(spo_sparsellm(&s.recipe, &s.ffn, s.chunks, 0, &report, NULL, &error),
                   SPO_E_VALUE);
  s.x[5] = NAN;
  ck_assert_int_eq(spo_sparsellm(&s.recipe, &s.ffn, s.chunks, 2, &report, NULL, &error),
                   SPO_E_NONFINITE);
  ck_assert_ptr_nonnull(strstr(error.text, "'up'"));
  s.x[5] = 0;
  s.b[2][1] = INFINITY;
  ck_assert_int_eq(spo_sparsellm(&s.recipe, &s.ffn, s.chunks, 2, &report, NULL, &error),
                   SPO_E_NONFINITE);
  s.b[2][1] = 0;
  s.ffn.down.cols--;
  ck_assert_int_eq(spo_sparsellm(&s.recipe, &s.ffn, s.chunks, 2, &report, NULL, &error),
                   SPO_E_SHAPE);
  s.ffn.down.cols++;
  s.recipe.epochs = 0;
  ck_assert_int_eq(spo_sparsellm(&s.recipe, &s.ffn, s.chunks, 2, &report, NULL, &error),
                   SPO_E_VALUE);
  spo_recipe zero = {.goal = s.recipe.goal}; /* of another method */
  ck_assert_int_eq(spo_sparsellm(&zero, &s.ffn, s.chunks, 2, &report, NULL, &error), SPO_E_VALUE);
  ck_assert_mem_eq(s.w[0], s.given[0], INNER * IN * sizeof(float));
  end(&s);
}
END_TEST

int main(void) {
  Suite *s = suite_create("spo_sparsellm");
  TCase *c = untimed_case("sparsellm");
  tcase_add_test(c, curves);
  tcase_add_test(c, relu_is_exact);
  tcase_add_test(c, solver_finds_minima);
  tcase_add_test(c, solver_holds);
  tcase_add_test(c, gated_value_is_exact);
  tcase_add_test(c, lift_is_exact);
  tcase_add_test(c, decomposition);
  tcase_add_test(c, one_epoch_is_sparsegpt);
  tcase_add_test(c, nothing_to_drop);
  tcase_add_test(c, best_epoch);
  tcase_add_test(c, closing);
  tcase_add_test(c, any_pool);
  tcase_add_test(c, refusals);
  suite_add_tcase(s, c);
  return run_suite(s);
}
