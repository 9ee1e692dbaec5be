/* What <name>_run refuses, with which status, and that it then leaves the outputs alone. */
#include <check.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "call.h"
#include "tests/run_suite.h"

static const shape usual = {.batch = 2, .sequence = 9, .mask = true, .types = true};
static buffers b;

static void setup_tiny(void) {
  buffers_init(&b, &tiny, usual, PLAIN, 1);
}
static void setup_generic(void) {
  buffers_init(&b, &generic, usual, PLAIN, 1);
}
static void teardown(void) {
  buffers_free(&b);
}

static void outputs_untouched(void) {
  for (uint32_t i = 0; i < OUT_COUNT; i++)
    for (size_t k = 0; k < b.out_bytes[i]; k++)
      ck_assert_int_eq(((unsigned char *)b.out[i])[k], 0x7f);
}

static void refused(const spcc_call *call, spcc_status expected) {
  spcc_status status = b.model->run(call);
  ck_assert_msg(status == expected, "'%s', expected '%s'", spcc_status_text(status),
                spcc_status_text(expected));
}

/* Runs the usual call with one field changed. */
#define REFUSED(expected, field, value)                                                            \
  do {                                                                                             \
    spcc_call call_ = *b.call;                                                                     \
    call_.field = (value);                                                                         \
    refused(&call_, expected);                                                                     \
    outputs_untouched();                                                                           \
  } while (0)

/* The same with one element of an array of the call changed. */
#define REFUSED_AT(expected, type, field, index, value)                                            \
  do {                                                                                             \
    type array_[MAX_TENSORS];                                                                      \
    memcpy(array_, b.field, sizeof array_);                                                        \
    array_[index] = (value);                                                                       \
    REFUSED(expected, field, array_);                                                              \
  } while (0)

START_TEST(usual_call) {
  outputs_untouched();
  run_ok(&b);
  outputs_written(&b);
}
END_TEST

START_TEST(null) {
  refused(NULL, SPCC_E_NULL);
  REFUSED(SPCC_E_NULL, in, NULL);
  REFUSED(SPCC_E_NULL, out, NULL);
  REFUSED(SPCC_E_NULL, in_bytes, NULL);
  REFUSED(SPCC_E_NULL, out_bytes, NULL);
  REFUSED(SPCC_E_NULL, workspace, NULL);
  REFUSED_AT(SPCC_E_NULL, const void *, in, IN_IDS, NULL);
  REFUSED_AT(SPCC_E_NULL, void *, out, OUT_STATES, NULL);
  REFUSED_AT(SPCC_E_NULL, void *, out, OUT_POOLED, NULL);
}
END_TEST

START_TEST(align) {
  for (int i = 1; i < 4; i++) {
    for (int k = 0; k < IN_COUNT; k++)
      REFUSED_AT(SPCC_E_ALIGN, const void *, in, k, (char *)b.in[k] + i);
    for (int k = 0; k < OUT_COUNT; k++)
      REFUSED_AT(SPCC_E_ALIGN, void *, out, k, (char *)b.out[k] + i);
  }
  static const int off[] = {1, 4, 8, 16, 32, 63};
  for (size_t i = 0; i < sizeof off / sizeof off[0]; i++)
    REFUSED(SPCC_E_ALIGN, workspace, (char *)b.call->workspace + off[i]);
  const int32_t lengths[] = {9, 9, 9};
  REFUSED(SPCC_E_ALIGN, lengths, (const void *)((const char *)lengths + 2));
}
END_TEST

START_TEST(too_small) {
  for (int k = 0; k < IN_COUNT; k++) {
    REFUSED_AT(SPCC_E_SIZE, size_t, in_bytes, k, b.in_bytes[k] - 1);
    REFUSED_AT(SPCC_E_SIZE, size_t, in_bytes, k, 0);
  }
  for (int k = 0; k < OUT_COUNT; k++)
    REFUSED_AT(SPCC_E_SIZE, size_t, out_bytes, k, b.out_bytes[k] - 1);
  REFUSED(SPCC_E_SIZE, workspace_bytes, b.call->workspace_bytes - 1);
  REFUSED(SPCC_E_SIZE, workspace_bytes, 0);
}
END_TEST

START_TEST(larger_buffers_are_fine) {
  spcc_call call = *b.call;
  size_t in_bytes[IN_COUNT], out_bytes[OUT_COUNT];
  for (int k = 0; k < IN_COUNT; k++)
    in_bytes[k] = b.in_bytes[k] + 1;
  for (int k = 0; k < OUT_COUNT; k++)
    out_bytes[k] = b.out_bytes[k] + 1;
  call.in_bytes = in_bytes;
  call.out_bytes = out_bytes;
  call.sequence = usual.sequence - 1; /* every tensor and the workspace is now larger than needed */
  ck_assert_int_eq(b.model->run(&call), SPCC_OK);
}
END_TEST

