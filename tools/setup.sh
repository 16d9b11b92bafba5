# SPDX-License-Identifier: Apache-2.0
# Sourced by quickstart, runtests, tools/check.sh: packages and build folders. Not a program.

packages_of() {     # CATEGORY...: their packages
    local list
    list=$(printf '%s|' "$@")
    sed -n -E "s/^(${list%|})[[:space:]]+//p" "$root/tools/packages.txt"
}

missing_packages() {    # CATEGORY...: those not installed
    local package
    for package in $(packages_of "$@"); do
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed' ||
            echo "$package"
    done
}

# CATEGORY...: installs what is missing; without the rights prints the one line to run.
need_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        echo "Not a Debian system; these packages' contents are needed:" $(packages_of "$@") >&2
        return 0
    fi
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "Some packages are missing. Run this line, then start again:" >&2
        echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing" >&2
        return 1
    fi
    echo "installing: $missing"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing; } >/dev/null || {
        echo "apt-get could not install: $missing" >&2
        return 1
    }
}

# FOLDER ARGUMENT...: configure a build folder, or change its options.
configure() {
    local folder=$1
    shift
    if [ -f "$folder/build.ninja" ]; then
        meson configure "$folder" "$@" >/dev/null
    else
        meson setup "$folder" "$root" "$@" >"$folder.log" 2>&1 || {
            cat "$folder.log" >&2
            return 1
        }
        mv "$folder.log" "$folder/meson-logs/setup.log"
    fi
}

build() {           # FOLDER: compile, quietly unless it fails
    ninja -C "$1" >"$1/meson-logs/compile.log" 2>&1 || {
        cat "$1/meson-logs/compile.log" >&2
        return 1
    }
}
