#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Include only downward: a folder may include its own headers and those of the folders listed for
# it below; public headers follow the same rule. Within a folder there are rooms, with a rule of
# their own. usage: check_layers.sh ROOT
#
# One exception: base/ctx.c and base/cpu.c include the kernel table and tensor/gemm.h, because the
# first context of a process chooses the instruction set and makes the pool of packing buffers.
set -u
cd "$1" || exit 1
bad=0

declare -A allowed=(
    [base]=""
    [tensor]="base"
    [io]="base tensor"
    [autograd]="base tensor"
    [memory]="base tensor autograd"
    [nn]="base tensor autograd io optim"
    [losses]="base tensor autograd memory"
    [optim]="base tensor autograd"
    [data]="base tensor io autograd"
    [eval]="base tensor io autograd memory nn losses optim data"
    [report]="base tensor io autograd memory nn losses optim data eval"
)
# The folder that a public header belongs to.
declare -A home=(
    [core]=base [tensor]=tensor [op]=autograd [autograd]=autograd [ops]=autograd [io]=io
    [checkpoint]=io [memory]=memory [nn]=nn [heads]=nn [transformer]=nn [losses]=losses
    [recompute]=nn [optim]=optim [data]=data [dataset]=data [inputs]=eval [eval]=eval
    [eval_compare]=eval [eval_classes]=eval [eval_geometry]=eval [eval_retrieval]=eval
    [report]=report [models]=nn [weights]=nn [sequence]=nn [sound]=autograd
    [picture]=data [audio]=data [text]=data [files]=data [cache]=data [study]=report [page]=report
)

complain() {
    echo "$1"
    bad=1
}

exception() {   # FILE INCLUDED
    case "$1 $2" in
        "base/ctx.c tensor/gemm.h" | "base/c"[tp][xu]".c tensor/kernels/kernels.h") return 0 ;;
        # The entries over emulated instructions: built for tests only.
        "tensor/kernels/vector.h simd_emulated.h") return 0 ;;
        "tensor/kernels/split_amx.c amx_emulated.h") return 0 ;;
    esac
    return 1
}

includes() {    # FILE: "line<tab>name" of every include that is not a system header
    grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*("|<akin/)' "$1" |
        sed -E 's/^([0-9]+):[^"<]*["<]([^">]+)[">].*/\1\t\2/'
}

check() {       # FILE LAYER
    local file=$1 layer=$2 number name target
    while IFS=$'\t' read -r number name; do
        exception "$file" "$name" && continue
        if [ "$name" = akin/akin.h ]; then
            complain "$file:$number: <akin/akin.h> is for programs"
            continue
        elif [[ $name == akin/* ]]; then
            target=${name#akin/}
            target=${home[${target%.h}]:-unknown}
        elif [ -f "$(dirname "$file")/$name" ]; then
            target=${file%%/*}
        else
            target=${name%%/*}
        fi
        case " $layer ${allowed[$layer]} " in
            *" $target "*) ;;
            *) complain "$file:$number: $layer/ must not include $name (of $target/)" ;;
        esac
    done < <(includes "$file")
}

for layer in "${!allowed[@]}"; do
    [ -d "$layer" ] || continue
    while read -r file; do
        check "$file" "$layer"
    done < <(find "$layer" -name '*.[ch]' | sort)
done
for file in include/akin/*.h; do
    name=$(basename "$file" .h)
    [ "$name" = akin ] && continue
    if [ -z "${home[$name]:-}" ]; then
        complain "$file: tell check_layers.sh which folder it belongs to"
    else
        check "$file" "${home[$name]}"
    fi
done

# Rooms of losses/. A loss goes to the engine and to what specifications share; these know no loss,
# nor each other.
room() {        # ROOM PATTERN: of headers that its files must not include
    local file number name
    while read -r file; do
        while IFS=$'\t' read -r number name; do
            [ -f "$(dirname "$file")/$name" ] && name=$(realpath --relative-to=. "${file%/*}/$name")
            [[ $name =~ $2 ]] && complain "$file:$number: $1/ must not include $name"
        done < <(includes "$file")
    done < <(find "$1" -name '*.[ch]' | sort)
}
room losses/engine '^losses/(spec/|[^/]*$)'
room losses/spec '^losses/(engine/|[^/]*$)'

# The ways of convolution are chosen in tensor/conv/conv.c: all others see conv.h alone.
while read -r found; do
    complain "$found: the door of tensor/conv/ is conv.h"
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]*/)?conv/' \
    --include='*.[ch]' "${!allowed[@]}" | grep -vE '^tensor/conv/|/conv\.h"')

# Programs use the public headers only, the tool its own as well; benchmarks may look at kernels.
for file in examples/*.c tools/*.c; do
    [ -f "$file" ] || continue
    found=$(grep -nE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$file" |
        grep -v '"tool\.h"$')
    [ -z "$found" ] || complain "$file:$found: programs include <akin/...> only"
done
[ $bad -eq 0 ] && echo "layers: fine"
exit $bad
