#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: check_style.sh ROOT. No tabs, trailing blanks, carriage returns or lines above 100 columns;
# the SPDX line at the head; a newline at the end; no marks of unfinished work.
set -eu
cd "$1"
export LC_ALL=C.UTF-8
bad=0
complain() {        # TEXT LINES
    [ -z "$2" ] || { echo "$1:"; echo "$2" | head -20; bad=1; }
}

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    all=$(git ls-files --cached --others --exclude-standard)
else
    all=$(find . -type f -not -path './.git/*' -not -path './build*' | sed 's|^\./||')
fi
code=$(echo "$all" | grep -E '\.(c|h|sh|py)$|meson\.build$|meson_options\.txt$|^(quickstart|runtests|\.ci/run)$')
code=$(for f in $code; do [ -f "$f" ] && echo "$f"; done)

complain "tabs" "$(grep -nP '\t' $code | head -20 || true)"
complain "trailing blanks" "$(grep -nE '[[:space:]]+$' $code | head -20 || true)"
complain "lines above 100 columns" "$(grep -nE '^.{101,}' $code | head -20 || true)"
complain "unfinished" "$(grep -nE '(TO''DO|FIX''ME|XX''X)' $code | head -20 || true)"
complain "without SPDX line" "$(for f in $code; do
    head -3 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$f"; done)"
complain "no newline at the end" "$(for f in $code; do
    [ -s "$f" ] && [ -n "$(tail -c1 "$f")" ] && echo "$f"; done || true)"
complain "examples of 100 lines or more" "$(wc -l examples/*.c | awk '$2 != "total" && $1 >= 100' || true)"
complain "system allocator outside base/arena.c" "$(grep -nE '(^|[^a-z_])(malloc|calloc|realloc|free) *\(' \
    $(echo "$code" | grep -E '^(base|tensor|autograd|nn|losses|optim|data|io|eval|report)/.*\.c$') |
    grep -v '^base/arena.c' | grep -vE '^\S+:\s*(/?\*|//)' || true)"
# File names are unique across the library.
complain "file names used twice" "$(echo "$code" |
    grep -E '^(base|tensor|autograd|nn|losses|optim|data|io|eval|report)/.*\.c$' |
    xargs -n1 basename | sort | uniq -d)"
exit $bad
