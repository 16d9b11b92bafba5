#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The one command to remember: tools/check.sh quick | full | fuzz | long
set -u
. "$(dirname "$0")/setup.sh"

usage() {
    cat <<'TEXT'
usage: tools/check.sh quick | full | fuzz | long

quick   unit, grad, kernel, headers, hygiene: before every commit
full    every suite, once per instruction set; clang with sanitizers: before asking for review
fuzz    a minute of fuzzing of each parser: after a change to one
long    full, valgrind over the examples, a minute of fuzzing each, benchmarks: before a release
TEXT
}

quick() {
    setup_packages build test
    build_gcc && run_tests build-test "${QUICK[@]}" || count_failure "gcc build"
}

full() {
    local level
    setup_packages build test clang data
    if build_gcc; then
        run_tests build-test
        for level in ref avx2 avx512; do
            say "AK_CPU=$level"
            AK_CPU=$level run_tests build-test --suite unit --suite golden --suite learn
        done
    else
        count_failure "gcc build"
    fi
    build_sanitized && run_tests build-sanitized --no-suite learn || count_failure "clang build"
}

fuzz() {
    local program name corpus
    setup_packages build test clang
    if ! build_in build-fuzz clang -Dfuzz=true -Dexamples=false -Dbench=false -Db_lundef=false \
        -Db_sanitize=address,undefined; then
        count_failure "build for fuzzing"
        return
    fi
    for program in build-fuzz/tests/fuzz/fuzz_*; do
        [ -f "$program" ] && [ -x "$program" ] || continue
        name=$(basename "$program")
        corpus=$(mktemp -d)
        say "$name, 60 seconds"
        if "$program" -max_total_time=60 -verbosity=0 "$corpus" "tests/fuzz/corpus/${name#fuzz_}"
        then
            PASSED=$((PASSED + 1))
        else
            count_failure "$name"
        fi
        rm -rf "$corpus"
    done
}

long() {
    local program
    full
    setup_packages long
    for program in build-test/examples/0*; do
        [ -f "$program" ] && [ -x "$program" ] || continue
        say "valgrind $program"
        if AK_CPU=ref AK_STEPS=2 OMP_NUM_THREADS=1 AK_RUNS=$(mktemp -d) valgrind -q \
            --error-exitcode=9 --leak-check=full "$program" >/dev/null; then
            PASSED=$((PASSED + 1))
        else
            count_failure "valgrind $program"
        fi
    done
    fuzz
    meson test -C build-test --benchmark --verbose || count_failure "benchmarks"
}

case "${1:-}" in
    quick | full | fuzz | long) "$1" ;;
    *) usage; exit 2 ;;
esac
finish
