/* What features/fast.py, frontend.c and dispatch.c agree on. */

#ifndef FEATURES_FRONTEND_H
#define FEATURES_FRONTEND_H

#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define JOINED(a, b) a##_##b
#define JOIN(a, b) JOINED(a, b)
#define NAME(x) JOIN(x, VARIANT)

#define POLES 32

typedef struct {
    int64_t length, shift, columns;      /* of a frame; columns of the transposed table */
    int64_t first, edge;                 /* first sample of frame 0; before the wave: 0: 2 1 | 0 1 2,
                                            1: 1 0 | 0 1 2, 2: zeros */
    int64_t half, stages, live;          /* N / 2; passes; complex inputs that are not padding */
    int64_t gap;                         /* vectors between the parts of the first pass */
    int64_t bins, rows, ceps, dim;       /* rows: mel bins; dim: what is written a frame */
    int64_t center, magnitude, log, energy; /* log: 0 none, 1 ln, 2 log10, 3 dB; energy: 0, 1 raw, 2 */
    int64_t order;                       /* > 0: cepstra of linear prediction, at most POLES */
    double span;                         /* top_db in the unit of the logarithm; 0: none */
    float preemphasis, guard, floor, energy_scale, energy_floor; /* log of the larger of x + guard and floor */
    float root;                          /* with order: loudness is power to this */
    float offset, divisor, factor;       /* (x + offset) / divisor; factor 1 / divisor if exact */
    const int32_t *places;               /* of sample i in the table, from i = -1 (= sample 0) on */
    const float *window;                 /* half of it: the split adds two spectra */
    const int64_t *radix;
    const float *twiddle, *split;        /* (cos, sin) pairs, pass by pass; of the split */
    const int32_t *slot;                 /* of Z[k] and P[k] in the spectrum, in vectors */
    const int32_t *row_start, *bin;      /* mel bank by rows: slots and weights */
    const float *weight, *dct;           /* dct (ceps, rows), with order (order + 1, rows) */
    const float *lifter;                 /* with order: weights of cepstra (ceps) */
} Plan;

#endif
