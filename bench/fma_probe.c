/* How fast the cores are now: for every line on standard input, prints the GFLOP/s of fused
 * multiply-adds in f32 that the slowest of the given cores reaches in about 3 ms, and the
 * nanoseconds in which a cache line goes from the first core to the farthest and back: about 100
 * where they share a cache, several times as many where they do not, and 0 for one core.
 *
 *     fma_probe CORE...
 */
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_CORES = 256, CHAINS = 12, STEPS = 20000, ROUND_TRIPS = 2000, CACHE_LINE = 64 };
static const double SECONDS = 0.003;

typedef struct core {
  pthread_t thread;
  size_t number;
  double gflops;
  struct line *line; /* that two cores write in turns */
  double round_trip_ns;
} core;

typedef struct line {
  alignas(CACHE_LINE) atomic_uint number;
} line;

/* Independent chains, more than latency times throughput, so that only the units limit. */
#define FMA_LOOP(name, isa, bytes)                                                                 \
  __attribute__((target(isa))) static float name(float start, long *flops) {                       \
    typedef float vector __attribute__((vector_size(bytes)));                                      \
    vector sums[CHAINS], x = {start}, y = {start};                                                 \
    for (int c = 0; c < CHAINS; c++)                                                               \
      sums[c] = x + (float)c;                                                                      \
    for (int s = 0; s < STEPS; s++) {                                                              \
      _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) sums[c] = sums[c] * x + y;         \
    }                                                                                              \
    *flops += 2L * CHAINS * STEPS * (bytes / 4);                                                   \
    float sum = 0;                                                                                 \
    for (int c = 0; c < CHAINS; c++)                                                               \
      sum += sums[c][0];                                                                           \
    return sum;                                                                                    \
  }
FMA_LOOP(loop_512, "avx512f", 64)
FMA_LOOP(loop_256, "avx2,fma", 32)

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *measure(void *arg) {
  core *c = arg;
  int wide = __builtin_cpu_supports("avx512f");
  long flops = 0;
  double start = seconds_now(), end;
  volatile float keep = 0.5f; /* neither the factor nor the sums may be folded away */
  do {
    keep = 0.5f * (wide ? loop_512(keep, &flops) : loop_256(keep, &flops)) > 1 ? 0.25f : 0.5f;
    end = seconds_now();
  } while (end - start < SECONDS);
  c->gflops = 1e-9 * (double)flops / (end - start);
  return NULL;
}

/* Waits for `number` and writes the next one, `times` times. */
static void answer(atomic_uint *at, unsigned number, int times) {
  for (int i = 0; i < times; i++, number += 2) {
    while (atomic_load(at) != number) {
    }
    atomic_store(at, number + 1);
  }
}

/* The first trip waits until the other core is there. */
static void *there_and_back(void *arg) {
  core *c = arg;
  atomic_uint *at = &c->line->number;
  answer(at, 0, 1);
  double start = seconds_now();
  answer(at, 2, ROUND_TRIPS);
  c->round_trip_ns = 1e9 * (seconds_now() - start) / (double)ROUND_TRIPS;
  return NULL;
}

static void *back(void *arg) {
  answer(&((core *)arg)->line->number, 1, 1 + ROUND_TRIPS);
  return NULL;
}

/* A thread that runs on its core from its first instruction on; the program ends where none can. */
static void start(core *c, void *(*work)(void *)) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(c->number, &set);
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0 ||
      pthread_attr_setaffinity_np(&attributes, sizeof set, &set) != 0 ||
      pthread_create(&c->thread, &attributes, work, c) != 0) {
    fprintf(stderr, "fma_probe: no thread on core %zu\n", c->number);
    exit(1);
  }
  pthread_attr_destroy(&attributes);
}

/* The nanoseconds of the longest round trip from the first core. */
static double farthest(core *cores, int count) {
  double ns = 0;
  for (int i = 1; i < count; i++) {
    line shared = {0};
    cores[0].line = cores[i].line = &shared;
    start(&cores[0], there_and_back);
    start(&cores[i], back);
    pthread_join(cores[0].thread, NULL);
    pthread_join(cores[i].thread, NULL);
    if (ns < cores[0].round_trip_ns) ns = cores[0].round_trip_ns;
  }
  return ns;
}

/* The slowest core's rate. */
static double slowest(core *cores, int count) {
  double rate = 0;
  for (int i = 0; i < count; i++)
    start(&cores[i], measure);
  for (int i = 0; i < count; i++) {
    pthread_join(cores[i].thread, NULL);
    if (i == 0 || cores[i].gflops < rate) rate = cores[i].gflops;
  }
  return rate;
}

int main(int argc, char **argv) {
  static core cores[MAX_CORES];
  int count = argc - 1;
  if (count < 1 || count > MAX_CORES) {
    fprintf(stderr, "usage: fma_probe CORE...\n");
    return 2;
  }
  for (int i = 0; i < count; i++)
    cores[i].number = strtoul(argv[i + 1], NULL, 10);
  for (int c = getchar(); c != EOF; c = getchar()) {
    if (c != '\n') continue;
    double rate = slowest(cores, count);
    printf("%.2f %.0f\n", rate, farthest(cores, count));
    fflush(stdout);
  }
  return 0;
}
