/* From samples to (T, dim), W frames at a time, one frame a lane.

   A block of W frames is transposed once: table[r][c] holds sample r of hop c, so that sample i of
   all W frames is one load at row i % shift, column i / shift. No frame is ever copied, and nothing
   but that load and the final store crosses lanes. The real FFT of N points is a complex one of
   N / 2 (decimation in frequency, in place, radices 2 to 8, results in digit-reversed places) and a
   split; power spectra take the place of the complex ones; the mel bank is a list of its weights
   that are not zero. The block, 45 KB for N = 512 and W = 16, stays in the nearest caches.

   features/fast.py makes the plan (tables, places, twiddles) and calls `features_wave_VARIANT`
   or, where more is to come, `features_run_VARIANT`; setup.py compiles this file once a variant. */

#include "frontend.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#if defined(__SSE__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
#define W 16
#elif defined(__AVX__)
#define W 8
#else
#define W 4
#endif
#define INLINE static inline __attribute__((always_inline))
/* A product that is rounded, not fused with the sum that follows: as the references do it. */
#if defined(__x86_64__) || defined(__i386__)
#define ROUNDED(x) __asm__("" : "+v"(x))
#elif defined(__aarch64__)
#define ROUNDED(x) __asm__("" : "+w"(x))
#else
#define ROUNDED(x) (void)(x)
#endif

/* `restrict` on a plan: no store changes it, so it is not read again after each. */

typedef float V __attribute__((vector_size(4 * W)));
typedef float Loose __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t I __attribute__((vector_size(4 * W)));

INLINE V all(float x) { return x - (V){0}; }
INLINE V load(const float *x) { return *(const Loose *)x; }

/* The larger of two; the second one where one of them is no number. */
INLINE V larger(V x, V y)
{
#if defined(__AVX512F__)
    return (V)_mm512_max_ps((__m512)x, (__m512)y);
#elif defined(__AVX__)
    return (V)_mm256_max_ps((__m256)x, (__m256)y);
#elif defined(__SSE__)
    return (V)_mm_max_ps((__m128)x, (__m128)y);
#else
    I over = x > y;
    return (V)(((I)x & over) | ((I)y & ~over));
#endif
}

/* Natural logarithm of positive normal numbers to 3e-8 relative: x = 2^e (1 + f) with 1 + f in
   [sqrt(1/2), sqrt(2)), and a minimax polynomial of f. */
INLINE V logarithm(V x)
{
    I bits = (I)x, e = (bits - 0x3f3504f3) >> 23;
    V f = (V)(bits - (e << 23)) - 1.0f, scale = __builtin_convertvector(e, V);
    V q = f * 0.08700434863567352f - 0.14267486333847046f;
    q = q * f + 0.14914768934249878f;
    q = q * f - 0.1657758504152298f;
    q = q * f + 0.19963063299655914f;
    q = q * f - 0.2500133812427521f;
    q = q * f + 0.3333390951156616f;
    V square = f * f;
    q = q * f * square - 0.5f * square + scale * -2.12194440e-4f;
    return q + f + scale * 0.693359375f; /* ln 2 in two parts; the first has few digits */
}

/* e to the power of x, |x| < 87, to 1e-7 relative: 2^n e^r with |r| <= ln(2) / 2. */
INLINE V exponential(V x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: what is added to it is rounded to an integer */
    V n = x * 1.44269504088896341f + shift;
    I e = ((I)n - (I)all(shift)) << 23;
    n -= shift;
    V r = x - n * 0.693359375f + n * 2.12194440e-4f;
    V q = r * 1.9875691500e-4f + 1.3981999507e-3f;
    q = q * r + 8.3334519073e-3f;
    q = q * r + 4.1665795894e-2f;
    q = q * r + 1.6666665459e-1f;
    q = q * r + 5.0000001201e-1f;
    return (V)((I)(q * r * r + r + 1.0f) + e);
}

/* ---- Fourier transform ---- */

INLINE void dft2(V *r, V *i)
{
    V a = r[0] - r[1], b = i[0] - i[1];
    r[0] += r[1], i[0] += i[1], r[1] = a, i[1] = b;
}

