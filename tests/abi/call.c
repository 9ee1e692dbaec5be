#include "call.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "generic.h"
#include "other.h"
#include "tiny.h"
#include "twin.h"

const model tiny = {"tiny", tiny_run, tiny_workspace, tiny_info, 97, NULL};
const model twin = {"twin", twin_run, twin_workspace, twin_info, 97, NULL};
const model generic = {"generic", generic_run, generic_workspace, generic_info, 97, NULL};
const model other = {"other", other_run, other_workspace, other_info, 31, OTHER_WEIGHTS};

/* ---- memory ---- */

static void *plain(buffers *b, size_t size) {
  ck_assert_uint_lt(b->block_count, sizeof b->block / sizeof b->block[0]);
  void *p = spcc_alloc(size);
  ck_assert_ptr_nonnull(p);
  b->block[b->block_count++] = p;
  return p;
}

/* `size` bytes, a multiple of `align` or else not ending at the page's last byte. */
static void *guarded(buffers *b, size_t size, size_t align) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (size + page - 1) / page * page;
  ck_assert_uint_lt(b->map_count, sizeof b->maps / sizeof b->maps[0]);
  char *pages =
      mmap(NULL, inner + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ck_assert(pages != MAP_FAILED);
  ck_assert_int_eq(inner > 0 ? mprotect(pages + page, inner, PROT_READ | PROT_WRITE) : 0, 0);
  b->maps[b->map_count++] = (mapping){pages, inner + 2 * page};
  return b->place == AFTER_GUARD ? pages + page : pages + page + (inner - size) / align * align;
}

static void *place_buffer(buffers *b, const void *data, size_t size, size_t align) {
  void *p = b->place == PLAIN ? plain(b, size) : guarded(b, size, align);
  if (data != NULL)
    memcpy(p, data, size);
  else
    memset(p, 0x7f, size);
  return p;
}

/* The same, and read-only when guarded. */
static void *place_constant(buffers *b, const void *data, size_t size, size_t align) {
  void *p = place_buffer(b, data, size, align);
  if (b->place == PLAIN) return p;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  const mapping *m = &b->maps[b->map_count - 1];
  ck_assert_int_eq(mprotect((char *)m->pages + page, m->size - 2 * page, PROT_READ), 0);
  return p;
}

/* ---- inputs ---- */

static uint32_t next_random(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return *state >> 16;
}

/* Elements of a caller's tensor. */
static size_t elements(const spcc_tensor *t, shape s) {
  size_t rows = (size_t)s.batch, count = 1;
  bool per_token = t->rank > 1 && t->dim[1] == SPCC_DIM_SEQUENCE;
  if (per_token) rows *= (size_t)s.sequence;
  if (per_token && s.lengths != NULL) {
    rows = 0;
    for (int32_t i = 0; i < s.batch; i++)
      rows += (size_t)s.lengths[i];
  }
  for (uint32_t i = per_token ? 2 : 1; i < t->rank; i++)
    count *= (size_t)t->dim[i];
  return rows * count;
}

/* Ids in the vocabulary, a mask with every fifth token hidden, or types 0 and 1. */
static void fill_input(int32_t *to, size_t count, uint32_t input, int32_t vocab, uint32_t seed) {
  for (size_t i = 0; i < count; i++) {
    uint32_t x = next_random(&seed);
    to[i] = input == IN_IDS    ? (int32_t)(x % (uint32_t)vocab)
            : input == IN_MASK ? x % 5 != 0
                               : (int32_t)(x % 2);
  }
}

static void add_input(buffers *b, shape s, uint32_t i, uint32_t seed) {
  const spcc_info *info = b->model->info();
  size_t count = elements(&info->inputs[i], s);
  int32_t *data = malloc(count * 4 + 1);
  fill_input(data, count, i, b->model->vocab, seed * 7 + i);
  b->in[i] = place_constant(b, data, count * 4, 4);
  b->in_bytes[i] = count * 4;
  free(data);
}

/* The inputs in the order that this file's names have. */
static void check_inputs(const spcc_info *info) {
  static const char *const name[IN_COUNT] = {"input_ids", "attention_mask", "token_type_ids"};
  static const char *const result[OUT_COUNT] = {"last_hidden_state", "pooler_output"};
  ck_assert_uint_eq(info->input_count, IN_COUNT);
  ck_assert_uint_eq(info->output_count, OUT_COUNT);
  for (int i = 0; i < IN_COUNT; i++)
    ck_assert_str_eq(info->inputs[i].name, name[i]);
  for (int i = 0; i < OUT_COUNT; i++)
    ck_assert_str_eq(info->outputs[i].name, result[i]);
}

