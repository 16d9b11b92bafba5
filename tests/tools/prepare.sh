#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tools/prepare on a made-up set: made once, gone on with where it was killed, damage told and
# mended. $1: the root of the tree.
set -u
cd "$1" || exit 1
AK_DATA=$(mktemp -d)
export AK_DATA AK_PREPARE_SCRIPTS=tests/tools/prepare.d TINY_LOG=$AK_DATA/log
trap 'rm -rf "$AK_DATA"' EXIT
failed=0

expect() {      # expect WHAT TEXT: the last output says TEXT
    case $out in
        *"$2"*) ;;
        *) echo "$1: \"$2\" is not said in: $out"; failed=1 ;;
    esac
}
drawn() { wc -l <"$TINY_LOG"; }
run() { out=$(tools/prepare "$@" 2>&1); code=$?; }

run --list
expect list "a few pictures, words and tones"
expect list "not there"
run nothing
expect "a set that is not there" 'there is no set "nothing"; there are: tiny'
[ "$code" -ne 0 ] || { echo "a set that is not there ends well"; failed=1; }

# Killed after the first pictures: the second run does not draw these again.
: >"$TINY_LOG"
(TINY_SLEEP=0.4 exec setsid tools/prepare tiny >/dev/null 2>&1) &
parts() { find "$AK_DATA/.work" -name 'pictures-*' ! -name '*.tmp' 2>/dev/null | wc -l; }
for _ in $(seq 200); do
    [ "$(parts)" -ge 1 ] && break
    sleep 0.05
done
kill -KILL -- -$! 2>/dev/null
wait 2>/dev/null
[ -e "$AK_DATA/tiny" ] && { echo "a killed run left a cache"; failed=1; }
before=$(parts)
: >"$TINY_LOG"
run tiny
expect make "12 entries"
expect make "left out"
expect make "there is no fifth picture"
[ "$code" -eq 0 ] || { echo "it was not made: $out"; failed=1; }
[ "$before" -ge 1 ] && [ "$(drawn)" -eq $((5 - before)) ] ||
    { echo "$before of 5 were there, $(drawn) were drawn again"; failed=1; }
diff -r tests/data/cache "$AK_DATA/tiny" || { echo "not what tests/data/cache is"; failed=1; }

: >"$TINY_LOG"
run tiny
expect again "is there, and every byte is as it was made"
[ "$(drawn)" -eq 0 ] || { echo "a second run draws"; failed=1; }

printf 'x' | dd of="$AK_DATA/tiny/caption.npy" bs=1 seek=140 conv=notrunc status=none
run --check
expect damage "damaged: caption.npy; making it again"
diff -r tests/data/cache "$AK_DATA/tiny" || { echo "damage is not mended"; failed=1; }
rm "$AK_DATA/tiny/SHA256SUMS"
run tiny
expect sums "SHA256SUMS is missing; making it again"
run --check tiny
expect check "every byte is as it was made"
exit $failed
