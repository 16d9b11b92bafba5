#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The one command to remember: tools/check.sh quick | full | fuzz | long | peer
set -u
. "$(dirname "$0")/setup.sh"

usage() {
    cat <<'TEXT'
usage: tools/check.sh quick | full | fuzz | long | peer

quick   unit, grad, kernel, headers, hygiene: before every commit
full    every suite, once per instruction set; clang with sanitizers: before asking for review
fuzz    a minute of fuzzing of each parser: after a change to one
long    full, valgrind over the examples, a minute of fuzzing each, benchmarks: before a release
peer    thousands of random graphs against PyTorch in double, and in float on every instruction
        set; golden files of other shapes, those of models too; models of timm and transformers
        by their own weights; picture files, sizes and changes of Pillow; measures of scikit-learn:
        after work on ops, losses, models, pictures and measures. AK_GRAPH_SEEDS=from-to chooses
        others; AK_PEER_PYTHON names a python that has PyTorch and the other libraries (else one is
        made in build-peer/venv)
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
    say "coverage of intervals, 20000 simulated sets of each kind"
    AK_COVERAGE_RUNS=20000 build-test/tests/unit/test_eval_compare --filter '*/intervals_cover' &&
        PASSED=$((PASSED + 1)) || count_failure "coverage of intervals"
    fuzz
    meson test -C build-test --benchmark --verbose || count_failure "benchmarks"
}

PEER_TORCH=2.13.0
PEER_TRANSFORMERS=5.24.0

# peer_python: prints a python that has PyTorch, installed if need be.
peer_python() {
    local python=${AK_PEER_PYTHON:-build-peer/venv/bin/python}
    if [ -z "${AK_PEER_PYTHON:-}" ] && ! [ -f build-peer/ready ]; then
        { python3 -m venv build-peer/venv &&
            build-peer/venv/bin/pip install --quiet numpy "torch==$PEER_TORCH" &&
            build-peer/venv/bin/pip install --quiet "transformers==$PEER_TRANSFORMERS" &&
            build-peer/venv/bin/pip install --quiet --no-deps torchvision pillow timm &&
            build-peer/venv/bin/pip install --quiet librosa scikit-learn &&
            touch build-peer/ready; } >&2 || return 1
    fi
    echo "$python"
}

peer() {
    local python seeds=${AK_GRAPH_SEEDS:-1001-4000} list=$PWD/tests/graphs/seeds.txt
    local graphs=build-test/tests/graphs/graph
    setup_packages build test peer
    if ! python=$(peer_python); then
        count_failure "PyTorch $PEER_TORCH could not be installed into build-peer/venv"
        return
    fi
    if ! build_gcc; then
        count_failure "gcc build"
        return
    fi
    say "graphs $seeds in double and in float"
    AK_GRAPH_SEEDS=$seeds "$graphs" --check 0 0 "$list" && PASSED=$((PASSED + 1)) ||
        count_failure "graphs: builds and instruction sets"
    say "graphs $seeds against PyTorch"
    (set -o pipefail
     AK_GRAPH_SEEDS=$seeds "$graphs" --json 0 0 "$list" | "$python" tests/peer/graphs.py) &&
        PASSED=$((PASSED + 1)) || count_failure "graphs: PyTorch"
    say "golden files of other shapes and options"
    local folder=build-peer/golden build name
    mkdir -p "$folder"
    if ! "$python" tests/peer/golden.py "$folder" ||
        ! "$python" tests/peer/golden_losses.py "$folder"; then
        count_failure "golden files could not be made"
        return
    fi
    if ! "$python" tests/peer/logmel.py "$folder"; then
        count_failure "golden files of mel spectra could not be made"
    fi
    local heads=build-peer/golden-heads
    mkdir -p "$heads" && cp tests/golden/*.npz "$heads"
    if ! "$python" tests/peer/resnet.py "$heads" large ||
        ! "$python" tests/peer/golden_models.py "$heads"; then
        count_failure "golden files of models could not be made"
    fi
    for build in golden golden64; do
        for name in heads transformer; do
            AK_GOLDEN_DIR=$PWD/$heads "build-test/tests/golden/test_${build}_$name" &&
                PASSED=$((PASSED + 1)) || count_failure "$build: $name"
        done
        for name in layers ops losses sequence; do
            AK_GOLDEN_DIR=$PWD/$folder "build-test/tests/golden/test_${build}_$name" &&
                PASSED=$((PASSED + 1)) || count_failure "$build: $name"
        done
    done
    local pictures=build-peer/pictures
    mkdir -p "$pictures"
    say "pictures: files, sizes and changes of Pillow"
    if "$python" tests/peer/pictures.py "$pictures" 1; then
        for name in picture_files picture_files-double picture_views picture_views-double; do
            AK_TEST_DATA=$PWD/$pictures "build-test/tests/unit/test_$name" &&
                PASSED=$((PASSED + 1)) || count_failure "pictures: $name"
        done
    else
        count_failure "pictures could not be made"
    fi
    for name in transformers_models timm_vit; do
        say "$name: weights and words of another library"
        "$python" "tests/peer/$name.py" build-test/tests/peer/client &&
            PASSED=$((PASSED + 1)) || count_failure "$name"
    done
    say "measures of scikit-learn and scipy"
    "$python" tests/peer/measures.py build-test/tests/peer/measures && PASSED=$((PASSED + 1)) ||
        count_failure "measures"
}

case "${1:-}" in
    quick | full | fuzz | long | peer) "$1" ;;
    *) usage; exit 2 ;;
esac
finish
