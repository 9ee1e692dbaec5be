/* Contexts, states and the hooks of training methods: everything that does not depend on the
 * method. */
#include "optimizer/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const spo_training *const trainings[SPO_METHODS] = {
    [SPO_SPARSE_OPTIMIZER] = &spo_sparse_optimizer,
    [SPO_NXM] = &spo_nxm,
    [SPO_DYNAMIC] = &spo_dynamic,
    [SPO_GRADUAL] = &spo_gradual,
    [SPO_ASP] = &spo_asp,
    [SPO_SRSTE] = &spo_srste,
    [SPO_RIGL] = &spo_rigl,
};

static const spo_training *training_of(const spo_recipe *r) {
  return r->method == SPO_GRADUAL && r->recover ? &spo_gradual_recover : trainings[r->method];
}

/* ---- contexts ---- */

static spo_status check_recipe(const spo_recipe *r, const spo_tensor *t, spo_error *error) {
  spo_status status = spo_recipe_check(r, error);
  if (status != SPO_OK) return status;
  if (!trainings[r->method])
    return spo_fail(error, SPO_E_VALUE, "%s does not act while a model trains",
                    spo_method_name(r->method));
  return spo_goal_check(&r->goal, t->name, t->rows, t->cols, error);
}

spo_status spo_context_create(const spo_recipe *recipe, const spo_tensor *tensor, spo_context **out,
                              spo_error *error) {
  spo_status status = check_recipe(recipe, tensor, error);
  if (status != SPO_OK) return status;
  spo_context *c = malloc(sizeof *c);
  char *name = strdup(tensor->name);
  if (!c || !name) {
    free(c);
    free(name);
    return spo_fail(error, SPO_E_MEMORY, "tensor '%s': no memory for its context", tensor->name);
  }
  *c = (spo_context){.recipe = *recipe,
                     .name = name,
                     .rows = tensor->rows,
                     .cols = tensor->cols,
                     .count = tensor->rows * tensor->cols,
                     .recipe_hash = spo_recipe_hash(recipe),
                     .stream = spo_name_hash(tensor->name),
                     .method = training_of(recipe)};
  *out = c;
  return SPO_OK;
}

void spo_context_free(spo_context *context) {
  if (!context) return;
  free(context->name);
  free(context);
}

size_t spo_state_bytes(const spo_context *c) {
  return sizeof(spo_head) + c->method->payload(c);
}

/* ---- states ---- */

static spo_head head_of(const spo_context *c) {
  return (spo_head){.magic = SPO_STATE_MAGIC,
                    .version = SPO_STATE_VERSION,
                    .method = (uint32_t)c->recipe.method,
                    .stream = c->stream,
                    .rows = c->rows,
                    .cols = c->cols,
                    .recipe = c->recipe_hash};
}

static spo_status bad_state(const spo_context *c, const char *cause, spo_error *error) {
  return spo_fail(error, SPO_E_STATE, "tensor '%s': the state %s", c->name, cause);
}

static spo_status check_head(const spo_context *c, const spo_head *h, spo_error *error) {
  spo_head want = head_of(c);
  if (!h || (uintptr_t)h % _Alignof(spo_head) != 0)
    return bad_state(c, "is at no address that 8 divides", error);
  if (h->magic != want.magic) return bad_state(c, "is none; begin the training first", error);
  if (h->version != want.version)
    return spo_fail(error, SPO_E_STATE,
                    "tensor '%s': the state has version %" PRIu32 ", and this library reads %d",
                    c->name, h->version, SPO_STATE_VERSION);
  if (h->method != want.method) return bad_state(c, "is of another method", error);
  if (h->rows != want.rows || h->cols != want.cols)
    return spo_fail(error, SPO_E_STATE,
                    "tensor '%s': the state is of a tensor [%" PRIu64 ", %" PRIu64
                    "], not [%zu, %zu]",
                    c->name, h->rows, h->cols, c->rows, c->cols);
  if (h->stream != want.stream) return bad_state(c, "is of a tensor of another name", error);
  if (h->recipe != want.recipe)
    return bad_state(c, "was made under another recipe; go on with that one, or begin anew", error);
  return SPO_OK;
}

