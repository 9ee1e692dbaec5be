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
} bench_case;

/* Compiles the model in-process: name spcc, dense (--sparse=off) or generic. */
bool engine_open_compiled(const bench_case *c, const char *name, engine *e);
/* A loaded shared object; it stays the caller's. */
bool engine_open_library(const bench_case *c, const library *lib, engine *e);
/* A Python process with PyTorch, eager, on the same checkpoint. */
bool engine_open_torch(const bench_case *c, engine *e);

#endif
