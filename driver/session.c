#include "driver/session.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <string.h>

#include "runtime/cpu.h"
#include "support/checked.h"
#include "support/file.h"

/* ---- shared objects ---- */

static bool not_ours(driver *dr, const char *path, const char *why) {
  return diag_error(dr->diag, loc_file(path), E_OBJECT,
                    "%s; make one with 'spcc model.yaml --emit=shared -o model.so'", why);
}

/* dlsym's object pointer as a function pointer, which POSIX promises to work. */
static void symbol(void *handle, const char *name, void *function, size_t size) {
  void *at = dlsym(handle, name);
  memcpy(function, &at, size);
}
#define SYMBOL(handle, name, function) symbol(handle, name, &(function), sizeof(function))

static bool find_entries(driver *dr, const char *path, library *lib) {
  SYMBOL(lib->handle, "spcc_model", lib->entry.info);
  if (!lib->entry.info) return not_ours(dr, path, "this shared object has no symbol spcc_model");
  lib->info = lib->entry.info();
  if (lib->info->abi != SPCC_ABI || lib->info->size < sizeof *lib->info)
    return not_ours(dr, path, "this shared object was made by another version of spcc");
  const char *name = lib->info->name;
  SYMBOL(lib->handle, arena_printf(dr->arena, "%s_run", name), lib->entry.run);
  SYMBOL(lib->handle, arena_printf(dr->arena, "%s_workspace", name), lib->entry.workspace);
  if (!lib->entry.run || !lib->entry.workspace)
    return not_ours(dr, path, "this shared object lacks its entry points");
  return true;
}

static bool map_weights(driver *dr, const char *path, library *lib) {
  const char *named = flag_text(dr, F_WEIGHTS_FILE, NULL);
  if (!named && lib->info->weights_embedded) return true;
  if (!named)
    return diag_error(dr->diag, loc_file(path), E_OBJECT,
                      "the weights of this model lie in a file of their own; name it with "
                      "--weights-file=FILE");
  lib->weights = spcc_map_weights(named, &lib->weights_bytes);
  return lib->weights || diag_error(dr->diag, loc_file(named), E_OPEN,
                                    "cannot map the weights; a regular, non-empty file is needed");
}

bool library_open(driver *dr, const char *path, library *lib) {
  *lib = (library){0};
  file *f = file_open(dr->arena, dr->diag, NULL, path, path);
  if (!f) return false;
  lib->object_bytes = file_size(f);
  if (!file_close(f, dr->diag)) return false;
  /* Without a slash, dlopen would look elsewhere. */
  const char *place = strchr(path, '/') ? path : path_join(dr->arena, ".", path);
  lib->handle = dlopen(place, RTLD_NOW | RTLD_LOCAL);
  if (!lib->handle)
    return not_ours(dr, path, arena_printf(dr->arena, "cannot load it: %s", dlerror()));
  if (find_entries(dr, path, lib) && map_weights(dr, path, lib)) return true;
  library_close(lib);
  return false;
}

void library_close(library *lib) {
  if (lib->weights) spcc_unmap_weights(lib->weights, lib->weights_bytes);
  if (lib->handle) dlclose(lib->handle);
  *lib = (library){0};
}

/* ---- calls ---- */

bool tensor_bytes(const spcc_tensor *t, int32_t batch, int32_t sequence, size_t *size) {
  size_t total = 4; /* both element types */
  for (uint32_t i = 0; i < t->rank; i++) {
    int64_t dim = t->dim[i];
    if (dim == SPCC_DIM_BATCH) dim = batch;
    if (dim == SPCC_DIM_SEQUENCE) dim = sequence;
    if (!size_mul(total, (size_t)dim, &total)) return false;
  }
  *size = total;
  return true;
}

static bool overflow(driver *dr, const char *name) {
  return diag_error(dr->diag, loc_file(NULL), E_OVERFLOW,
                    "the size of '%s' overflows at this batch and sequence", name);
}

