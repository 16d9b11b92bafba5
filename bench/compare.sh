#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# akin beside PyTorch: builds what is needed, finds a python that has torch, measures both in turn.
set -eu
cd "$(dirname "$0")/.."
build=build-bench python=${AK_PEER_PYTHON:-} options=()

usage() {
    cat <<'USAGE'
bench/compare.sh [--rows REGEX] [--json | --markdown] [--rounds N] [--python PY] [--build DIR] ...
  --rows REGEX    only rows whose name fits (--list shows the names)
  --json          everything measured and the verdicts, instead of the table; --markdown likewise
  --rounds N      turns of each side (5); fewer where one run takes a second
  --python PY     a python with torch; else AK_PEER_PYTHON, python3, or build-bench/venv
  --build DIR     build folder (build-bench: made as a release build)
Others go to bench/compare.py: --seconds S (of a turn), --threads N, --all (rows without a mark),
--compile (PyTorch's steps also compiled), --save FILE, --strict (fails below a mark), --list.
A busy machine: --priority (as root: no other program runs during a turn), --best (best runs, not
medians).
USAGE
}

while [ $# -gt 0 ]; do
    case $1 in
        --python) python=${2:?--python PY} && shift 2 ;;
        --build) build=${2:?--build DIR} && shift 2 ;;
        -h | --help) usage && exit 0 ;;
        *) options+=("$1") && shift ;;
    esac
done

has_torch() {
    command -v "$1" >/dev/null && "$1" -c 'import numpy, torch' 2>/dev/null
}

# MKL and others choose their kernels by the processor, not by what a shell left behind.
unset OPENBLAS_CORETYPE
if [ -z "$python" ]; then
    for candidate in python3 "$PWD/build-bench/venv/bin/python"; do
        if has_torch "$candidate"; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ] || ! has_torch "$python"; then
    cat >&2 <<HELP
compare: ${python:-python3} can not import numpy and torch. PyTorch is needed for this comparison
only. It goes into a folder of its own:
    python3 -m venv build-bench/venv
    build-bench/venv/bin/pip install numpy pillow
    build-bench/venv/bin/pip install torch      # its CPU build
or name a python that has it: --python PY, or AK_PEER_PYTHON=PY.
HELP
    exit 2
fi

if [ ! -f "$build/build.ninja" ]; then
    meson setup "$build" --buildtype=release -Dtests=false -Dexamples=false >&2
fi
ninja -C "$build" bench/bench_serve bench/bench_start >&2
exec "$python" bench/compare.py --build "$build" "${options[@]}"
