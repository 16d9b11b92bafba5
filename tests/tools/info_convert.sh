#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# akin info and akin convert: files there and back, every module's tree, and what is refused.
# usage: info_convert.sh AKIN
set -u
akin=$(realpath "$1")
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
bad=0

# What a command prints must fit an extended regular expression, and its code must be `code`.
expect() {      # CODE PATTERN ARGUMENT...
    local code=$1 pattern=$2 text got
    shift 2
    text=$("$akin" "$@" 2>&1)
    got=$?
    if [ $got -ne "$code" ] || ! grep -qE -- "$pattern" <<<"$text"; then
        echo "akin $*: code $got, not $code, or no \"$pattern\" in:"
        echo "$text"
        bad=1
    fi
}

# A safetensors file of floats: its length as 8 bytes, the header, the data.
header='{"a.d":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},'
header+='"a.k":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]}}'
{
    printf "\\x$(printf '%02x' ${#header})\0\0\0\0\0\0\0%s" "$header"
    printf '\0\0\200\77\0\0\0\100\0\0\100\100\0\0\200\100\0\0\240\100\0\0\300\100'
} >m.safetensors

expect 0 '^a\.d +F32 +\[1,2\] +8$' info m.safetensors
expect 0 '^2 arrays, 6 numbers, 24 bytes$' info m.safetensors
expect 0 '^a/k -> a/k  f4 \[2,2\]$' convert m.safetensors m.npz
expect 0 '^a/d +f4 +\[1,2\] +8$' info m.npz
expect 0 'a/k' convert m.npz m.ckpt
expect 0 '^m\.ckpt: weights$' info m.ckpt
expect 0 'a\.k' convert m.ckpt back.safetensors
expect 0 '^metadata  convolutions: channels last$' info back.safetensors
tail -c 24 m.safetensors | cmp - <(tail -c 24 back.safetensors) ||
    { echo "the numbers are others after three conversions"; bad=1; }
printf '# joined\na.{d,k} all axis=0 shares=1,2   # one behind the other\n' >map
expect 0 '^a/d \+ a/k -> all  f4 \[3,2\]$' convert m.safetensors one.npz --map map
expect 0 '^a/d \+ a/k -> all ' convert m.safetensors --map map --dry-run
expect 0 '^d -> d ' convert m.safetensors short.safetensors --prefix a.
expect 0 '^a/d' convert m.safetensors only.npz --ignore 'a.k'
expect 0 '^1 arrays, 2 numbers, 8 bytes$' info only.npz

# What is refused, with the reason.
printf 'a.d\n' >half
expect 2 '^akin: half:1: no pair' convert m.safetensors x.npz --map half
expect 2 'map \. can not be read' convert m.safetensors x.npz --map .
expect 2 'one --map at most' convert m.safetensors x.npz --map map --map map
expect 2 'is not understood' convert m.safetensors x.npz --what
expect 2 '^usage: akin convert' convert m.safetensors
expect 1 'ends with none' convert m.safetensors x.txt
expect 1 'no such file' convert none x.npz
expect 1 'begins with .prefix' convert m.safetensors x.npz --prefix b.
expect 1 'fits "b"' convert m.safetensors x.npz --ignore b
head -c 40 m.safetensors >cut
expect 1 'no safetensors file, or damaged' info cut
expect 1 'no safetensors file, or damaged' convert cut x.npz
expect 2 'a file has no options' info m.npz --width
[ -e x.npz ] && { echo "a refused conversion left a file"; bad=1; }

# Every module by its name, which the message about an unknown one lists.
names=$("$akin" info no-such-name 2>&1 | sed 's/.*name: *//')
[ $(wc -w <<<"$names") -ge 4 ] || { echo "no names of modules in: $names"; bad=1; }
for name in $names; do
    expect 0 "^$name  .* [0-9]+ +[0-9.]+( [kMG])? +[0-9.]+( [kMG])?" info "$name" --batch 2
    expect 2 'has no option --no-such' info "$name" --no-such 3
    expect 2 '--batch is a number' info "$name" --batch 0
done
expect 0 '^resnet50 .* 25557032 ' info resnet50 --stem 7 --classes 1000 --input 64x64x3
expect 0 '^resnet34 .* 21797672 ' info resnet34 --stem 7 --classes 1000 --input 64x64x3
expect 0 '^resnet18 .* 11689512 ' info resnet18 --stem 7 --classes 1000 --input 64x64x3
expect 2 'needs a whole number' info resnet18 --width 3,4
expect 2 'is given twice' info resnet18 --width 3 --width 4
expect 1 'channels must be 2 to 8 numbers' info convnet --channels 1,2,3,4,5,6,7,8,9
exit $bad
