#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: check_layers.sh ROOT. The include rule: a folder includes private headers only of itself and
# of the folders named here; programs include <akin/...> only.
set -eu
cd "$1"
bad=0

allow() {           # FOLDER ALLOWED...
    local folder=$1 found
    shift
    [ -d "$folder" ] || return 0
    found=$(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"' "$folder" \
        --include='*.c' --include='*.h' | grep '/' |
        grep -vE "include[[:space:]]+\"($(IFS='|'; echo "$folder $*" | sed 's/ /|/g'))\b" |
        grep -E 'include[[:space:]]+"[a-z_]+/' || true)
    if [ -n "$found" ]; then
        echo "$folder may include only: $folder $*"
        echo "$found"
        bad=1
    fi
}

allow base     tensor/kernels tensor/gemm.h   # ctx.c opens the kernels and their buffers
allow tensor   base kernels
allow io       base tensor
allow autograd base tensor
allow nn       base tensor autograd
allow losses   base tensor autograd
allow optim    base tensor autograd
allow data     base tensor io
allow eval     base tensor autograd io nn data
allow report   base tensor autograd

for folder in examples tools bench; do      # programs: public headers only
    [ -d "$folder" ] || continue
    found=$(grep -rnE '^#include "' "$folder" --include='*.c' --include='*.h' |
        grep -E 'include "[a-z_]+/' | grep -vE "include \"$folder/" || true)
    [ "$folder" = bench ] && found=$(echo "$found" | grep -vE '"(base|tensor)/' || true)
    [ -z "$found" ] || { echo "$folder may include <akin/...> only"; echo "$found"; bad=1; }
done

# Public headers of the layers above are out of reach as well.
upward() {          # FOLDER HEADER-ALTERNATIVES
    [ -d "$1" ] || return 0
    local found
    found=$(grep -rnE "^#include <akin/($2)\.h>" "$1" --include='*.c' --include='*.h' || true)
    [ -z "$found" ] || { echo "$1 includes upward"; echo "$found"; bad=1; }
}
above='nn|losses|optim|data|eval|report|akin'
upward base     "tensor|op|ops|autograd|io|checkpoint|$above"
upward tensor   "autograd|io|checkpoint|$above"
upward autograd "io|checkpoint|$above"
upward io       "autograd|$above"
upward nn       "losses|optim|data|eval|report|akin"
upward losses   "nn|optim|data|eval|report|akin"
upward optim    "nn|losses|data|eval|report|akin"
upward data     "nn|losses|optim|eval|report|akin"
upward eval     "losses|optim|report|akin"
upward report   "nn|losses|optim|data|eval|akin"
exit $bad
