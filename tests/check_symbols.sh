#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: check_symbols.sh LIBRARY.a LIBRARY.so. Every global symbol starts with ak_ ; the shared
# library exports no internal one (ak__).
set -eu
archive=$1 shared=$2
bad=0
# Compilers and sanitizers add names that begin with '_' or contain a dot: not ours.
found=$(nm --defined-only --extern-only "$archive" | awk 'NF == 3 { print $3 }' |
    grep -vE '^(ak_|_|\.)|\.' | sort -u || true)
[ -z "$found" ] || { echo "global symbols without the prefix ak_:"; echo "$found"; bad=1; }
found=$(nm -D --defined-only --extern-only "$shared" | awk 'NF == 3 { print $3 }' |
    grep -vE '^(ak_[^_]|_|akin)|@' | sort -u || true)
[ -z "$found" ] || { echo "exported although internal:"; echo "$found"; bad=1; }
count=$(nm -D --defined-only --extern-only "$shared" | grep -c ' T ak_' || true)
[ "$count" -gt 100 ] || { echo "only $count public functions found: is this the library?"; bad=1; }
exit $bad
