#include "driver/pruning.h"

#include <stdlib.h>
#include <string.h>

#include "driver/partial.h"
#include "driver/random_weight.h"
#include "support/text.h"

/* All that the weights of one layer need. */
typedef struct pruning {
  driver *dr;
  prune_weight *list;
  size_t count;
  const token_set *set; /* NULL: no method asks for it */
  taps taps;
  spo_pool *pool;
  partial *partial;
  double start; /* of the first layer that is pruned now, and how many weights were ready then */
  size_t ready;
} pruning;

/* A layer: weights begin … end - 1, with the inputs that they read. */
typedef struct layer {
  pruning *p;
  size_t begin, end;
  spo_gram **gram;    /* [end - begin]: linears that read the same have the same one */
  spo_tokens *chunks; /* what the feed-forward part reads, when it is pruned as a whole, */
  float **copies;     /* in arrays of ours */
  size_t chunk_count, chunk_room;
  size_t up; /* the first linear of that part; count of weights: none */
} layer;

bool method_needs_sentences(spo_method_id method) {
  return method == SPO_WANDA || method == SPO_SPARSEGPT || method == SPO_SPARSELLM;
}

static bool failed(const pruning *p, const prune_weight *w, spo_status status, const spo_error *e) {
  return diag_error(p->dr->diag, loc_file(w->file), sparsify_error(status), "%s", e->text);
}

static spo_layer layer_of(const prune_weight *w) {
  return (spo_layer){.name = w->name, .w = w->w, .mask = w->mask, .rows = w->rows, .cols = w->cols};
}

/* ---- one ranking over many weights ---- */

bool ranks_all(const spo_recipe *options) {
  return options->method == SPO_MAGNITUDE && options->scope == SPO_GLOBAL;
}

/* Prunes list[first] and all weights after it that have the same options. */
static bool rank_together(const pruning *p, const char *folder, size_t first) {
  const spo_recipe *options = p->list[first].options;
  spo_layer *layers = arena_array(p->dr->arena, spo_layer, p->count);
  spo_report *reports = arena_array(p->dr->arena, spo_report, p->count);
  size_t count = 0;
  spo_error e;
  for (size_t i = first; i < p->count; i++)
    if (p->list[i].options == options) layers[count++] = layer_of(&p->list[i]);
  spo_status status = spo_magnitude_global(&options->goal, layers, count, reports, p->pool, &e);
  if (status != SPO_OK)
    return diag_error(p->dr->diag, loc_file(folder), sparsify_error(status), "%s", e.text);
  count = 0;
  for (size_t i = first; i < p->count; i++)
    if (p->list[i].options == options) p->list[i].report = reports[count++];
  return true;
}

static bool is_first(const pruning *p, size_t i) {
  for (size_t j = 0; j < i; j++)
    if (p->list[j].options == p->list[i].options) return false;
  return true;
}

/* By their weights alone, before any layer: their turn then finds them pruned. */
static bool do_rankings(const pruning *p, const char *folder) {
  for (size_t i = 0; i < p->count; i++)
    if (ranks_all(p->list[i].options) && is_first(p, i) && !rank_together(p, folder, i))
      return false;
  return true;
}

/* ---- layers ---- */

/* The number of the encoder's layer in a name such as bert.encoder.layer.3.output.dense.weight. */
static long layer_number(const char *name) {
  const char *at = strstr(name, "layer.");
  return at ? strtol(at + strlen("layer."), NULL, 10) : -1;
}

static size_t layer_end(const pruning *p, size_t begin) {
  size_t end = begin;
  while (end < p->count && layer_number(p->list[end].name) == layer_number(p->list[begin].name))
    end++;
  return end;
}

/* SparseLLM prunes both linears of a feed-forward part together, the weight `up` and the next, if
 * the recipe asks for the same of both. */
static bool is_ffn(const layer *l, size_t up) {
  const prune_weight *w = l->p->list + up;
  return w->options->method == SPO_SPARSELLM && up + 1 < l->end &&
         w[1].options->method == SPO_SPARSELLM &&
         text_ends_with(w->name, "intermediate.dense.weight") &&
         spo_recipe_hash(w->options) == spo_recipe_hash(w[1].options);
}

/* ---- what the linears read ---- */

static bool grow_chunks(layer *l) {
  size_t room = 2 * l->chunk_room + 16;
  spo_tokens *chunks = realloc(l->chunks, room * sizeof *chunks);
  if (chunks) l->chunks = chunks;
  float **copies = realloc(l->copies, room * sizeof *copies);
  if (copies) l->copies = copies;
  if (chunks && copies) l->chunk_room = room;
  return chunks && copies;
}

static bool keep_chunk(layer *l, const float *x, size_t tokens, size_t cols) {
  if (l->chunk_count == l->chunk_room && !grow_chunks(l)) return false;
  float *copy = malloc(tokens * cols * sizeof *copy);
  if (!copy) return false;
  memcpy(copy, x, tokens * cols * sizeof *copy);
  l->copies[l->chunk_count] = copy;
  l->chunks[l->chunk_count++] = (spo_tokens){copy, tokens};
  return true;
}

