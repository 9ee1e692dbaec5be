/* spcc cpu: what this machine has. */
#include <stdio.h>
#include <unistd.h>

#include "driver/costs.h"
#include "driver/fma_probe.h"
#include "driver/json_line.h"
#include "driver/session.h"
#include "driver/stats.h"
#include "runtime/cpu.h"

static const struct cache {
  const char *name;
  int key;
} caches[] = {
    {"l1d", _SC_LEVEL1_DCACHE_SIZE},
    {"l1i", _SC_LEVEL1_ICACHE_SIZE},
    {"l2", _SC_LEVEL2_CACHE_SIZE},
    {"l3", _SC_LEVEL3_CACHE_SIZE},
};
enum { CACHES = sizeof caches / sizeof caches[0] };

/* --peak: the levels that a program can be compiled for, and what they reach. */
static const uint32_t levels[] = {SPCC_CPU_X86_64_V3, SPCC_CPU_X86_64_V4};
enum { LEVELS = sizeof levels / sizeof levels[0], SAMPLES = 15 };
static const double SAMPLE_SECONDS = 0.005;

typedef struct peaks {
  uint32_t threads;
  double gflops[LEVELS]; /* of all threads; 0: the CPU lacks the level */
} peaks;

static bool measure_peaks(driver *dr, peaks *p) {
  *p = (peaks){.threads = session_threads(dr)};
  spcc_pool *pool = spcc_pool_new(p->threads);
  if (!pool)
    return diag_error(dr->diag, loc_file(NULL), E_MEMORY, "cannot start %u threads", p->threads);
  double samples[LEVELS][SAMPLES]; /* in turns, so that a change of the clock meets all levels */
  for (int s = 0; s < SAMPLES; s++)
    for (int i = 0; i < LEVELS; i++)
      if (levels[i] <= spcc_cpu())
        samples[i][s] = fma_probe(spcc_pool_exec(pool), levels[i], SAMPLE_SECONDS);
  for (int i = 0; i < LEVELS; i++)
    if (levels[i] <= spcc_cpu()) p->gflops[i] = stats_median(samples[i], SAMPLES);
  spcc_pool_free(pool);
  return true;
}

static json_t *json_peaks(const peaks *p) {
  json_t *all = json_pack("{s:i}", "threads", (int)p->threads);
  for (int i = 0; i < LEVELS; i++)
    if (p->gflops[i] > 0)
      json_object_set_new(all, spcc_cpu_name(levels[i]), json_real(p->gflops[i]));
  return all;
}

static void print_peaks(const peaks *p) {
  printf("FMA peak ");
  for (int i = 0; i < LEVELS; i++)
    if (p->gflops[i] > 0) printf(" %s %.1f", spcc_cpu_name(levels[i]), p->gflops[i]);
  printf(" GFLOP/s on %u thread%s\n", p->threads, p->threads == 1 ? "" : "s");
}

static bool print_json(driver *dr, const peaks *p) {
  json_t *features = json_array(), *sizes = json_object();
  spcc_cpu_feature f;
  for (uint32_t i = 0; spcc_cpu_feature_at(i, &f); i++)
    if (f.present) json_array_append_new(features, json_string(f.name));
  for (int i = 0; i < CACHES; i++)
    json_object_set_new(sizes, caches[i].name, json_integer(sysconf(caches[i].key)));
  return json_line(dr,
                   json_pack("{s:s, s:o, s:i, s:I, s:o, s:o*}", "level", spcc_cpu_name(spcc_cpu()),
                             "features", features, "usable_cpus", (int)spcc_usable_cpus(),
                             "online_cpus", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN),
                             "cache_bytes", sizes, "peak_gflops", p ? json_peaks(p) : NULL));
}

static void print_table(const peaks *p) {
  printf("level     %s\nfeatures ", spcc_cpu_name(spcc_cpu()));
  spcc_cpu_feature f;
  for (uint32_t i = 0; spcc_cpu_feature_at(i, &f); i++)
    if (f.present) printf(" %s", f.name);
  printf("\nCPUs      %u usable of %ld\ncaches   ", spcc_usable_cpus(),
         sysconf(_SC_NPROCESSORS_ONLN));
  for (int i = 0; i < CACHES; i++) {
    long size = sysconf(caches[i].key);
    if (size > 0) printf(" %s %ldK", caches[i].name, size / 1024);
  }
  printf("\n");
  if (p) print_peaks(p);
}

int cmd_cpu(driver *dr) {
  bool peak = flag_given(dr, F_PEAK);
  peaks measured;
  if (flag_given(dr, F_CALIBRATE)) return cpu_calibrate(dr);
  if (!peak && flag_given(dr, F_THREADS)) return usage_error(dr, "-j needs --peak");
  if (peak && !measure_peaks(dr, &measured)) return EXIT_OK;
  if (flag_given(dr, F_JSON))
    print_json(dr, peak ? &measured : NULL);
  else
    print_table(peak ? &measured : NULL);
  return EXIT_OK;
}
