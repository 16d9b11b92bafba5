#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What an eye overlooks: tabs, trailing blanks, long lines, missing licence line, loose ends, two
# sources of one name, long examples, memory taken past the library's allocator.
# usage: check_style.sh ROOT
set -u
export LC_ALL=C.UTF-8
cd "$1" || exit 1
bad=0

# complain TEXT PATTERN FILE...: the lines that match, if any.
complain() {
    local text=$1 pattern=$2
    shift 2
    [ $# -gt 0 ] || return 0
    if grep -nP "$pattern" /dev/null "$@"; then
        echo "^ $text"
        bad=1
    fi
}

mapfile -t all < <(find . \( -name .git -o -name 'build*' -o -name runs -o -name __pycache__ \) \
    -prune -o -type f -printf '%P\n' | sort)
text=() code=() sources=()
for file in "${all[@]}"; do
    case $file in
        *.c | *.h) code+=("$file") text+=("$file") sources+=("$file") ;;
        *.sh | *.py | *meson.build | meson_options.txt | tools/packages.txt | quickstart | \
            runtests | .ci/run) code+=("$file") text+=("$file") ;;
        *.md | .editorconfig | .clang-format | .gitignore) text+=("$file") ;;
    esac
done

complain "tab" '\t' "${text[@]}"
complain "blanks at the end of a line" '[ \t\r]+$' "${text[@]}"
complain "more than 100 columns" '^.{101,}' "${code[@]}"
complain "loose end" '\b(TO''DO|FIX''ME|XX''X)\b' "${text[@]}"
complain "// comment" '^\s*//(?!/)' "${sources[@]}"

for file in "${code[@]}"; do
    if ! head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0'; then
        echo "$file: no SPDX line at the top"
        bad=1
    fi
done

for file in "${text[@]}"; do
    if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then
        echo "$file: the last line does not end"
        bad=1
    fi
done

library=()
for file in "${sources[@]}"; do
    case $file in
        base/* | tensor/* | autograd/* | io/* | memory/* | nn/* | losses/* | optim/* | data/* | \
            eval/* | report/*) library+=("$file") ;;
        examples/*.c)
            if [ "$(wc -l <"$file")" -ge 100 ]; then
                echo "$file: 100 lines or more"
                bad=1
            fi
            ;;
    esac
done

twice=$(printf '%s\n' "${library[@]}" | grep '\.c$' | sed 's@.*/@@' | sort | uniq -d)
if [ -n "$twice" ]; then
    echo "more than one source of this name:" $twice
    bad=1
fi

# Every byte comes through ak__malloc, which counts and can be told to fail.
taken=$(printf '%s\n' "${library[@]}" | grep -v '^base/arena\.c$' |
    xargs grep -nP '(?<![\w.>])(malloc|calloc|realloc|free|strdup|aligned_alloc)\s*\(' |
    grep -vP '^\S+?:\d+:\s*(/\*|\*)')
if [ -n "$taken" ]; then
    echo "$taken"
    echo "^ the system allocator outside base/arena.c"
    bad=1
fi
[ $bad -eq 0 ] && echo "style: ${#text[@]} files fine"
exit $bad