START_TEST(dimensions) {
  const spcc_info *info = b.model->info();
  REFUSED(SPCC_E_DIM, batch, -1);
  REFUSED(SPCC_E_DIM, batch, INT32_MIN);
  REFUSED(SPCC_E_DIM, batch, info->max_batch + 1);
  REFUSED(SPCC_E_DIM, batch, INT32_MAX);
  REFUSED(SPCC_E_DIM, sequence, -1);
  REFUSED(SPCC_E_DIM, sequence, INT32_MIN);
  REFUSED(SPCC_E_DIM, sequence, info->max_sequence + 1);
  REFUSED(SPCC_E_DIM, sequence, INT32_MAX);
  static const int32_t wrong[][2] = {{-1, 9}, {9, -1},        {10, 8},
                                     {8, 10}, {INT32_MIN, 9}, {9, INT32_MAX}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    REFUSED(SPCC_E_DIM, lengths, wrong[i]);
}
END_TEST

START_TEST(nothing_to_compute) {
  spcc_call call = *b.call;
  call.batch = 0;
  ck_assert_int_eq(b.model->run(&call), SPCC_OK);
  call = *b.call;
  call.sequence = 0;
  ck_assert_int_eq(b.model->run(&call), SPCC_OK);
  outputs_untouched();
}
END_TEST

/* Every place of an id or a type: the first, the last, and all between. */
static void refuse_value(int input, int32_t value) {
  buffers own;
  for (int32_t i = 0; i < usual.batch * usual.sequence; i++) {
    shape s = usual;
    s.mask = false; /* every token counts */
    buffers_init(&own, b.model, s, PLAIN, 1);
    own.in[input][i] = value;
    spcc_status status = b.model->run(own.call);
    ck_assert_msg(status == SPCC_E_INDEX, "input %d[%d] = %d: '%s'", input, i, value,
                  spcc_status_text(status));
    buffers_free(&own);
  }
}

/* Groups of sequences run one after the other, but nothing runs before all ids are looked at. */
START_TEST(index_in_the_last_group) {
  buffers_free(&b);
  shape s = {.batch = 4, .sequence = 80, .types = true};
  buffers_init(&b, &tiny, s, PLAIN, 1);
  run_ok(&b);
  for (uint32_t i = 0; i < OUT_COUNT; i++)
    memset(b.out[i], 0x7f, b.out_bytes[i]);
  b.in[IN_IDS][s.batch * s.sequence - 1] = b.model->vocab;
  refused(b.call, SPCC_E_INDEX);
  outputs_untouched();
}
END_TEST

START_TEST(indices) {
  static const int32_t wrong_ids[] = {-1, 97, 98, INT32_MIN, INT32_MAX, 1 << 24};
  for (size_t i = 0; i < sizeof wrong_ids / sizeof wrong_ids[0]; i++)
    refuse_value(IN_IDS, wrong_ids[i]);
  static const int32_t wrong_types[] = {-1, 2, INT32_MIN, INT32_MAX};
  for (size_t i = 0; i < sizeof wrong_types / sizeof wrong_types[0]; i++)
    refuse_value(IN_TYPES, wrong_types[i]);
  b.in[IN_IDS][0] = 0;
  b.in[IN_IDS][1] = 96;
  run_ok(&b);
}
END_TEST

START_TEST(digest) {
  REFUSED(SPCC_E_DIGEST, model, b.call->model ^ 1);
  REFUSED(SPCC_E_DIGEST, model, b.call->model ^ UINT64_C(1) << 63);
  REFUSED(SPCC_E_DIGEST, model, other.info()->digest);
  spcc_call call = *b.call;
  call.model = 0;
  ck_assert_int_eq(b.model->run(&call), SPCC_OK);
}
END_TEST

START_TEST(abi) {
  REFUSED(SPCC_E_ABI, size, 0);
  REFUSED(SPCC_E_ABI, size, sizeof(spcc_call) - 1);
  REFUSED(SPCC_E_ABI, size, 4);
  spcc_exec exec = reverse_exec(2);
  exec.size = sizeof exec - 1;
  REFUSED(SPCC_E_ABI, exec, &exec);
  exec.size = 0;
  REFUSED(SPCC_E_ABI, exec, &exec);
  struct { /* a caller from the future, that knows more fields */
    spcc_call call;
    uint64_t more[4];
  } larger = {*b.call, {1, 2, 3, 4}};
  larger.call.size = sizeof larger;
  ck_assert_int_eq(b.model->run(&larger.call), SPCC_OK);
  const spcc_info *info = b.model->info();
  ck_assert_uint_eq(info->abi, SPCC_ABI);
  ck_assert_uint_eq(info->size, sizeof *info);
}
END_TEST

START_TEST(cpu) {
  REFUSED(SPCC_E_CPU, cpu, SPCC_CPU_BASELINE);
  REFUSED(SPCC_E_CPU, cpu, 2);
  spcc_call call = *b.call;
  call.cpu = SPCC_CPU_UNKNOWN; /* the object detects by itself */
  ck_assert_int_eq(b.model->run(&call), SPCC_OK);
  const spcc_info *info = b.model->info();
  for (uint32_t i = 0; i < info->level_count; i++) {
    if (info->levels[i] > spcc_cpu()) continue;
    call.cpu = info->levels[i];
    ck_assert_int_eq(b.model->run(&call), SPCC_OK);
  }
}
END_TEST

START_TEST(threads) {
  spcc_exec exec = reverse_exec(0);
  REFUSED(SPCC_E_THREADS, exec, &exec);
  exec = reverse_exec(2);
  exec.parallel_for = NULL;
  REFUSED(SPCC_E_THREADS, exec, &exec);
}
END_TEST

START_TEST(workspace_grows_with_threads) {
  /* The workspace of one thread may be too small for several. */
  spcc_exec exec = reverse_exec(8);
  size_t need = b.model->workspace(usual.batch, usual.sequence, 8);
  ck_assert_uint_gt(need, b.call->workspace_bytes);
  REFUSED(SPCC_E_SIZE, exec, &exec);
}
END_TEST

START_TEST(alias) {
  char *work = b.call->workspace;
  size_t last = (b.call->workspace_bytes - 1) / 4 * 4;
  REFUSED_AT(SPCC_E_ALIAS, void *, out, OUT_POOLED, b.out[OUT_STATES]);
  REFUSED_AT(SPCC_E_ALIAS, void *, out, OUT_POOLED, b.out[OUT_STATES] + 1);
  REFUSED_AT(SPCC_E_ALIAS, void *, out, OUT_POOLED,
             (char *)b.out[OUT_STATES] + b.out_bytes[OUT_STATES] - 4);
  REFUSED_AT(SPCC_E_ALIAS, void *, out, OUT_STATES, work);
  REFUSED_AT(SPCC_E_ALIAS, void *, out, OUT_STATES, work + last);
  for (int k = 0; k < IN_COUNT; k++) {
    REFUSED_AT(SPCC_E_ALIAS, const void *, in, k, work);
    REFUSED_AT(SPCC_E_ALIAS, const void *, in, k, work + last);
    REFUSED_AT(SPCC_E_ALIAS, const void *, in, k, b.out[OUT_STATES]);
    REFUSED_AT(SPCC_E_ALIAS, void *, out, OUT_POOLED, b.in[k]);
  }
}
END_TEST

/* Lengths are read again when the workspace is written. */
START_TEST(alias_of_lengths) {
  static const int32_t lengths[] = {9, 1};
  char *work = b.call->workspace;
  size_t bytes = (size_t)usual.batch * sizeof *lengths;
  char *const places[] = {work, work + b.call->workspace_bytes / 64 * 64 - 64,
                          (char *)b.out[OUT_STATES], (char *)b.out[OUT_POOLED] + 4};
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
    memcpy(places[i], lengths, bytes);
    spcc_call call = *b.call;
    call.lengths = (const int32_t *)(const void *)places[i];
    ck_assert_int_eq(b.model->run(&call), SPCC_E_ALIAS);
    memset(places[i], 0x7f, bytes); /* what outputs_untouched expects */
  }
  outputs_untouched();
}
END_TEST

