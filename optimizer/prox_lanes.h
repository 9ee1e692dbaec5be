/* Proximal steps of single weights, on short runs of them. */
#ifndef SPO_PROX_LANES_H
#define SPO_PROX_LANES_H

#include "optimizer/spo_train.h"

/* Weights that are worked on at a time: so few that the processor loads the next ones meanwhile.
 * With 1024 a pass over memory takes 1.4 times as long. */
enum { SPO_RUN = 128 };

/* A spec in f32, checked. */
typedef struct spo_shrink {
  spo_penalty penalty;
  bool weighted; /* by a metric */
  float t;       /* step * lambda */
  float epsilon; /* of REWEIGHTED */
  float rate;    /* MCP: step */
  float gamma;   /* MCP */
  float lambda;  /* MCP */
} spo_shrink;

spo_shrink spo_shrink_of(const spo_prox_spec *spec, bool weighted);

/* out[n] is the proximal point of a[n] for a penalty of single weights; before[n] and d[n] as in
 * spo_prox. out may be before, and nothing else of them; n is at most SPO_RUN. */
void spo_shrink_run(const spo_shrink *s, float *out, const float *a, const float *before,
                    const float *d, size_t n);

/* The metric of a group: d where it is there, else sqrt(v) root + epsilon with Adam's second
 * moment v, else 1. */
typedef struct spo_metric_of {
  const float *d, *v;
  float root, epsilon;
} spo_metric_of;

/* In place on the group of rows x cols at w. */
void spo_shrink_group(float *w, const spo_metric_of *metric, size_t stride, size_t rows,
                      size_t cols, double t);

#endif