/* What the head counts is in its limits. */
static bool head_sane(const spo_head *h) {
  const spo_progress *p = &h->progress;
  return p->frozen <= 1 && p->step <= SPO_STEPS_MAX && isfinite(h->scale) && h->scale >= 0 &&
         h->reserved[0] == 0 && h->reserved[1] == 0;
}

spo_status spo_state_check(const spo_context *c, const void *state, size_t bytes,
                           spo_error *error) {
  if (bytes != spo_state_bytes(c))
    return spo_fail(error, SPO_E_STATE, "tensor '%s': the state has %zu bytes and needs %zu",
                    c->name, bytes, spo_state_bytes(c));
  spo_status status = check_head(c, state, error);
  if (status != SPO_OK) return status;
  spo_head head;
  memcpy(&head, state, sizeof head);
  const unsigned char *payload = (const unsigned char *)state + sizeof head;
  bool ok = head_sane(&head) && spo_bits_clean(payload, c->count);
  const spo_tensors none = {0};
  spo_call call = {.context = c, .head = &head, .t = &none, .error = error};
  call.payload = (void *)(uintptr_t)payload; /* a check reads */
  if (ok && c->method->check && c->method->check(&call) != SPO_OK) return SPO_E_STATE;
  return ok ? SPO_OK : bad_state(c, "is damaged", error);
}

spo_status spo_state_progress(const spo_context *c, const void *state, spo_progress *out,
                              spo_error *error) {
  spo_status status = check_head(c, state, error);
  if (status == SPO_OK) *out = ((const spo_head *)state)->progress;
  return status;
}

/* ---- hooks ---- */

static spo_status run_hook(spo_hook *hook, const spo_call *c) {
  return hook && c->context->count > 0 ? hook(c) : SPO_OK;
}

static spo_status no_array(const spo_context *c, const char *what, spo_error *error) {
  return spo_fail(error, SPO_E_VALUE, "tensor '%s': the %s is missing", c->name, what);
}

static spo_call call_of(const spo_context *c, void *state, const spo_tensors *t,
                        const spo_pool *pool, spo_error *error) {
  return (spo_call){.context = c,
                    .head = state,
                    .payload = (unsigned char *)state + sizeof(spo_head),
                    .t = t,
                    .pool = pool,
                    .error = error};
}

/* A call on a state that spo_begin made. */
static spo_status enter(spo_call *call, const spo_context *c, void *state, const spo_tensors *t,
                        const spo_pool *pool, spo_error *error) {
  spo_status status = check_head(c, state, error);
  if (status != SPO_OK) return status;
  if (!t->w) return no_array(c, "weight", error);
  *call = call_of(c, state, t, pool, error);
  return SPO_OK;
}

spo_status spo_begin(const spo_context *c, void *state, size_t bytes, const spo_tensors *t,
                     const spo_pool *pool, spo_error *error) {
  if (bytes != spo_state_bytes(c) || !state || (uintptr_t)state % _Alignof(spo_head) != 0)
    return spo_fail(error, SPO_E_STATE,
                    "tensor '%s': a state of %zu bytes is needed, at an address that 8 divides",
                    c->name, spo_state_bytes(c));
  if (!t->w) return no_array(c, "weight", error);
  spo_call call = call_of(c, state, t, pool, error);
  spo_status status = spo_call_finite(&call, t->w, "weight");
  if (status != SPO_OK) return status;
  memset(state, 0, bytes);
  *call.head = head_of(c);
  status = run_hook(c->method->begin, &call);
  if (status != SPO_OK) memset(state, 0, bytes);
  return status;
}

static bool mask_holds(const spo_call *c) {
  return c->context->method->masked || c->head->progress.frozen;
}