START_TEST(neighbours_are_no_alias) {
  /* All buffers in one block, each beginning where the one before ends; equal inputs share one. */
  size_t sizes[] = {b.in_bytes[IN_IDS], b.out_bytes[OUT_STATES], b.out_bytes[OUT_POOLED]};
  char *block = spcc_alloc(sizes[0] + sizes[1] + sizes[2] + b.call->workspace_bytes + 64);
  int32_t *ids = (int32_t *)block;
  for (size_t i = 0; i < sizes[0] / 4; i++)
    ids[i] = 1; /* right as ids, as mask and as types */
  const void *in[IN_COUNT] = {ids, ids, ids};
  void *out[OUT_COUNT] = {block + sizes[0], block + sizes[0] + sizes[1]};
  size_t used = sizes[0] + sizes[1] + sizes[2];
  spcc_call call = *b.call;
  call.in = in;
  call.out = out;
  call.workspace = block + (used + 63) / 64 * 64;
  ck_assert_int_eq(b.model->run(&call), SPCC_OK);
  spcc_free(block);
}
END_TEST

START_TEST(external_weights) {
  buffers_free(&b);
  shape s = usual;
  s.mask = false;
  buffers_init(&b, &other, s, PLAIN, 1);
  char *weights = (char *)b.call->weights;
  size_t size = b.call->weights_bytes;
  ck_assert_uint_eq(other.info()->weights_embedded, 0);
  ck_assert_uint_eq(other.info()->weights_bytes, size);
  REFUSED(SPCC_E_NULL, weights, NULL);
  REFUSED(SPCC_E_SIZE, weights_bytes, size - 1);
  REFUSED(SPCC_E_SIZE, weights_bytes, 0);
  REFUSED(SPCC_E_ALIGN, weights, weights + 32);
  for (size_t at = 0; at < 16; at++) { /* the magic and the digest */
    weights[at] ^= 1;
    refused(b.call, SPCC_E_DIGEST);
    weights[at] ^= 1;
  }
  REFUSED(SPCC_E_ALIAS, workspace, weights);
  REFUSED(SPCC_E_ALIAS, workspace, weights + (size - 1) / 64 * 64);
  REFUSED_AT(SPCC_E_ALIAS, void *, out, OUT_STATES, weights + 64);
  outputs_untouched();
  run_ok(&b);
}
END_TEST