static bool size_tensors(driver *dr, session *s, int32_t batch, int32_t sequence) {
  const spcc_info *info = s->info;
  for (uint32_t i = 0; i < info->input_count; i++)
    if (!tensor_bytes(&info->inputs[i], batch, sequence, &s->in_bytes[i]))
      return overflow(dr, info->inputs[i].name);
  for (uint32_t i = 0; i < info->output_count; i++) {
    if (!tensor_bytes(&info->outputs[i], batch, sequence, &s->out_bytes[i]))
      return overflow(dr, info->outputs[i].name);
    s->out[i] = arena_alloc(dr->arena, s->out_bytes[i] + 1, 64);
  }
  return true;
}

/* The weights at the alignment that calls ask for. */
static const void *align_weights(driver *dr, const void *weights, size_t size) {
  if ((uintptr_t)weights % 64 == 0) return weights;
  return memcpy(arena_alloc(dr->arena, size, 64), weights, size);
}

static bool make_pool(driver *dr, session *s, uint32_t threads) {
  if (threads <= 1) return true;
  spcc_pool_options o = {.size = sizeof o, .threads = threads, .pin = flag_given(dr, F_PIN)};
  s->pool = spcc_pool_open(&o);
  if (!s->pool)
    return diag_error(dr->diag, loc_file(NULL), E_MEMORY, "cannot start %u threads", threads);
  s->call.exec = spcc_pool_exec(s->pool);
  return true;
}

bool session_fits(driver *dr, int64_t max_batch, int64_t max_sequence, int64_t batch,
                  int64_t sequence) {
  if (batch <= max_batch && sequence <= max_sequence) return true;
  return diag_error(dr->diag, loc_file(NULL), E_DIM,
                    "batch %" PRId64 " and sequence %" PRId64
                    " are over the model's limits, %" PRId64 " and %" PRId64
                    "; compile with other --max-batch and --max-seq",
                    batch, sequence, max_batch, max_sequence);
}

bool session_open(driver *dr, const jit_entry *entry, const void *weights, size_t weights_bytes,
                  int32_t batch, int32_t sequence, uint32_t threads, session *s) {
  arena *a = dr->arena;
  const spcc_info *info = entry->info();
  *s = (session){.info = info, .run = entry->run};
  if (!session_fits(dr, info->max_batch, info->max_sequence, batch, sequence)) return false;
  s->in = arena_array(a, const void *, info->input_count + 1);
  s->out = arena_array(a, void *, info->output_count + 1);
  s->in_bytes = arena_array(a, size_t, info->input_count + 1);
  s->out_bytes = arena_array(a, size_t, info->output_count + 1);
  size_t workspace = entry->workspace(batch, sequence, threads);
  if (!size_tensors(dr, s, batch, sequence)) return false;
  s->call = (spcc_call){.size = sizeof s->call,
                        .cpu = spcc_cpu(),
                        .model = info->digest,
                        .batch = batch,
                        .sequence = sequence,
                        .in = s->in,
                        .out = s->out,
                        .in_bytes = s->in_bytes,
                        .out_bytes = s->out_bytes,
                        .weights = align_weights(dr, weights, weights_bytes),
                        .weights_bytes = weights_bytes,
                        .workspace = arena_alloc(a, workspace + 1, 64),
                        .workspace_bytes = workspace};
  return make_pool(dr, s, threads);
}

bool session_run(driver *dr, session *s) {
  spcc_status status = s->run(&s->call);
  if (status == SPCC_OK) return true;
  return diag_error(dr->diag, loc_file(NULL), E_RUN, "model '%s' refused the call: %s (status %d)",
                    s->info->name, spcc_status_text(status), (int)status);
}

void session_close(session *s) {
  spcc_pool_free(s->pool);
  s->pool = NULL;
}

uint32_t session_threads(const driver *dr) {
  uint32_t asked = (uint32_t)flag_int(dr, F_THREADS, 1), cpus = spcc_usable_cpus();
  return asked < cpus ? asked : cpus;
}

int32_t session_length(const driver *dr, int64_t max_sequence) {
  enum { USUAL = 128 };
  return (int32_t)flag_int(dr, F_LENGTH, max_sequence < USUAL ? max_sequence : USUAL);
}
