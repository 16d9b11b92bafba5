#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a contributor runs.
#   tools/check.sh quick    before every commit: unit, grad, kernel, headers, hygiene (a minute or two)
#   tools/check.sh full     before review: every test; every AK_CPU level; gcc and clang without a
#                           warning; the quick suites under AddressSanitizer and UBSan
#   tools/check.sh long     before a release: full, then valgrind, fuzzing and the benchmarks
# The last line is "N passed, N failed", summed over all of it.
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
. tools/setup.sh
size=${1:-quick}
quick_suites="--suite unit --suite grad --suite kernel --suite headers --suite hygiene"
logs=()
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

stage() {           # a step that is not a test program counts as one test
    local name=$1 result=OK
    shift
    echo "== $name"
    "$@" || result=FAIL
    printf '{"name": "%s", "result": "%s"}\n' "$name" "$result" >>"$work/stages.json"
    [ $result = OK ] || echo "FAILED: $name"
    [ $result = OK ]
}

tests() {           # NAME FOLDER ARGUMENT...: meson test, its log kept
    local name=$1 folder=$2
    shift 2
    echo "== $name"
    meson test -C "$folder" --no-rebuild --print-errorlogs --logbase "testlog-$name" "$@" ||
        echo "FAILED: $name"
    logs+=("$folder/meson-logs/testlog-$name.json")
}

with_compiler() {   # COMPILER FOLDER ARGUMENT...: configure with warnings as errors, build
    local compiler=$1 folder=$2
    shift 2
    CC=$compiler configure "$folder" -Dwerror=true "$@" && build "$folder"
}

sanitized() {
    stage "build with sanitizers" with_compiler gcc build-asan --buildtype=debugoptimized \
        -Db_sanitize=address,undefined -Dbench=false -Dexamples=false || return
    ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        tests asan build-asan --timeout-multiplier 10 $quick_suites --suite abuse
}

levels() {          # the unit and golden tests on every instruction set of this machine
    local level
    for level in ref avx2; do
        AK_CPU=$level tests "cpu-$level" build --suite unit --suite golden
    done
}

long_checks() {
    local program
    if command -v valgrind >/dev/null; then
        for program in 01_tensors 02_gradients 06_custom_op; do
            stage "valgrind $program" env AK_CPU=ref OMP_NUM_THREADS=1 valgrind -q \
                --error-exitcode=9 "build/examples/$program"
        done
    else
        echo "valgrind is not installed: skipped"
    fi
    if command -v clang >/dev/null && [ -d tests/fuzz ]; then
        stage "build fuzzers" with_compiler clang build-fuzz -Dfuzz=true -Dbench=false \
            -Dexamples=false && for program in build-fuzz/tests/fuzz/fuzz_*; do
            [ -x "$program" ] && [ -f "$program" ] &&
                stage "fuzz $(basename "$program")" "$program" -max_total_time=60 "$work"
        done
    fi
    meson test -C build --benchmark --no-rebuild --verbose
}

case $size in
quick | full | long) ;;
*) echo "usage: tools/check.sh quick|full|long" >&2; exit 2 ;;
esac

need_packages build test || exit 1
[ "$size" = quick ] || need_packages check data || exit 1
stage "build with gcc" with_compiler gcc build --buildtype=release -Db_ndebug=false -Dtests=true
if [ "$size" = quick ]; then
    tests quick build $quick_suites
else
    tests all build
    levels
    stage "build with clang" with_compiler clang build-clang --buildtype=debugoptimized
    sanitized
fi
[ "$size" = long ] && long_checks
python3 tools/count_tests.py "$work/stages.json" "${logs[@]}"