START_TEST(info_describes_the_model) {
  const spcc_info *info = tiny.info();
  ck_assert_str_eq(info->name, "tiny");
  ck_assert_int_eq(info->max_batch, 4);
  ck_assert_int_eq(info->max_sequence, 80);
  ck_assert_uint_eq(info->weights_embedded, 1);
  ck_assert_uint_gt(info->digest, 0);
  ck_assert_uint_eq(info->inputs[IN_IDS].optional, 0);
  ck_assert_uint_eq(info->inputs[IN_MASK].optional, 1);
  ck_assert_int_eq(info->inputs[IN_MASK].absent, 1);
  ck_assert_uint_eq(info->inputs[IN_TYPES].optional, 1);
  ck_assert_int_eq(info->inputs[IN_TYPES].absent, 0);
  ck_assert_uint_eq(info->outputs[OUT_STATES].rank, 3);
  ck_assert_int_eq(info->outputs[OUT_STATES].dim[0], SPCC_DIM_BATCH);
  ck_assert_int_eq(info->outputs[OUT_STATES].dim[1], SPCC_DIM_SEQUENCE);
  ck_assert_int_eq(info->outputs[OUT_STATES].dim[2], 24);
  ck_assert_uint_eq(info->outputs[OUT_POOLED].rank, 2);
  ck_assert_uint_gt(info->level_count, 0);
  for (uint32_t i = 1; i < info->level_count; i++)
    ck_assert_uint_lt(info->levels[i], info->levels[i - 1]);
  ck_assert_uint_gt(info->layer_count, 0);
  ck_assert_uint_gt(info->step_count, 0);
  ck_assert_uint_gt(info->nnz, 0);
  ck_assert_uint_lt(info->nnz, info->parameters);
}
END_TEST

/* All that holds for every object; `setup` makes the usual call of one. */
static TCase *calls_of(const char *name, void (*setup)(void)) {
  TCase *c = untimed_case(name);
  tcase_add_checked_fixture(c, setup, teardown);
  tcase_add_test(c, usual_call);
  tcase_add_test(c, null);
  tcase_add_test(c, align);
  tcase_add_test(c, too_small);
  tcase_add_test(c, larger_buffers_are_fine);
  tcase_add_test(c, dimensions);
  tcase_add_test(c, nothing_to_compute);
  tcase_add_test(c, indices);
  tcase_add_test(c, index_in_the_last_group);
  tcase_add_test(c, digest);
  tcase_add_test(c, abi);
  tcase_add_test(c, cpu);
  tcase_add_test(c, threads);
  tcase_add_test(c, workspace_grows_with_threads);
  tcase_add_test(c, alias);
  tcase_add_test(c, alias_of_lengths);
  tcase_add_test(c, neighbours_are_no_alias);
  return c;
}

int main(void) {
  Suite *s = suite_create("abi_calls");
  TCase *optimized = calls_of("optimized", setup_tiny);
  tcase_add_test(optimized, external_weights);
  tcase_add_test(optimized, info_describes_the_model);
  suite_add_tcase(s, optimized);
  suite_add_tcase(s, calls_of("generic", setup_generic));
  return run_suite(s);
}