/* True for the first of the linears that share an input. */
static bool is_first_reader(const layer *l, size_t i) {
  return i == l->begin || l->gram[i - l->begin] != l->gram[i - l->begin - 1];
}

static bool read_tap(void *context, size_t i, const float *x, size_t tokens) {
  layer *l = context;
  const pruning *p = l->p;
  spo_error e;
  if (i == l->up && !keep_chunk(l, x, tokens, p->list[i].cols))
    return diag_error(p->dr->diag, loc_file(p->list[i].file), E_MEMORY,
                      "no memory for what '%s' reads; take fewer sentences", p->list[i].name);
  if (!is_first_reader(l, i)) return true;
  spo_status status = spo_gram_add(l->gram[i - l->begin], p->list[i].name, x, tokens, p->pool, &e);
  return status == SPO_OK || failed(p, &p->list[i], status, &e);
}

static bool open_grams(layer *l) {
  const pruning *p = l->p;
  spo_error e;
  for (size_t i = l->begin; i < l->end; i++) {
    spo_gram **gram = &l->gram[i - l->begin];
    bool shared = i > l->begin && p->taps.list[i].output == p->taps.list[i - 1].output;
    if (shared) *gram = gram[-1];
    if (shared) continue;
    spo_status status = spo_gram_open(SPO_GRAM_WHOLE, p->list[i].cols, gram, &e);
    if (status != SPO_OK) return failed(p, &p->list[i], status, &e);
  }
  return true;
}

static void close_layer(layer *l) {
  for (size_t i = l->begin; i < l->end; i++)
    if (is_first_reader(l, i)) spo_gram_close(l->gram[i - l->begin]);
  for (size_t i = 0; i < l->chunk_count; i++)
    free(l->copies[i]);
  free(l->copies);
  free(l->chunks);
  free(l->gram);
}

/* ---- pruning ---- */

static spo_status prune_one(const layer *l, size_t i, spo_error *e) {
  const pruning *p = l->p;
  prune_weight *w = &p->list[i];
  spo_layer it = layer_of(w);
  const spo_gram *gram = l->gram ? l->gram[i - l->begin] : NULL;
  switch (w->options->method) {
  case SPO_WANDA:
    return spo_wanda(w->options, &it, gram, &w->report, p->pool, e);
  case SPO_SPARSEGPT:
  case SPO_SPARSELLM: /* outside of feed-forward parts */
    return spo_sparsegpt(w->options, &it, gram, &w->report, p->pool, e);
  default:
    if (ranks_all(w->options)) return SPO_OK;
    return spo_magnitude(&w->options->goal, &it, &w->report, p->pool, e);
  }
}

/* Both linears of a feed-forward part. */
static spo_status prune_ffn(const layer *l, spo_error *e) {
  const pruning *p = l->p;
  prune_weight *up = &p->list[l->up], *down = up + 1;
  const tap *tap_of = &p->taps.list[l->up];
  spo_ffn_report report = {.trace = NULL};
  spo_ffn ffn = {.activation = tap_of[0].relu ? SPO_RELU : SPO_GELU,
                 .up = layer_of(up),
                 .down = layer_of(down),
                 .up_bias = tap_of[0].bias,
                 .down_bias = tap_of[1].bias};
  spo_status status =
      spo_sparsellm(up->options, &ffn, l->chunks, l->chunk_count, &report, p->pool, e);
  up->report = report.up;
  down->report = report.down;
  return status;
}

/* What the outputs change by, relative to them: by the mask alone, and in the end. */
static bool measure(const layer *l, size_t i) {
  const pruning *p = l->p;
  prune_weight *w = &p->list[i];
  const spo_gram *gram = l->gram[i - l->begin];
  size_t count = w->rows * w->cols;
  float *masked = malloc(count * sizeof *masked + 1);
  spo_error e;
  double before = 0, after = 0, energy = 0;
  if (!masked)
    return diag_error(p->dr->diag, loc_file(w->file), E_MEMORY, "no memory to measure '%s'",
                      w->name);
  for (size_t k = 0; k < count; k++)
    masked[k] = w->mask[k] ? w->dense[k] : 0;
  spo_status status =
      spo_gram_error(gram, w->name, w->dense, masked, w->rows, &before, &energy, p->pool, &e);
  free(masked);
  if (status == SPO_OK)
    status = spo_gram_error(gram, w->name, w->dense, w->w, w->rows, &after, NULL, p->pool, &e);
  if (status != SPO_OK) return failed(p, w, status, &e);
  w->masked_error = energy > 0 ? before / energy : 0;
  w->error = energy > 0 ? after / energy : 0;
  w->measured = true;
  return true;
}