static void add_weights(buffers *b, spcc_call *call) {
  if (b->model->weights == NULL) return;
  size_t size;
  const void *mapped = spcc_map_weights(b->model->weights, &size);
  ck_assert_msg(mapped != NULL, "cannot map %s", b->model->weights);
  call->weights = place_constant(b, mapped, size, 64);
  call->weights_bytes = size;
  spcc_unmap_weights(mapped, size);
}

void buffers_init(buffers *b, const model *m, shape s, place p, uint32_t seed) {
  const spcc_info *info = m->info();
  check_inputs(info);
  *b = (buffers){.model = m, .place = p, .exec = reverse_exec(s.threads)};
  add_input(b, s, IN_IDS, seed);
  if (s.mask) add_input(b, s, IN_MASK, seed);
  if (s.types) add_input(b, s, IN_TYPES, seed);
  for (uint32_t i = 0; i < OUT_COUNT; i++) {
    b->out_bytes[i] = elements(&info->outputs[i], s) * 4;
    b->out[i] = place_buffer(b, NULL, b->out_bytes[i], 4);
  }
  uint32_t threads = s.threads > 0 ? s.threads : 1;
  spcc_call call = {.size = sizeof call, .cpu = spcc_cpu(), .model = info->digest};
  call.batch = s.batch;
  call.sequence = s.sequence;
  call.workspace_bytes = m->workspace(s.batch, s.sequence, threads);
  call.workspace = place_buffer(b, NULL, call.workspace_bytes, 64);
  for (size_t i = 0; i < call.workspace_bytes; i++)
    ((unsigned char *)call.workspace)[i] = (unsigned char)next_random(&seed);
  if (s.lengths != NULL)
    call.lengths = place_constant(b, s.lengths, (size_t)s.batch * sizeof *s.lengths, 4);
  call.in = place_constant(b, b->in, IN_COUNT * sizeof *b->in, 8);
  call.out = place_constant(b, b->out, OUT_COUNT * sizeof *b->out, 8);
  call.in_bytes = place_constant(b, b->in_bytes, IN_COUNT * sizeof(size_t), 8);
  call.out_bytes = place_constant(b, b->out_bytes, OUT_COUNT * sizeof(size_t), 8);
  if (s.threads > 0) call.exec = place_constant(b, &b->exec, sizeof b->exec, 8);
  add_weights(b, &call);
  b->call = place_constant(b, &call, sizeof call, 8);
}

void buffers_free(buffers *b) {
  for (uint32_t i = 0; i < b->block_count; i++)
    spcc_free(b->block[i]);
  for (uint32_t i = 0; i < b->map_count; i++)
    munmap(b->maps[i].pages, b->maps[i].size);
}

/* ---- runs ---- */

void run_ok(buffers *b) {
  spcc_status status = b->model->run(b->call);
  ck_assert_msg(status == SPCC_OK, "%s: %s", b->model->name, spcc_status_text(status));
}

void same_outputs(const buffers *a, const buffers *b) {
  for (uint32_t i = 0; i < OUT_COUNT; i++) {
    ck_assert_uint_eq(a->out_bytes[i], b->out_bytes[i]);
    ck_assert_msg(memcmp(a->out[i], b->out[i], a->out_bytes[i]) == 0,
                  "output %u differs between %s and %s", i, a->model->name, b->model->name);
  }
}

void outputs_written(const buffers *b) {
  uint32_t untouched;
  memset(&untouched, 0x7f, sizeof untouched);
  for (uint32_t i = 0; i < OUT_COUNT; i++)
    for (size_t k = 0; k < b->out_bytes[i] / 4; k++) {
      ck_assert_msg(memcmp(&b->out[i][k], &untouched, 4) != 0, "output %u[%zu] not written", i, k);
      ck_assert_msg(isfinite(b->out[i][k]), "output %u[%zu] is not finite", i, k);
    }
}

static void run_reversed(const spcc_exec *exec, uint32_t n, void (*task)(void *, uint32_t),
                         void *arg) {
  if (n > exec->threads) abort();
  while (n-- > 0)
    task(arg, n);
}

spcc_exec reverse_exec(uint32_t threads) {
  return (spcc_exec){.size = sizeof(spcc_exec), .threads = threads, .parallel_for = run_reversed};
}
