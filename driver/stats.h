/* Statistics of measured times. */
#ifndef SPCC_DRIVER_STATS_H
#define SPCC_DRIVER_STATS_H

#include <stddef.h>

/* Sorts values, rising. */
void stats_sort(double *values, size_t count);
/* The nearest-rank percentile of sorted values, at least one; `share` is from 0 to 1. */
double stats_percentile(const double *sorted, size_t count, double share);
/* The median of at least one value; sorts them. */
double stats_median(double *values, size_t count);
/* The larger of two differences; a NaN is the largest. */
double stats_larger(double a, double b);

#endif
