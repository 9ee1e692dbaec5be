/* spcc cpu: what this machine has. */
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "driver/json_line.h"
#include "runtime/cpu.h"
#include "runtime/spcc_rt.h"

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

/* CPUs that this process may use. */
static int usable_cpus(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

static bool print_json(driver *dr) {
  json_t *features = json_array(), *sizes = json_object();
  spcc_cpu_feature f;
  for (uint32_t i = 0; spcc_cpu_feature_at(i, &f); i++)
    if (f.present) json_array_append_new(features, json_string(f.name));
  for (int i = 0; i < CACHES; i++)
    json_object_set_new(sizes, caches[i].name, json_integer(sysconf(caches[i].key)));
  return json_line(dr, json_pack("{s:s, s:o, s:i, s:I, s:o}", "level", spcc_cpu_name(spcc_cpu()),
                                 "features", features, "usable_cpus", usable_cpus(), "online_cpus",
                                 (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "cache_bytes", sizes));
}

int cmd_cpu(driver *dr) {
  if (flag_given(dr, F_JSON)) {
    print_json(dr);
    return EXIT_OK;
  }
  printf("level     %s\nfeatures ", spcc_cpu_name(spcc_cpu()));
  spcc_cpu_feature f;
  for (uint32_t i = 0; spcc_cpu_feature_at(i, &f); i++)
    if (f.present) printf(" %s", f.name);
  printf("\nCPUs      %d usable of %ld\ncaches   ", usable_cpus(), sysconf(_SC_NPROCESSORS_ONLN));
  for (int i = 0; i < CACHES; i++) {
    long size = sysconf(caches[i].key);
    if (size > 0) printf(" %s %ldK", caches[i].name, size / 1024);
  }
  printf("\n");
  return EXIT_OK;
}