INLINE void dft3(V *r, V *i)
{
    const float s = 0.86602540378443865f;
    V ar = r[1] + r[2], ai = i[1] + i[2], br = (i[1] - i[2]) * s, bi = (r[2] - r[1]) * s;
    V cr = r[0] - 0.5f * ar, ci = i[0] - 0.5f * ai;
    r[0] += ar, i[0] += ai, r[1] = cr + br, i[1] = ci + bi, r[2] = cr - br, i[2] = ci - bi;
}

INLINE void dft4(V *r, V *i)
{
    V ar = r[0] + r[2], ai = i[0] + i[2], br = r[0] - r[2], bi = i[0] - i[2];
    V cr = r[1] + r[3], ci = i[1] + i[3], dr = i[1] - i[3], di = r[3] - r[1];
    r[0] = ar + cr, i[0] = ai + ci, r[1] = br + dr, i[1] = bi + di;
    r[2] = ar - cr, i[2] = ai - ci, r[3] = br - dr, i[3] = bi - di;
}

INLINE void dft5(V *r, V *i)
{
    const float c1 = 0.30901699437494742f, c2 = -0.80901699437494742f;
    const float s1 = 0.95105651629515357f, s2 = 0.58778525229247313f;
    V ar = r[1] + r[4], ai = i[1] + i[4], br = i[1] - i[4], bi = r[4] - r[1];
    V cr = r[2] + r[3], ci = i[2] + i[3], dr = i[2] - i[3], di = r[3] - r[2];
    V er = r[0] + c1 * ar + c2 * cr, ei = i[0] + c1 * ai + c2 * ci;
    V fr = r[0] + c2 * ar + c1 * cr, fi = i[0] + c2 * ai + c1 * ci;
    V gr = s1 * br + s2 * dr, gi = s1 * bi + s2 * di;
    V hr = s2 * br - s1 * dr, hi = s2 * bi - s1 * di;
    r[0] += ar + cr, i[0] += ai + ci;
    r[1] = er + gr, i[1] = ei + gi, r[4] = er - gr, i[4] = ei - gi;
    r[2] = fr + hr, i[2] = fi + hi, r[3] = fr - hr, i[3] = fi - hi;
}

INLINE void dft8(V *r, V *i)
{
    const float h = 0.70710678118654752f;
    V er[4] = {r[0], r[2], r[4], r[6]}, ei[4] = {i[0], i[2], i[4], i[6]};
    V or[4] = {r[1], r[3], r[5], r[7]}, oi[4] = {i[1], i[3], i[5], i[7]};
    dft4(er, ei), dft4(or, oi);
    V tr = (or[1] + oi[1]) * h, ti = (oi[1] - or[1]) * h;
    or[1] = tr, oi[1] = ti;
    tr = oi[2], ti = -or[2], or[2] = tr, oi[2] = ti;
    tr = (oi[3] - or[3]) * h, ti = (or[3] + oi[3]) * -h, or[3] = tr, oi[3] = ti;
    for (int p = 0; p < 4; p++) {
        r[p] = er[p] + or[p], i[p] = ei[p] + oi[p];
        r[p + 4] = er[p] - or[p], i[p + 4] = ei[p] - oi[p];
    }
}

INLINE void dft(int radix, V *r, V *i)
{
    if (radix == 2) dft2(r, i);
    if (radix == 3) dft3(r, i);
    if (radix == 4) dft4(r, i);
    if (radix == 5) dft5(r, i);
    if (radix == 8) dft8(r, i);
}

/* Store the results of one butterfly, turned by their twiddles where there are any. */
INLINE void put(int radix, V *z, ptrdiff_t step, const V *r, const V *i, const float *w)
{
    z[0] = r[0], z[1] = i[0];
    for (int p = 1; p < radix; p++) {
        V *to = z + p * step;
        if (!w) {
            to[0] = r[p], to[1] = i[p];
            continue;
        }
        float c = w[2 * p - 2], s = w[2 * p - 1];
        to[0] = r[p] * c - i[p] * s, to[1] = r[p] * s + i[p] * c;
    }
}

