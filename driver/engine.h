/* The engines that `spcc bench` measures: all behind the same three functions. */
#ifndef SPCC_DRIVER_ENGINE_H
#define SPCC_DRIVER_ENGINE_H

#include "driver/inputs.h"
#include "driver/model.h"

typedef struct engine engine;
struct engine {
  driver *dr;
  const char *name;
  const char *isa;
  uint32_t level;        /* spcc_cpu_level of compiled code, else 0 */
  uint64_t object_bytes; /* code and weights; for torch the checkpoint */
  /* Runs the model `count` times and stores the milliseconds of each. */
  bool (*run)(engine *e, uint32_t count, double *ms);
  /* The output called `name` of the last run: `count` elements; false after an error. */
  bool (*output)(engine *e, const char *name, float *to, size_t count);
  void (*close)(engine *e);
  void *state;
};

/* What all engines of one bench share. */
typedef struct bench_case {
  driver *dr;
  const char *path;
  const build_options *options;
  input_set inputs;
  uint32_t threads;
  const ir_graph *graph;    /* NULL: a shared object, */
  library lib;              /* this one */
  const char *const *files; /* that it was read from */
  size_t file_count;
} bench_case;

/* True for a path that is no shared object. */
bool case_is_yaml(const char *path);
/* EXIT_OK, or EXIT_USAGE after flags that have no effect on the operand. */
int case_check_flags(driver *dr);
/* Reads what the operand names and makes its inputs. False after an error; case_close either way.
 */
bool case_prepare(driver *dr, const build_options *options, bench_case *c);
void case_close(bench_case *c);

/* Compiles the model in-process: name spcc, dense (--sparse=off) or generic. */
bool engine_open_compiled(const bench_case *c, const char *name, engine *e);
/* The shared object of the case. */
bool engine_open_library(const bench_case *c, engine *e);
/* The session of either of them. */
session *engine_session(const engine *e);
/* A Python process with PyTorch, eager, on the same checkpoint. */
bool engine_open_torch(const bench_case *c, engine *e);

#endif
