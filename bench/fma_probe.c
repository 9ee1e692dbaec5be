/* How fast the cores are now: for every line on standard input, prints the GFLOP/s of fused
 * multiply-adds in f32 that the slowest of the given cores reaches in about 3 ms.
 *
 *     fma_probe CORE...
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_CORES = 256, CHAINS = 12, STEPS = 20000 };
static const double SECONDS = 0.003;

typedef struct core {
  pthread_t thread;
  size_t number;
  double gflops;
} core;

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
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(c->number, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) return NULL;
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

/* The slowest core's rate; 0 when a core can't be had. */
static double slowest(core *cores, int count) {
  double rate = 0;
  for (int i = 0; i < count; i++) {
    cores[i].gflops = 0;
    if (pthread_create(&cores[i].thread, NULL, measure, &cores[i]) != 0) exit(1);
  }
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
    printf("%.2f\n", slowest(cores, count));
    fflush(stdout);
  }
  return 0;
}