INLINE void butterfly(int radix, V *z, ptrdiff_t step, const float *w)
{
    V r[8], i[8];
    for (int q = 0; q < radix; q++) r[q] = z[q * step], i[q] = z[q * step + 1];
    dft(radix, r, i);
    put(radix, z, step, r, i, w);
}

/* One pass over `blocks` blocks of radix * sub complex vectors. */
INLINE void pass(int radix, V *z, int64_t blocks, int64_t sub, const float *w)
{
    ptrdiff_t block = 2 * radix * sub;
    for (int64_t b = 0; b < blocks; b++) butterfly(radix, z + b * block, 2 * sub, NULL);
    for (int64_t j = 1; j < sub; j++)
        for (int64_t b = 0; b < blocks; b++)
            butterfly(radix, z + b * block + 2 * j, 2 * sub, w + 2 * j * (radix - 1));
}

/* What samples go through before the window; with PREEMPHASIS, `mean` may be 0. */
enum { NOTHING, CENTER, PREEMPHASIS };

/* Samples i and i + 1 of all frames: without DC, preemphasised, windowed. */
INLINE void samples(const Plan *restrict p, int mode, const float *table, V mean, int64_t i, V *first,
                    V *second)
{
    const int32_t *at = p->places + i;
    V x = load(table + at[1]), y = load(table + at[2]);
    if (mode != NOTHING) x -= mean, y -= mean;
    if (mode == PREEMPHASIS) {
        V before = load(table + at[0]) - mean, a = p->preemphasis * before, b = p->preemphasis * x;
        ROUNDED(a);
        ROUNDED(b);
        x -= a, y -= b;
    }
    *first = x * p->window[i], *second = y * p->window[i + 1];
}

/* The first pass: reads samples instead of the spectrum; what is padding is not read at all. */
INLINE void first_pass(int radix, int mode, const Plan *restrict p, const float *table, V mean, V *z)
{
    int64_t sub = p->half / radix;
    const float *w = p->twiddle;
    for (int64_t j = 0; j < sub; j++, w += 2 * (radix - 1)) {
        V r[8], i[8];
        for (int q = 0; q < radix; q++) {
            int64_t k = j + q * sub;
            r[q] = i[q] = (V){0};
            if (k < p->live) samples(p, mode, table, mean, 2 * k, r + q, i + q);
        }
        dft(radix, r, i);
        put(radix, z + 2 * j, 2 * sub + p->gap, r, i, w);
    }
}

#define BY_RADIX(radix, f, ...)           \
    switch (radix) {                      \
    case 2: f(2, __VA_ARGS__); break;     \
    case 3: f(3, __VA_ARGS__); break;     \
    case 4: f(4, __VA_ARGS__); break;     \
    case 5: f(5, __VA_ARGS__); break;     \
    default: f(8, __VA_ARGS__);           \
    }

static void transform(const Plan *restrict p, const float *table, V mean, V *z)
{
    int64_t first = p->radix[0], part = p->half / first;
    if (p->preemphasis != 0.0f)
        BY_RADIX(first, first_pass, PREEMPHASIS, p, table, mean, z)
    else if (p->center)
        BY_RADIX(first, first_pass, CENTER, p, table, mean, z)
    else
        BY_RADIX(first, first_pass, NOTHING, p, table, mean, z)
    for (int64_t b = 0; b < first; b++) { /* part by part: each is small enough for L1 */
        const float *w = p->twiddle + 2 * part * (first - 1);
        int64_t sub = part, blocks = 1;
        for (int64_t s = 1; s < p->stages; s++) {
            int64_t radix = p->radix[s];
            sub /= radix;
            BY_RADIX(radix, pass, z + (2 * part + p->gap) * b, blocks, sub, w)
            blocks *= radix, w += 2 * sub * (radix - 1);
        }
    }
}

