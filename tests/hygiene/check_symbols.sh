#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the library shows to the linker: the shared one exports ak_ names only and every function
# that a public header declares; the static one has no global without the prefix.
# usage: check_symbols.sh ROOT libakin.so libakin.a
set -u
export LC_ALL=C
root=$1 shared=$2 static=$3
bad=0

exported=$(nm -D --defined-only "$shared" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u)
if [ -z "$exported" ]; then
    echo "$shared exports nothing"
    exit 1
fi
strange=$(grep -vE '^ak_[a-z0-9]' <<<"$exported")
if [ -n "$strange" ]; then
    echo "$shared exports names that are not public:" $strange
    bad=1
fi

strange=$(nm -g --defined-only "$static" 2>/dev/null | awk 'NF == 3 { print $3 }' |
    grep -vE '^ak_' | sort -u)
if [ -n "$strange" ]; then
    echo "$static has globals without the prefix ak_:" $strange
    bad=1
fi

# Declared: the name before the first bracket after AK_API. ak_open carries the element type.
declared=$(cat "$root"/include/akin/*.h | sed -nE 's/^AK_API [^(]*\b(ak_[a-z0-9_]+)\(.*/\1/p' |
    sed 's/^ak_open$/ak_open_r32/' | sort -u)
missing=$(comm -23 <(echo "$declared") <(echo "$exported"))
if [ -n "$missing" ]; then
    echo "declared in include/akin but not in $shared:" $missing
    bad=1
fi
undeclared=$(comm -13 <(echo "$declared") <(echo "$exported"))
if [ -n "$undeclared" ]; then
    echo "exported, but no public header declares it:" $undeclared
    bad=1
fi
[ $bad -eq 0 ] && echo "symbols: $(wc -l <<<"$exported") exported, all declared"
exit $bad
