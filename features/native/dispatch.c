/* Which variants of frontend.c this library holds, and which of them this processor runs.

   Each variant is the same source under other names: features_run_avx512, features_run_avx2, ... */

#include "frontend.h"

#if defined(HAS_AVX2)
static int runs_avx2(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
           && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

/* The number of a variant that is here and runs, by width: 3 avx512, 2 avx2, 1 neon, 0 plain. */
EXPORT int64_t features_runs(int64_t variant)
{
    switch (variant) {
#if defined(HAS_AVX512)
    case 3: return runs_avx512();
#endif
#if defined(HAS_AVX2)
    case 2: return runs_avx2();
#endif
#if defined(HAS_NEON)
    case 1: return 1;
#endif
#if defined(HAS_PLAIN)
    case 0: return 1;
#endif
    default: return 0;
    }
}

/* What the caller's idea of a plan must agree with. */
EXPORT int64_t features_plan_size(void) { return sizeof(Plan); }
