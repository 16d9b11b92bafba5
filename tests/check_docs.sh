#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: check_docs.sh ROOT AKIN. docs/OPS.md is what the tool writes; files and commands that the
# documents name exist.
set -eu
root=$1 akin=$2
cd "$root"
bad=0
"$akin" ops --markdown | diff -u docs/OPS.md - || {
    echo "docs/OPS.md is stale: build/tools/akin ops --markdown > docs/OPS.md"
    bad=1
}
# Words in back quotes that look like a path of this tree.
for page in README.md CONTRIBUTING.md docs/*.md docs/methods/*.md examples/README.md; do
    for path in $(grep -oE '`[A-Za-z0-9_./-]+`' "$page" | tr -d '`' |
                  grep -E '/|\.(c|h|md|sh)$|^(quickstart|runtests)$' |
                  grep -vE '^(build|runs|/|data/fashion|\$)' || true); do
        [ -e "$path" ] || [ -e "$(dirname "$page")/$path" ] || [ -e "include/$path" ] ||
            { echo "$page names $path, which does not exist"; bad=1; }
    done
    for link in $(grep -oE '\]\([A-Za-z0-9_./-]+\)' "$page" | sed 's/^](//; s/)$//' || true); do
        [ -e "$(dirname "$page")/$link" ] || { echo "$page links to $link"; bad=1; }
    done
done
# Functions that the documents name are declared.
for name in $(grep -ohE '`ak_[a-z0-9_]+\(?' README.md CONTRIBUTING.md docs/*.md docs/methods/*.md |
              tr -d '`(' | sort -u); do
    grep -rqw "$name" include || { echo "documents name $name, which no header has"; bad=1; }
done
for command in ./quickstart ./runtests tools/check.sh; do
    grep -q "$command" README.md CONTRIBUTING.md && [ -x "$command" ] ||
        { echo "$command is not documented or can not be run"; bad=1; }
done
for c in info ops losses kernels augmentations; do
    "$akin" $c >/dev/null || { echo "akin $c fails"; bad=1; }
done
exit $bad
