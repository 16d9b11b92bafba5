#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tools/claims on a study whose claims hold, on one whose claims do not, on programs that fail, are
# killed, are silent or are not there. usage: claims.sh TOOL MAKE_STUDY
set -u
claims=$(realpath "$1") study=$(realpath "$2")
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
export AK_RUNS="$folder/runs"
bad=0
program() {         # program NAME SETTING...: a program of this name
    local name=$1
    shift
    printf '#!/bin/sh\nexec env STUDY_NAME=%s %s "%s" "$@"\n' "$name" "$*" "$study" >"$name"
    chmod +x "$name"
}
program good STUDY_GAIN=0.3
program equal STUDY_GAIN=0
program fails STUDY_FAILS=1
program silent STUDY_SILENT=1
printf '#!/bin/sh\necho "study x: "; echo "claim a: shown   (b)"; kill -9 $$\n' >killed
printf '#!/bin/sh\necho "claim a: perhaps   (b)"\n' >garbled
printf '#!/bin/sh\necho "claim a: shown   (b)"; exit 1\n' >torn
chmod +x killed garbled torn
printf '# two studies\n\n./good --resume\n./equal --resume' >list

try() {             # try CODE PATTERN ARGUMENT...: also into $out
    local code=$1 pattern=$2 got
    shift 2
    out=$("$claims" "$@" 2>err)
    got=$?
    [ $got -eq "$code" ] && cat err - <<<"$out" | grep -qE -- "$pattern" && return
    echo "claims $*: code $got, not $code, or no \"$pattern\" in: $out $(cat err)"
    bad=1
}
try 0 '^1 programs, 2 claims: 2 shown, 0 not shown$' ./good
try 0 '^better  good   shown      new is better \(than old\): accuracy of new against old: ' ./good
try 0 '^usable  good   shown      accuracy of old: gain' ./good
try 1 '^better  equal  not shown  new is better ' ./good ./equal
try 1 '^2 programs, 4 claims: 3 shown, 1 not shown$' ./good ./equal
try 1 '^2 programs, 4 claims: 3 shown, 1 not shown$' --list list
try 0 '^better  good-quick' ./good -- --quick --seeds 4
try 1 '^better  equal-quick  not shown' ./equal -- --quick --seeds 4   # a trial is not passed
try 3 '^failed: ./fails: ended with code 3$' ./fails ./good
try 3 '^better  good   shown ' ./fails ./good           # the others are still run
try 3 '^failed: ./silent: makes no claim$' ./silent
try 3 '^failed: ./killed: ended with code 137$' ./killed
try 3 '^failed: ./garbled: not understood: claim a: perhaps' ./garbled
try 3 '^failed: ./torn: ended with code 1, but' ./torn
try 3 '^failed: ./none: ended with code 127$' ./none
try 3 '^failed: ./good: ended with code 2$' ./good -- --sedes 3
try 2 'no program is given'
try 2 'unknown option: --seeds' ./good --seeds 3
try 2 'no file that can be read' --list nowhere
grep -q ' $' <<<"$("$claims" ./good 2>/dev/null)" && { echo "lines end with blanks"; bad=1; }
exit $bad
