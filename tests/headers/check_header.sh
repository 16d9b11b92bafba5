#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: check_header.sh ROOT HEADER c11|c++17. One public header must compile alone, twice included.
set -eu
root=$1 header=$2 language=$3
case $language in
c11) compiler=(cc -x c -std=c11 -Wstrict-prototypes) ;;
*)   compiler=(c++ -x c++ -std=c++17)
     command -v c++ >/dev/null || { echo "no C++ compiler"; exit 77; } ;;
esac
for bits in 32 64; do
    printf '#include <akin/%s.h>\n#include <akin/%s.h>\nint main() { return 0; }\n' "$header" \
        "$header" | sed "$([ "$language" = c11 ] && echo 's/main()/main(void)/')" |
        "${compiler[@]}" -DAK_REAL_BITS=$bits -Wall -Wextra -Wpedantic -Wundef -Werror \
            -I"$root/include" -fsyntax-only -
done
