#include "driver/stats.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *x, const void *y) {
  double a = *(const double *)x, b = *(const double *)y;
  return (a > b) - (a < b);
}

void stats_sort(double *values, size_t count) {
  qsort(values, count, sizeof *values, compare);
}

double stats_percentile(const double *sorted, size_t count, double share) {
  size_t rank = (size_t)ceil(share * (double)count);
  return sorted[rank ? rank - 1 : 0];
}

double stats_median(double *values, size_t count) {
  stats_sort(values, count);
  return stats_percentile(values, count, 0.5);
}

double stats_larger(double a, double b) {
  return isnan(a) || a >= b ? a : b;
}
