#!/usr/bin/env bash
# The tests of the front end's numbers under other kernels, as other processors have them:
#   tests/kernels.sh [--quick]
# Eleven settings: as it is, and pairs of every C kernel, ATen's and MKL's instructions and number
# of threads (each value meets each other one in some setting; torch alone, which leans on ATen and
# MKL most, meets two more). Two settings at a time, some 25 s of one core each. --quick (what CI
# runs) takes the two that are furthest from the default, and parity alone: 30 s of two cores.
# PYTHON: the interpreter (default python3), so that several can be tried; DATA: a folder of real
# speech; JOBS: settings at a time (2). Prints how many tests of each setting passed, failed and
# were skipped, and fails where one failed. A kernel that this processor lacks is named, not tried.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHON=${PYTHON:-python3} PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
unset FEATURES_KERNEL FEATURES_FAST ATEN_CPU_CAPABILITY MKL_ENABLE_INSTRUCTIONS
# two settings of two threads each on two cores: a thread that spins while it waits stops the others
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 FOLDER
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT

tests="parity parity_others fast kernel streaming"
[ "${1:-}" = --quick ] || tests+=" parity_real"
TESTS=$(for name in $tests; do echo "tests/features/test_$name.py"; done)
export TESTS

wide=$("$PYTHON" - <<'END'
import platform
import torch
from features import kernel
print(f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}")
print(kernel.load()[0].name if kernel.load()[0] else "none")
END
) || exit 1
echo "${wide%$'\n'*}"
wide=${wide##*$'\n'}

try() { # kernel, ATen's instructions, MKL's, threads; "-" leaves one as it is
    local setting=() name="kernel $1, ATen $2, MKL $3, $4 thread(s)" log
    log=$FOLDER/$1-$2-$3-$4
    [ "$1" = - ] || setting+=("FEATURES_KERNEL=$1")
    [ "$2" = - ] || setting+=("ATEN_CPU_CAPABILITY=$2")
    [ "$3" = - ] || setting+=("MKL_ENABLE_INSTRUCTIONS=$3")
    setting+=("OMP_NUM_THREADS=$4")
    if ! env "${setting[@]}" "$PYTHON" -c "from features import kernel; kernel.load()" 2>/dev/null; then
        echo "$name: this processor or build lacks the kernel"
        return
    fi
    env "${setting[@]}" "$PYTHON" -m pytest -q -p no:cacheprovider \
        -o addopts=--import-mode=importlib --disable-warnings ${DATA:+--data="$DATA"} \
        $TESTS >"$log" 2>&1 || { touch "$FOLDER/failed"; grep -E '^(FAILED|ERROR|E  )' "$log" | cut -c1-400; }
    echo "$name: $(tail -n 1 "$log")"
}
export -f try

if [ "${1:-}" = --quick ]; then
    settings=("torch default SSE4_2 1" "plain - - 2")
else
    case $wide in avx512 | neon) ;; *) wide=avx512 ;; esac
    settings=(
        "- - - 1"
        "torch default SSE4_2 1" "torch avx2 AVX2 2" "torch default AVX2 2" "torch avx2 SSE4_2 1"
        "plain default SSE4_2 2" "plain avx2 AVX2 1"
        "avx2 default AVX2 1" "avx2 avx2 SSE4_2 2"
        "$wide default AVX2 2" "$wide avx2 SSE4_2 1"
    )
fi
printf '%s\n' "${settings[@]}" | xargs -P "${JOBS:-2}" -I{} bash -c 'try $1' _ {}
[ ! -e "$FOLDER/failed" ]
