#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: check_listed.sh ROOT. Every public header is in the list of this folder and in akin.h.
set -eu
cd "$1"
bad=0
for path in include/akin/*.h; do
    name=$(basename "$path" .h)
    grep -q "'$name'" tests/headers/meson.build || { echo "$path: not in tests/headers"; bad=1; }
    [ "$name" = akin ] || grep -q "^#include <akin/$name.h>" include/akin/akin.h ||
        { echo "$path: not included by akin.h"; bad=1; }
done
exit $bad
