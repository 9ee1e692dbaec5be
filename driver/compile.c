/* spcc model.yaml -o model.o */
#include <stdio.h>
#include <string.h>

#include "driver/link.h"
#include "driver/model.h"
#include "driver/output.h"
#include "frontend/suggest.h"
#include "support/text.h"

enum emit { WRITE_OBJ, WRITE_SHARED, WRITE_ASM, WRITE_LLVM, WRITE_IR };

static const struct emit_info {
  const char *word, *suffix;
  bool text; /* goes to standard output without -o */
  enum codegen_emit codegen;
} emits[] = {
    [WRITE_OBJ] = {"obj", ".o", false, EMIT_OBJ},
    [WRITE_SHARED] = {"shared", ".so", false, EMIT_OBJ},
    [WRITE_ASM] = {"asm", ".s", true, EMIT_ASM},
    [WRITE_LLVM] = {"llvm", ".ll", true, EMIT_LLVM},
    [WRITE_IR] = {"ir", ".ir", true, EMIT_OBJ},
};

/* At most the weights, the header and the object; of IR the constants and the text. */
enum { MAX_OUTPUTS = 3 };

typedef struct job {
  driver *dr;
  build_options options;
  enum emit emit;
  model_source *source;
  output out[MAX_OUTPUTS]; /* the main one last */
  size_t out_count;
  bool to_stdout;
} job;

static const char *const object_suffixes[] = {".o", ".obj", ".so", NULL};
static const char *const input_suffixes[] = {".yaml", ".yml", ".ir", NULL};

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* Which files will be written: -o or a name like the input's in the working folder, and those that
 * go beside it. */
static void choose_outputs(job *j) {
  driver *dr = j->dr;
  const struct emit_info *e = &emits[j->emit];
  const char *path = flag_text(dr, F_OUT, e->text ? "-" : NULL);
  if (!path)
    path = path_with_suffix(dr->arena, base_name(dr->operands[0]), input_suffixes, e->suffix);
  j->to_stdout = !strcmp(path, "-");
  if (j->to_stdout) return;
  bool alone = path_is_device(path);
  if (j->emit == WRITE_IR && !alone) j->out[j->out_count++].path = constants_path(dr->arena, path);
  if (!e->text && !alone) {
    if (j->options.codegen.external_weights)
      j->out[j->out_count++].path = path_with_suffix(dr->arena, path, object_suffixes, ".weights");
    j->out[j->out_count++].path = path_with_suffix(dr->arena, path, object_suffixes, ".h");
  }
  j->out[j->out_count++].path = path;
}

/* Compares the outputs with every file that the compilation reads. */
static bool check_outputs(job *j) {
  size_t count;
  const char *const *inputs = source_files(j->dr, j->dr->operands[0], j->source, &count);
  return outputs_check(j->dr, j->out, j->out_count, inputs, count);
}

/* --dump-after */
static bool dump(void *context, const char *name, const ir_graph *g) {
  const job *j = context;
  size_t at = 0;
  for (const char *wanted; (wanted = flag_next(j->dr, F_DUMP_AFTER, &at));) {
    if (strcmp(wanted, name) != 0) continue;
    status_line(j->dr, "%s", "");
    fprintf(stderr, "; after %s\n%s", name, ir_print(g, j->dr->arena));
  }
  return true;
}

/* Puts the result's bytes in their places; the main output is the last, and `beside` (the header,
 * or the constants of IR) goes before it. */
static bool store(job *j, bytes main_output, bytes beside, bytes weights) {
  stage_begin(j->dr, "write");
  if (j->to_stdout) {
    fwrite(main_output.data, 1, main_output.size, stdout); /* main() checks for errors */
    return true;
  }
  size_t at = j->out_count;
  j->out[--at].data = main_output;
  if (at) j->out[--at].data = beside;
  if (at) j->out[--at].data = weights;
  return outputs_write(j->dr, j->out, j->out_count);
}

static bool compile_ir(job *j) {
  driver *dr = j->dr;
  const ir_graph *g = j->source->graph;
  if (!build_passes(dr, j->source->graph, &j->options, dump, j)) return false;
  const char *text = ir_print(g, dr->arena);
  bytes none = {NULL, 0}, constants = none;
  bool two = j->out_count == 2;
  if (two && !constants_format(dr, g, j->out[0].path, &constants)) return false;
  if (two && !constants.data) j->out[0] = j->out[--j->out_count];
  return store(j, (bytes){(const unsigned char *)text, strlen(text)}, constants, none);
}

static bool compile_code(job *j) {
  driver *dr = j->dr;
  codegen_result r;
  if (!build_code(dr, j->source->graph, &j->options, emits[j->emit].codegen, dump, j, &r))
    return false;
  if (j->emit == WRITE_SHARED) {
    stage_begin(dr, "link");
    if (!link_shared(dr, r.object, &r.object)) return false;
  }
  return store(j, r.object, r.header, r.weights);
}

static int check_flags(job *j) {
  driver *dr = j->dr;
  const char *path = flag_text(dr, F_OUT, "");
  if (j->emit == WRITE_OBJ && !flag_given(dr, F_EMIT) && text_ends_with(path, ".so"))
    return usage_error(dr, "-o %s: add --emit=shared for a shared object, or end the name in .o",
                       path);
  if (flag_given(dr, F_PASSES) && j->emit != WRITE_IR)
    return usage_error(dr, "--passes needs --emit=ir");
  if (j->to_stdout && !emits[j->emit].text)
    return usage_error(dr, "--emit=%s does not go to standard output", emits[j->emit].word);
  size_t at = 0;
  for (const char *wanted; (wanted = flag_next(dr, F_DUMP_AFTER, &at));) {
    suggestion s = {.word = wanted};
    bool known = !strcmp(wanted, "import");
    for (const pass *p = pipeline; p->name; p++) {
      known = known || !strcmp(wanted, p->name);
      suggest_offer(&s, p->name);
    }
    if (!known)
      return usage_error(dr, "--dump-after: there is no pass '%s'%s", wanted,
                         suggest_text(dr->arena, &s));
  }
  return EXIT_OK;
}

static bool compile(job *j) {
  driver *dr = j->dr;
  stages_plan(dr, build_stages(dr, &j->options) + 3 + (j->emit == WRITE_SHARED));
  stage_begin(dr, "read");
  j->source = source_read(dr, dr->operands[0], &j->options.overrides);
  if (!j->source || !check_outputs(j) || !source_close(dr, j->source)) return false;
  verbose(dr, "model '%s': %u values, batch up to %lld, sequence up to %lld", j->source->name,
          j->source->graph->count, (long long)j->source->graph->max_batch,
          (long long)j->source->graph->max_sequence);
  bool ok = j->emit == WRITE_IR ? compile_ir(j) : compile_code(j);
  stages_end(dr);
  return ok;
}

int cmd_compile(driver *dr) {
  job j = {.dr = dr};
  const char *emit = flag_text(dr, F_EMIT, emits[WRITE_OBJ].word);
  while (strcmp(emits[j.emit].word, emit) != 0)
    j.emit++;
  if (!build_options_read(dr, &j.options)) return EXIT_OK;
  choose_outputs(&j);
  int code = check_flags(&j);
  if (code != EXIT_OK) return code;
  j.options.codegen.shared_symbol = j.emit == WRITE_SHARED;
  return compile(&j) ? EXIT_OK : diag_exit_code(dr->diag);
}