/* From the N / 2 points of the complex transform to N / 2 + 1 powers, in place. */
static void powers(const Plan *restrict p, V *z)
{
    V r = z[0], i = z[1];
    z[0] = 4.0f * (r + i) * (r + i), z[1] = 4.0f * (r - i) * (r - i);
    for (int64_t k = 1; k <= p->half / 2; k++) {
        V *a = z + p->slot[k], *b = z + p->slot[p->half - k];
        float c = p->split[2 * k], s = p->split[2 * k + 1];
        V er = a[0] + b[0], ei = a[1] - b[1], or = a[1] + b[1], oi = b[0] - a[0];
        V tr = or * c - oi * s, ti = or * s + oi * c;
        V ur = er + tr, ui = ei + ti, vr = er - tr, vi = ei - ti;
        a[0] = ur * ur + ui * ui, b[0] = vr * vr + vi * vi;
    }
    if (p->magnitude)
        for (int64_t k = 0; k <= p->half; k++)
            for (int l = 0; l < W; l++) {
                float *x = (float *)(z + p->slot[k]) + l;
                *x = __builtin_sqrtf(*x);
            }
}

/* ---- before and after ---- */

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (I){__VA_ARGS__})
#endif
#if W == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif W == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#endif

#if W == 8
/* Transpose 8 vectors: within their halves, as AVX2 shuffles in one step, then the halves. */
INLINE void transpose(V x[W])
{
    V y[W];
    for (int i = 0; i < W; i += 2) {
        y[i] = SHUFFLE(x[i], x[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        y[i + 1] = SHUFFLE(x[i], x[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < W; i += 4)
        for (int k = 0; k < 2; k++) {
            x[i + 2 * k] = SHUFFLE(y[i + k], y[i + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            x[i + 2 * k + 1] = SHUFFLE(y[i + k], y[i + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        V low = SHUFFLE(x[i], x[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        x[i + 4] = SHUFFLE(x[i], x[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
        x[i] = low;
    }
}
#else
/* Transpose W vectors: each round of interleaving rotates the bits of (row, column) by one. */
INLINE void transpose(V x[W])
{
    for (int n = 1; n < W; n *= 2) {
        V y[W];
        for (int i = 0; i < W / 2; i++) {
            y[2 * i] = SHUFFLE(x[i], x[i + W / 2], LOW);
            y[2 * i + 1] = SHUFFLE(x[i], x[i + W / 2], HIGH);
        }
        memcpy(x, y, sizeof y);
    }
}
#endif

/* table[r * columns + c] = sample r of hop c, for all that the W frames from `x` on contain. */
static void fill(const Plan *restrict p, const float *x, float *table)
{
    const int64_t columns = p->columns;
    int64_t used = p->length < p->shift ? p->length : p->shift, r = 0;
    for (; r + W <= used; r += W) {
        V block[W];
        for (int c = 0; c < W; c++) block[c] = load(x + c * p->shift + r);
        transpose(block);
        for (int c = 0; c < W; c++) *(Loose *)(table + (r + c) * columns) = block[c];
    }
    for (; r < used; r++)
        for (int c = 0; c < W; c++) table[r * columns + c] = x[c * p->shift + r];
    int64_t total = (W - 1) * p->shift + p->length;
    for (int64_t c = W; c * p->shift < total; c++) { /* what overlaps the frames after the last */
        int64_t rows = total - c * p->shift < p->shift ? total - c * p->shift : p->shift;
        float *to = table + c;
        const float *from = x + c * p->shift;
        for (r = 0; r + 4 <= rows; r += 4, to += 4 * columns) {
            float a = from[r], b = from[r + 1], c = from[r + 2], d = from[r + 3];
            to[0] = a, to[columns] = b, to[2 * columns] = c, to[3 * columns] = d;
        }
        for (; r < rows; r++, to += columns) *to = from[r];
    }
}

static V mean_of(const Plan *restrict p, const float *table)
{
    V sum[4] = {{0}};
    int64_t i = 0;
    for (; i + 4 <= p->length; i += 4)
        for (int k = 0; k < 4; k++) sum[k] += load(table + p->places[i + k + 1]);
    for (; i < p->length; i++) sum[0] += load(table + p->places[i + 1]);
    return ((sum[0] + sum[1]) + (sum[2] + sum[3])) / (float)p->length;
}

static V log_energy(const Plan *restrict p, const float *table, V mean)
{
    V even = {0}, odd = {0}, x, y;
    for (int64_t i = 0; i < p->length; i += 2) {
        if (p->energy == 1) {
            x = load(table + p->places[i + 1]) - mean, y = load(table + p->places[i + 2]) - mean;
            if (i + 1 == p->length) y = (V){0};
        } else
            samples(p, p->preemphasis != 0.0f ? PREEMPHASIS : CENTER, table, mean, i, &x, &y);
        even += x * x, odd += y * y;
    }
    return logarithm(larger((even + odd) * p->energy_scale, all(p->energy_floor)));
}

INLINE V product(const V *x, const float *weight, int64_t n)
{
    V sum = {0};
    for (int64_t b = 0; b < n; b++) sum += x[b] * weight[b];
    return sum;
}

/* Mel energies, which are lost, to PLP cepstra: loudness, lags, Durbin's recursion, the cepstrum
   of what it found, the lifter. features/prediction.py says more. */
static void predict(const Plan *restrict p, V *mel, V *y)
{
    V lags[POLES + 1], a[POLES], before[POLES], *c = y + 1;
    for (int64_t b = 0; b < p->rows; b++)
        mel[b] = exponential(logarithm(larger(mel[b], all(p->floor))) * p->root);
    V error = lags[0] = product(mel, p->dct, p->rows);
    for (int64_t k = 1; k <= p->order; k++) lags[k] = product(mel, p->dct + k * p->rows, p->rows);
    for (int64_t i = 0; i < p->order; i++) {
        V k = lags[i + 1];
        for (int64_t j = 0; j < i; j++) k += a[j] * lags[i - j];
        k /= error;
        memcpy(before, a, i * sizeof *a);
        for (int64_t j = 0; j < i; j++) a[j] -= k * before[i - 1 - j];
        a[i] = -k;
        error *= larger(1.0f - k * k, all(1e-5f));
    }
    y[0] = larger(logarithm(larger(error, all(FLT_MIN))), all(FLT_EPSILON));
    for (int64_t i = 0; i + 1 < p->ceps; i++) {
        V past = {0};
        for (int64_t j = 0; j < i; j++) past += a[j] * c[i - 1 - j] * (float)(i - j);
        c[i] = -a[i] - past / (float)(i + 1);
    }
    for (int64_t i = 0; i < p->ceps; i++) y[i] *= p->lifter[i];
}

/* Spectrum to rows of features: mel, logarithm, cepstra, energy. `y` has room for dim + rows.
   Returns the largest logarithm of each lane. */
static V features(const Plan *restrict p, const V *z, V energy, V *y)
{
    V *mel = p->ceps ? y + p->dim : y + (p->energy != 0);
    const float units[] = {1.0f, 1.0f, 0.43429448190325183f, 4.3429448190325183f};
    for (int64_t b = 0; b < p->rows; b++) {
        V even = {0}, odd = {0}; /* two sums: one would wait for itself */
        const int32_t *bin = p->bin + p->row_start[b], *end = p->bin + p->row_start[b + 1];
        const float *weight = p->weight + p->row_start[b];
        for (; bin + 1 < end; bin += 2, weight += 2) {
            even += z[bin[0]] * weight[0];
            odd += z[bin[1]] * weight[1];
        }
        if (bin < end) even += z[bin[0]] * weight[0];
        mel[b] = even + odd;
    }
    V top = all(-INFINITY), unit = all(units[p->log]);
    for (int64_t b = 0; p->log && b < p->rows; b++) {
        mel[b] = logarithm(larger(mel[b] + p->guard, all(p->floor))) * unit;
        top = larger(mel[b], top);
    }
    if (p->order) predict(p, mel, y);
    for (int64_t c = 0; !p->order && c < p->ceps; c++)
        y[c] = product(mel, p->dct + c * p->rows, p->rows);
    if (p->energy) y[0] = energy;
    return top;
}

/* The first `valid` lanes of y (dim) to rows of `out`, `step` floats apart. */
static void store(const Plan *restrict p, const V *y, int64_t valid, float *out, int64_t step)
{
    for (int64_t b = 0; b < p->dim; b += W) {
        int64_t width = p->dim - b < W ? p->dim - b : W;
        V block[W];
        for (int i = 0; i < W; i++) block[i] = y[b + (i < width ? i : 0)];
        transpose(block);
        if (width == W && valid == W)
            for (int l = 0; l < W; l++) *(Loose *)(out + l * step + b) = block[l];
        else
            for (int l = 0; l < valid; l++) memcpy(out + l * step + b, block + l, 4 * width);
    }
}

/* Where sample i of a signal of n samples lies that goes on as its mirror image on both sides. */
static int64_t fold(int64_t i, int64_t n, int64_t repeat_edge)
{
    int64_t period = 2 * (repeat_edge ? n : n - 1);
    if (period <= 0) return 0;
    i = (i % period + period) % period;
    return i < n ? i : period - i - (repeat_edge ? 1 : 0);
}

/* Samples [first, first + count) of a wave of n, padded with zeros to `padded` and mirrored. */
static void reach(const Plan *restrict p, const float *wave, int64_t n, int64_t padded, int64_t first,
                  int64_t count, float *to)
{
    for (int64_t i = first; i < first + count; i++) {
        int64_t at = i >= 0 && i < padded ? i : p->edge == 2 ? n : fold(i, padded, p->edge);
        *to++ = at < n ? wave[at] : 0.0f;
    }
}

static int64_t table_size(const Plan *restrict p)
{
    int64_t used = p->length < p->shift ? p->length : p->shift;
    return (used * p->columns + 2 * W) / W * W;
}

static int64_t span(const Plan *restrict p, int64_t frames)
{
    return (frames - 1) * p->shift + p->length;
}

EXPORT int64_t NAME(features_width)(void) { return W; }

/* Floats of scratch that `features_run` wants. */
EXPORT int64_t NAME(features_scratch)(const Plan *restrict p)
{
    return W + table_size(p) + W * (2 * p->half + 8 * p->gap + p->dim + p->rows) + span(p, W);
}

/* `sum` stays 0 while all of n samples, a multiple of LOOK, are finite: 0 times infinity is not. */
#define LOOK (8 * W)
static V zeros_of(const float *x, int64_t n, V sum)
{
    V part[8] = {sum}; /* eight: one would wait for itself */
    for (int64_t i = 0; i < n; i += LOOK)
        for (int k = 0; k < 8; k++) part[k] += load(x + i + k * W) * 0.0f;
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
}

/* Whether `sum` is 0 and the last n samples, too, are finite. */
static int all_finite(const float *x, int64_t n, V sum)
{
    float rest = 0.0f;
    for (int64_t i = 0; i < n; i++) rest += x[i] * 0.0f;
    for (int l = 0; l < W; l++) rest += sum[l];
    return rest == 0.0f;
}

/* The last steps, of n values in place: the limit of top_db, offset and divisor. */
static void finish(const Plan *restrict p, float lowest, float *x, int64_t n)
{
    float offset = p->offset, divisor = p->divisor, factor = p->factor;
    int64_t i = 0;
    for (; i + W <= n; i += W) {
        V y = larger(load(x + i), all(lowest)) + offset;
        *(Loose *)(x + i) = factor != 0.0f ? y * factor : y / divisor;
    }
    for (; i < n; i++) {
        float y = (x[i] > lowest ? x[i] : lowest) + offset;
        x[i] = factor != 0.0f ? y * factor : y / divisor;
    }
}

/* Fetch samples that the next block wants; run asks for a third at a time, which fits between. */
INLINE void ahead(const float *wave, int64_t from, int64_t n, int64_t count)
{
    int64_t end = from + count < n ? from + count : n;
    for (int64_t i = from > 0 ? from : 0; i < end; i += 16) __builtin_prefetch(wave + i);
}

/* The first `frames` frames of a wave of n samples, padded with zeros to `padded`, to rows of `out`
   that are `step` floats apart. `peak` gets the largest value where `span` wants it. Where `sound`
   is given, it is cleared when the wave holds NaN or infinity, looked for while it is near. */
static void run(const Plan *restrict p, const float *wave, int64_t n, int64_t padded, int64_t frames,
                float *out, int64_t step, float *scratch, float *peak, int *sound)
{
    float *table = (float *)(((uintptr_t)scratch + 4 * W - 1) / (4 * W) * (4 * W));
    V *z = (V *)(table + table_size(p)), *y = z + 2 * p->half + 8 * p->gap;
    float *edge = (float *)(y + p->dim + p->rows);
    int64_t looked = 0, third = W * p->shift / 3 + 1;
    V zeros = {0};
    for (int64_t t = 0; t < frames; t += W) {
        int64_t valid = frames - t < W ? frames - t : W;
        int64_t first = p->first + t * p->shift, count = span(p, valid), end = first + count;
        int64_t next = first + span(p, W);
        const float *x = wave + first;
        end = end < n ? end : n;
        if (sound && end > looked) {
            int64_t more = (end - looked) / LOOK * LOOK;
            zeros = zeros_of(wave + looked, more, zeros);
            looked += more;
        }
        if (first < 0 || next > n) {
            reach(p, wave, n, padded, first, count, edge);
            memset(edge + count, 0, 4 * (span(p, W) - count));
            x = edge;
        }
        fill(p, x, table);
        ahead(wave, next, n, third);
        V mean = p->center ? mean_of(p, table) : (V){0};
        V energy = p->energy ? log_energy(p, table, mean) : (V){0};
        transform(p, table, mean, z);
        ahead(wave, next + third, n, third);
        powers(p, z);
        ahead(wave, next + 2 * third, n, third);
        V top = features(p, z, energy, y);
        for (int l = 0; p->span > 0.0 && l < valid; l++) *peak = top[l] > *peak ? top[l] : *peak;
        store(p, y, valid, out + t * step, step);
    }
    if (sound) *sound = all_finite(wave + looked, n - looked, zeros);
}

/* The frames alone, for a caller who has more to do with them. */
EXPORT void NAME(features_run)(const Plan *restrict p, const float *wave, int64_t n, int64_t padded,
                               int64_t frames, float *out, int64_t step, float *scratch)
{
    float peak = -INFINITY;
    run(p, wave, n, padded, frames, out, step, scratch, &peak, NULL);
}

/* All that the extractor does with a wave, to `total` rows of `out`, dim floats each: `frames` of
   them see the wave, the others are `quiet`, in the unit of the logarithm. Returns 0, or 1 where
   the wave holds NaN or infinity. */
EXPORT int64_t NAME(features_wave)(const Plan *restrict p, const float *wave, int64_t n, int64_t padded,
                                   int64_t frames, int64_t total, float *out, const float *quiet,
                                   float *scratch)
{
    float peak = -INFINITY;
    int sound = 1;
    run(p, wave, n, padded, frames, out, p->dim, scratch, &peak, &sound);
    if (!sound) return 1;
    for (int64_t i = 0; total > frames && i < p->dim; i++) peak = quiet[i] > peak ? quiet[i] : peak;
    float lowest = p->span > 0.0 ? (float)(peak - p->span) : -INFINITY;
    int64_t size = frames * p->dim, row = total > frames;
    memcpy(out + size, quiet, 4 * p->dim * row);
    if (p->span > 0.0 || p->offset != 0.0f || p->factor != 1.0f)
        finish(p, lowest, out, size + p->dim * row);
    float *rest = out + size;
    for (int64_t done = 1, more; done < total - frames; done += more) { /* 1, 2, 4 ... 32 rows */
        more = done < 32 ? done : 32;
        more = more < total - frames - done ? more : total - frames - done;
        memcpy(rest + done * p->dim, rest, 4 * p->dim * more);
    }
    return 0;
}
