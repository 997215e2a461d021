#!/usr/bin/env bash
# The tests of the front end under other kernels, as other processors have them:
#   tests/kernels.sh [--quick]
# PYTHON names the interpreter (default: python3), so that several can be tried; DATA a folder of
# real speech. --quick (what CI runs): parity alone, on the two settings furthest from the default.
# Prints a line a setting: how many passed, failed and were skipped; fails where any test does.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

try() { # name, then VARIABLE=value of the setting
    local name=$1
    shift
    env OMP_NUM_THREADS=1 "$@" "$PYTHON" -m pytest -q -p no:cacheprovider -o addopts=--import-mode=importlib \
        ${DATA:+--data="$DATA"} "${tests[@]}" >"$log" 2>&1 || { failed=1; grep -E '^(FAILED|ERROR)' "$log"; }
    printf '%-34s %s\n' "$name" "$(tail -n 1 "$log")"
}

"$PYTHON" - <<'END' || exit 1
import platform
import torch
from features import kernel
print(f"Python {platform.python_version()}, torch {torch.__version__}, {kernel.status().split(' (')[0]}")
END

tests=(tests/features/test_{parity,parity_others,parity_real,fast,kernel,streaming}.py)
if [ "${1:-}" = --quick ]; then
    try "default kernels, no C kernel" ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 FEATURES_KERNEL=torch
    try "plain C kernel, two threads" FEATURES_KERNEL=plain OMP_NUM_THREADS=2
    exit $failed
fi
tests=(tests/features)
try "as it is" OMP_NUM_THREADS=1
try "two threads" OMP_NUM_THREADS=2
for kernel in avx512 avx2 neon plain torch; do
    "$PYTHON" -c "from features import kernel; kernel.load()" 2>/dev/null || exit 1
    if FEATURES_KERNEL=$kernel "$PYTHON" -c "from features import kernel; kernel.load()" 2>/dev/null; then
        try "FEATURES_KERNEL=$kernel" FEATURES_KERNEL=$kernel
    else
        echo "FEATURES_KERNEL=$kernel: not here"
    fi
done
for threads in 1 2; do
    for kernel in "" torch; do
        for aten in default avx2; do
            try "ATen $aten, $threads thread(s)${kernel:+, no C kernel}" \
                ATEN_CPU_CAPABILITY=$aten FEATURES_KERNEL=$kernel OMP_NUM_THREADS=$threads
        done
        for mkl in SSE4_2 AVX2; do
            try "MKL $mkl, $threads thread(s)${kernel:+, no C kernel}" \
                MKL_ENABLE_INSTRUCTIONS=$mkl FEATURES_KERNEL=$kernel OMP_NUM_THREADS=$threads
        done
    done
done
exit $failed