static bool prune_timed(layer *l, size_t i) {
  const pruning *p = l->p;
  double start = seconds_now();
  spo_error e;
  bool whole = i == l->up, done = l->up < p->count && i == l->up + 1;
  spo_status status = done ? SPO_OK : whole ? prune_ffn(l, &e) : prune_one(l, i, &e);
  if (status != SPO_OK) return failed(p, &p->list[i], status, &e);
  p->list[i].seconds = seconds_now() - start;
  return true;
}

static bool prune_layer(layer *l) {
  const pruning *p = l->p;
  for (size_t i = l->begin; i < l->end; i++)
    if (!prune_timed(l, i)) return false;
  for (size_t i = l->begin; i < l->end; i++)
    if (l->gram && !measure(l, i)) return false;
  return partial_save(p->partial, p->dr, p->list + l->begin, l->end - l->begin);
}

/* Runs the model over the sentences and prunes what it showed. */
static bool prune_with_sentences(pruning *p, size_t begin, size_t end) {
  layer l = {.p = p, .begin = begin, .end = end, .up = p->count};
  l.gram = calloc(end - begin, sizeof(spo_gram *));
  for (size_t i = begin; i < end; i++)
    if (is_ffn(&l, i)) l.up = i;
  bool ok = l.gram || diag_error(p->dr->diag, loc_file(p->list[begin].file), E_MEMORY,
                                 "no memory for a layer");
  ok = ok && open_grams(&l) && taps_run(&p->taps, p->set, begin, end - begin, read_tap, &l) &&
       prune_layer(&l);
  if (l.gram) close_layer(&l);
  return ok;
}

static bool prune_alone(pruning *p, size_t begin, size_t end) {
  layer l = {.p = p, .begin = begin, .end = end, .up = p->count};
  return prune_layer(&l);
}

/* "3 of 12 layers, 40 s left", by the weights done so far. */
static void show_progress(const pruning *p, size_t done) {
  double spent = seconds_now() - p->start;
  size_t now = done > p->ready ? done - p->ready : 0; /* a layer that was ready counts itself */
  if (now == 0)
    progress(p->dr, (unsigned)done + 1, (unsigned)p->count, "%s", p->list[done].name);
  else
    progress(p->dr, (unsigned)done + 1, (unsigned)p->count, "%s, %.0f s left", p->list[done].name,
             spent / (double)now * (double)(p->count - done));
}

/* What a call before this one left of the layer; else prunes it. */
static bool do_layer(pruning *p, size_t begin, size_t end, bool *changed) {
  bool ready;
  if (!partial_load(p->partial, p->dr, p->list + begin, end - begin, &ready)) return false;
  if (ready) p->ready = end;
  if (ready) p->start = seconds_now();
  show_progress(p, ready ? end - 1 : begin);
  if (!ready && p->set && *changed && !taps_refresh(&p->taps)) return false;
  if (!ready) *changed = false;
  if (!ready && !(p->set ? prune_with_sentences(p, begin, end) : prune_alone(p, begin, end)))
    return false;
  for (size_t i = begin; p->set && i < end; i++)
    taps_replace(&p->taps, i, p->list[i].w);
  *changed = true;
  return true;
}

static bool do_layers(pruning *p) {
  bool changed = false; /* since the weights were packed */
  p->start = seconds_now();
  for (size_t begin = 0, end; begin < p->count; begin = end) {
    end = layer_end(p, begin);
    if (!do_layer(p, begin, end, &changed)) return false;
  }
  progress(p->dr, 0, 0, "done");
  return true;
}

/* ---- all of it ---- */

static bool open_taps(pruning *p, const model_source *m, uint32_t threads) {
  const char **names = arena_array(p->dr->arena, const char *, p->count + 1);
  for (size_t i = 0; i < p->count; i++)
    names[i] = p->list[i].name;
  return !p->set || taps_open(p->dr, m, names, p->count, threads, &p->taps);
}

static bool open_pool(pruning *p, uint32_t threads) {
  spo_error e;
  spo_status status = threads > 1 ? spo_pool_open(threads, &p->pool, &e) : SPO_OK;
  return status == SPO_OK ||
         diag_error(p->dr->diag, loc_file(NULL), sparsify_error(status), "%s", e.text);
}

bool prune_weights(driver *dr, const model_source *m, prune_weight *list, size_t count,
                   const token_set *set, uint32_t threads, const char *folder) {
  pruning p = {.dr = dr, .list = list, .count = count, .set = set};
  for (size_t i = 0; i < count; i++) {
    size_t n = list[i].rows * list[i].cols;
    list[i].w = arena_array(dr->arena, float, n + 1);
    list[i].mask = arena_array(dr->arena, unsigned char, n + 1);
    memcpy(list[i].w, list[i].dense, n * sizeof(float));
  }
  p.partial = partial_open(dr, folder, m, list, count, set);
  bool ok = p.partial && open_pool(&p, threads) && do_rankings(&p, m->folder) &&
            open_taps(&p, m, threads) && do_layers(&p);
  partial_close(p.partial);
  if (set) taps_close(&p.taps);
  spo_pool_close(p.pool);
  return ok;
}
