#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: check_install.sh ROOT BUILD. Installs into a temporary prefix; a program outside the tree
# builds with pkg-config's flags and runs, against the shared and the static library.
set -eu
root=$1 build=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
prefix=$(meson introspect "$build" --buildoptions |
    python3 -c 'import json,sys; print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))')
DESTDIR=$dir meson install -C "$build" --no-rebuild >"$dir/log" || { cat "$dir/log"; exit 1; }
base=$dir$prefix
pc=$(find "$base" -name akin.pc)
[ -n "$pc" ] || { echo "no akin.pc was installed"; exit 1; }
for header in "$root"/include/akin/*.h; do
    [ -f "$base/include/akin/$(basename "$header")" ] || { echo "$header not installed"; exit 1; }
done
cat >"$dir/prog.c" <<'C'
#include <akin/akin.h>
#include <stdio.h>
int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(2), (ak_real[]){ 3, 4 }));
    ak_backward(ak_sum(ak_square(x)));
    const int good = x->grad[1] == 8;
    printf("%s %g\n", ak_version(), (double)x->grad[1]);
    return ak_close(ctx) == AK_OK && good ? 0 : 1;
}
C
sanitize=$(meson introspect "$build" --buildoptions |
    python3 -c 'import json,sys; print(next((o["value"] for o in json.load(sys.stdin) if o["name"] == "b_sanitize"), "none"))')
[ "$sanitize" = none ] && flags= || flags=-fsanitize=$sanitize
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=$dir
PKG_CONFIG_PATH=$(dirname "$pc")
cc -std=c11 -Wall -Werror $flags "$dir/prog.c" $(pkg-config --cflags --libs akin) -o "$dir/prog"
lib=$(dirname "$(find "$base" -name 'libakin.so' | head -1)")
LD_LIBRARY_PATH=$lib "$dir/prog"
# The static one: what pkg-config --static adds is taken from the system, so no sysroot for it.
static=$(PKG_CONFIG_SYSROOT_DIR= pkg-config --static --libs-only-l akin)
cc -std=c11 $flags "$dir/prog.c" $(pkg-config --cflags akin) "$lib/libakin.a" \
    $(echo "$static" | sed 's/-lakin//') $(pkg-config --static --libs-only-other akin) -fopenmp \
    -o "$dir/prog-static"
"$dir/prog-static"
[ -x "$base/bin/akin" ] || { echo "the tool akin was not installed"; exit 1; }
LD_LIBRARY_PATH=$lib "$base/bin/akin" check l2_normalize
