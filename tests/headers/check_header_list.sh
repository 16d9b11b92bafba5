#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The list of headers in meson.build is the folder include/akin, and akin.h includes every one.
# usage: check_header_list.sh FOLDER NAME...
set -u
folder=$1
shift
bad=0

in_folder=$(cd "$folder" && printf '%s\n' *.h | sort)
in_list=$(printf '%s.h\n' "$@" | sort)
if [ "$in_folder" != "$in_list" ]; then
    echo "tests/headers/meson.build and include/akin differ (< list, > folder):"
    diff <(echo "$in_list") <(echo "$in_folder")
    bad=1
fi
for name in $in_folder; do
    if [ "$name" != akin.h ] && ! grep -q "#include <akin/$name>" "$folder/akin.h"; then
        echo "include/akin/akin.h does not include <akin/$name>"
        bad=1
    fi
done
exit $bad
