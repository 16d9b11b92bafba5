#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The documents tell the truth: docs/OPS.md is what the tool writes, docs/ENCODERS.md what the
# tests' table of modules says; the files, commands, functions and links that pages name exist;
# the tool's commands run. usage: check_docs.sh ROOT AKIN PRINT_MODULES
set -u
root=$1 akin=$(realpath "$2") print_modules=$(realpath "$3")
cd "$root" || exit 1
bad=0
complain() {
    echo "$1"
    bad=1
}

if ! "$akin" ops --markdown | diff -u docs/OPS.md -; then
    complain "docs/OPS.md is stale: build/tools/akin ops --markdown > docs/OPS.md"
fi
if ! "$print_modules" | diff -u docs/ENCODERS.md -; then
    complain "docs/ENCODERS.md is stale: build-test/tests/modules/print_modules > docs/ENCODERS.md"
fi
for command in info ops losses kernels; do
    "$akin" $command >/dev/null || complain "akin $command fails"
done
for command in ./quickstart ./runtests tools/check.sh; do
    [ -x "$command" ] || complain "$command can not be run"
    grep -qF -- "$command" README.md CONTRIBUTING.md || complain "$command is not documented"
done

mapfile -t pages < <(find README.md CONTRIBUTING.md NEWS.md docs examples -name '*.md' | sort)
exists() {      # PAGE PATH
    [ -e "$2" ] || [ -e "$(dirname "$1")/$2" ] || [ -e "include/$2" ] && return
    case $2 in      # a file name alone: names are unique in the tree
        */*) return 1 ;;
        *) find . -path './build*' -prune -o -name "$2" -print | grep -q . ;;
    esac
}
for page in "${pages[@]}"; do
    # Words between back quotes that look like a path of this tree, and targets of links.
    while read -r path; do
        exists "$page" "$path" || complain "$page names $path, which does not exist"
    done < <(grep -oE '`(\./)?[A-Za-z0-9_-][A-Za-z0-9_./-]*`' "$page" | tr -d '`' |
        grep -E '/|\.(c|h|md|sh|py|build)$|^(quickstart|runtests)$' |
        grep -vE '^(build|runs)[-/]|^/' | sort -u)
    while read -r path; do
        [ -e "$(dirname "$page")/$path" ] || complain "$page links to $path, which does not exist"
    done < <(grep -oE '\]\([A-Za-z0-9_./-]+[)#]' "$page" | sed -E 's/^..(.*).$/\1/' | sort -u)
    # Programs in blocks of commands: a source of the same name.
    while read -r program; do
        name=$(basename "$program")
        exists "$page" "examples/$name.c" || exists "$page" "tools/$name.c" ||
            exists "$page" "bench/$name.c" || [ "$name" = NAME ] ||
            complain "$page runs $program, which is not built"
    done < <(grep -oE 'build(-[a-z]+)?/(examples|tools|bench)/[A-Za-z0-9_]+' "$page" | sort -u)
    # Functions and types.
    while read -r name; do
        grep -rqwF -- "$name" include base tensor autograd memory losses nn optim data io eval \
            report examples tools tests ||
            complain "$page names $name, which no source has"
    done < <(grep -oE '`(ak_|ak__|AK_)[A-Za-z0-9_]+' "$page" | tr -d '`' | grep -v '_$' | sort -u)
done
[ $bad -eq 0 ] && echo "docs: ${#pages[@]} pages fine"
exit $bad
