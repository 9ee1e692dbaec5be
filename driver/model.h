/* From a path to a compiled model: what compile, verify and bench share. */
#ifndef SPCC_DRIVER_MODEL_H
#define SPCC_DRIVER_MODEL_H

#include "codegen/codegen.h"
#include "driver/driver.h"
#include "frontend/frontend.h"
#include "passes/passes.h"

typedef struct build_options {
  model_overrides overrides;
  pass_options pass;
  codegen_options codegen;
  const char *passes; /* --passes; NULL: the pipeline */
  bool tune;          /* measure before the pass partition */
  bool remarks;
} build_options;

/* What the runtime calls an ISA level. */
uint32_t cpu_level(enum isa_level level);
/* The highest ISA level of this CPU; ISA_COUNT when spcc compiles for none of its levels. */
enum isa_level native_level(void);

/* The options that the flags ask for. False after an error. */
bool build_options_read(driver *dr, build_options *o);

/* True for the name of IR text: it ends in .ir. */
bool path_is_ir(const char *path);
/* Reads model.yaml, or IR text (a name in .ir, constants from the .safetensors beside it), where
 * only graph and name are set. NULL after errors. */
model_source *source_read(driver *dr, const char *path, const model_overrides *o);

/* The files that the model at `path` was read from; before source_close. */
const char *const *source_files(driver *dr, const char *path, const model_source *m, size_t *count);
/* Closes the files that it was read from; false when one changed meanwhile. */
bool source_close(driver *dr, model_source *m);

/* The number of stages of build_passes. */
unsigned build_stages(driver *dr, const build_options *o);
/* Runs the passes that the options ask for, a stage each. `observe` (may be NULL) sees the graph
 * after each. */
bool build_passes(driver *dr, ir_graph *g, const build_options *o, pass_observer *observe,
                  void *context);
/* build_passes, then code. */
bool build_code(driver *dr, ir_graph *g, const build_options *o, enum codegen_emit emit,
                pass_observer *observe, void *context, codegen_result *out);

/* The file beside the IR text `ir_path` where source_read looks for the constants that ir_print
 * names by their hash alone. */
char *constants_path(arena *a, const char *ir_path);
/* That file's bytes, none when the text holds every constant; `path` is for messages. */
bool constants_format(driver *dr, const ir_graph *g, const char *path, bytes *out);

#endif