spo_status spo_grad(const spo_context *c, void *state, const spo_tensors *t, const spo_pool *pool,
                    spo_error *error) {
  spo_call call;
  spo_status status = enter(&call, c, state, t, pool, error);
  if (status != SPO_OK) return status;
  if (!t->g) return no_array(c, "gradient", error);
  if (c->method->grad && !call.head->progress.frozen) return run_hook(c->method->grad, &call);
  if (mask_holds(&call)) spo_clear_all(&(spo_tensors){.w = t->g}, c->count, call.payload, pool);
  return SPO_OK;
}

static spo_status set_rates(spo_call *call, const spo_optimizer *o, spo_error *error) {
  call->optimizer = o;
  return spo_rates_of(o, o->step ? o->step : spo_step_of(call), &call->rates, error);
}

/* The method has something to do with updated weights: never once the mask is frozen. */
static bool acts(const spo_call *c) {
  const spo_training *method = c->context->method;
  return !c->head->progress.frozen && method->after && (!method->due || method->due(c));
}

static spo_status act(const spo_call *c) {
  return acts(c) ? run_hook(c->context->method->after, c) : SPO_OK;
}

/* A gradient that is not finite is refused where a hook would refuse the weights that it makes. */
static spo_status update(const spo_call *c) {
  const spo_training *method = c->context->method;
  if (method->step && !c->head->progress.frozen) return run_hook(method->step, c);
  spo_status status = acts(c) ? spo_call_finite(c, c->t->g, "gradient") : SPO_OK;
  if (status != SPO_OK) return status;
  spo_update_all(&c->rates, c->t, c->context->count, mask_holds(c) ? c->payload : NULL, c->pool);
  return act(c);
}

spo_status spo_step(const spo_context *c, void *state, const spo_optimizer *o, const spo_tensors *t,
                    const spo_pool *pool, spo_error *error) {
  spo_call call;
  spo_status status = enter(&call, c, state, t, pool, error);
  if (status == SPO_OK) status = set_rates(&call, o, error);
  if (status == SPO_OK) status = spo_rates_check(&call.rates, t, error);
  if (status == SPO_OK) status = update(&call);
  if (status == SPO_OK) call.head->progress.step++;
  return status;
}

spo_status spo_after(const spo_context *c, void *state, const spo_optimizer *o,
                     const spo_tensors *t, const spo_pool *pool, spo_error *error) {
  spo_call call;
  spo_status status = enter(&call, c, state, t, pool, error);
  if (status == SPO_OK) status = set_rates(&call, o, error);
  if (status != SPO_OK) return status;
  if (mask_holds(&call)) spo_clear_all(t, c->count, call.payload, pool);
  status = act(&call);
  if (status == SPO_OK) call.head->progress.step++;
  return status;
}

spo_status spo_epoch(const spo_context *c, void *state, const spo_tensors *t, const spo_pool *pool,
                     spo_error *error) {
  spo_call call;
  spo_status status = enter(&call, c, state, t, pool, error);
  bool idle = status != SPO_OK || call.head->progress.frozen;
  return idle ? status : run_hook(c->method->epoch, &call);
}

static spo_report report_of(const spo_call *c, const unsigned char *mask) {
  spo_report report = {.total = c->context->count};
  for (size_t i = 0; i < report.total; i++) {
    report.kept += mask[i];
    report.nonzero += c->t->w[i] != 0;
  }
  return report;
}

spo_status spo_finish(const spo_context *c, void *state, const spo_tensors *t, unsigned char *mask,
                      spo_report *report, const spo_pool *pool, spo_error *error) {
  spo_call call;
  spo_status status = enter(&call, c, state, t, pool, error);
  if (status == SPO_OK && !call.head->progress.frozen) status = run_hook(c->method->settle, &call);
  if (status != SPO_OK) return status;
  call.head->progress.frozen = 1;
  spo_bits_unpack(mask, call.payload, c->count);
  *report = report_of(&call, mask);
  return SPO_OK;
}
