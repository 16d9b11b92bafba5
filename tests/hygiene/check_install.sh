#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# meson install into an empty place; then programs outside the tree build with the flags of
# pkg-config, C and C++, against the shared and the static library, and run.
# usage: check_install.sh ROOT BUILD PREFIX
set -eu
root=$1 build=$2 prefix=$3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

DESTDIR=$dir meson install -C "$build" --no-rebuild >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
pc=$(find "$dir$prefix" -name akin.pc)
shared=$(find "$dir$prefix" -name libakin.so)
static=$(find "$dir$prefix" -name libakin.a)
for file in "$pc" "$shared" "$static" "$dir$prefix/bin/akin"; do
    [ -f "$file" ] || { echo "akin.pc, libakin.so, libakin.a or akin was not installed"; exit 1; }
done
diff -r "$root/include/akin" "$dir$prefix/include/akin"

# The tool starts from its prefix as it is, and says which library it found.
env -u LD_LIBRARY_PATH "$dir$prefix/bin/akin" info >"$dir/info" 2>&1 ||
    { cat "$dir/info"; echo "the installed akin does not start"; exit 1; }
found=$(env -u LD_LIBRARY_PATH ldd "$dir$prefix/bin/akin" | awk '/libakin/ { print $3 }')
[ "$(readlink -f "$found")" = "$(readlink -f "$shared")" ] ||
    { echo "the installed akin took $found, not $shared"; exit 1; }
env -u LD_LIBRARY_PATH "$dir$prefix/bin/akin" check square >"$dir/info" 2>&1 ||
    { cat "$dir/info"; echo "the installed akin check does not find akin64"; exit 1; }

cat >"$dir/prog.c" <<'C'
#include <akin/akin.h>
#include <stdio.h>
int main()
{
    ak_options options = { 1 };
    ak_ctx *ctx = ak_open(options);
    ak_real values[] = { 3, 4 };
    ak_shape shape = { 1, { 2 } };
    ak_tensor *x = ak_require_grad(ak_from(ctx, shape, values));
    ak_backward(ak_sum(ak_square(x)));
    printf("%s: %g %g\n", ak_version(), (double)x->grad[0], (double)x->grad[1]);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
C
cp "$dir/prog.c" "$dir/prog.cpp"

PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
# The files stand below DESTDIR, not yet where akin.pc says.
flags() { pkg-config --define-variable=prefix="$dir$prefix" "$@" akin; }
LD_LIBRARY_PATH=$(dirname "$shared")
export LD_LIBRARY_PATH
expect() {      # PROGRAM
    local output
    output=$("$1")
    echo "$(basename "$1"): $output"
    [ "${output#*: }" = "6 8" ] || { echo "expected 6 8"; exit 1; }
}

${CC:-cc} -std=c11 "$dir/prog.c" $(flags --cflags --libs) -o "$dir/shared-c"
expect "$dir/shared-c"
if command -v c++ >/dev/null; then
    c++ -std=c++17 "$dir/prog.cpp" $(flags --cflags --libs) -o "$dir/shared-c++"
    expect "$dir/shared-c++"
fi
rm "$shared"    # what is left is the static library
${CC:-cc} -std=c11 "$dir/prog.c" $(flags --static --cflags --libs) -o "$dir/static-c"
expect "$dir/static-c"
if ldd "$dir/static-c" | grep libakin; then
    echo "the static program needs the shared library"
    exit 1
fi
