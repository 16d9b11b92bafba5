# SPDX-License-Identifier: Apache-2.0
# Functions of quickstart, runtests, tools/check.sh and .ci/run: packages, builds, counting tests.
# Sourced by bash scripts; changes to the root of the tree.

AK_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$AK_ROOT" || exit 1
export LC_ALL=C.UTF-8

say() { printf '== %s\n' "$*"; }

# packages_of CATEGORY...: their packages, from the list.
packages_of() {
    awk -v want=" $* " '!/^#/ && NF >= 2 && index(want, " " $1 " ") { print $2 }' \
        tools/packages.txt
}

# packages_missing PACKAGE...: those that are not installed.
packages_missing() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            echo "$package"
    done
}

# apt_install PACKAGE...: without questions; the list of packages is fetched once.
apt_install() {
    export DEBIAN_FRONTEND=noninteractive
    if [ -z "${AK_APT_UPDATED:-}" ]; then
        apt-get update -q -o DPkg::Lock::Timeout=300 || say "apt-get update failed, going on"
        AK_APT_UPDATED=1
    fi
    apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

# No <(..) here: that needs /dev/fd, which a bare system in a chroot without /proc has not.

# setup_packages CATEGORY...: install what is missing. Without the rights to do so, print the line
# that does it and exit 1; missing data is only a warning.
setup_packages() {
    local category
    local -a need=() data=() line
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system: the programs and libraries of tools/packages.txt must be there"
        return 0
    fi
    for category in "$@"; do
        if [ "$category" = data ]; then
            data=($(packages_missing $(packages_of data)))
        else
            need+=($(packages_missing $(packages_of "$category")))
        fi
    done
    [ ${#need[@]} -eq 0 ] && [ ${#data[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        line=(sudo apt-get update "&&" sudo apt-get install -y --no-install-recommends)
        if [ ${#need[@]} -gt 0 ]; then
            say "packages are missing; run this line, then start again:"
            printf '%s\n' "${line[*]} ${need[*]} ${data[*]}"
            exit 1
        fi
        say "the data set is missing (going on with drawn pictures); this line installs it:"
        printf '%s\n' "${line[*]} ${data[*]}"
        return 0
    fi
    if [ ${#need[@]} -gt 0 ]; then
        say "installing ${need[*]}"
        if ! apt_install "${need[@]}"; then
            say "apt-get could not install: ${need[*]}"
            exit 1
        fi
    fi
    if [ ${#data[@]} -gt 0 ]; then
        say "installing ${data[*]}"
        apt_install "${data[@]}" || say "warning: no ${data[*]}: going on with drawn pictures"
    fi
}

# build_in FOLDER COMPILER MESON-OPTION...: configure (once) and build.
build_in() {
    local folder=$1 compiler=$2
    shift 2
    if [ ! -f "$folder/build.ninja" ]; then
        CC=$compiler meson setup "$folder" "$@" || return 1
    fi
    ninja -C "$folder" -j "$(nproc)"
}

# build_gcc, build_sanitized: the two builds that tests run in. Leaks are not looked for: the test
# runner forks and ends children early.
build_gcc() { build_in build-test gcc -Dbuildtype=debugoptimized -Dwerror=true; }
build_sanitized() {
    build_in build-sanitized clang -Dbuildtype=debugoptimized -Dwerror=true -Db_lundef=false \
        -Db_sanitize=address,undefined -Dbench=false
}

PASSED=0
FAILED=0
# The suites that take seconds.
QUICK=(--suite unit --suite grad --suite kernel --suite headers --suite hygiene)

# run_tests FOLDER MESON-TEST-OPTION...: run and count into PASSED and FAILED.
run_tests() {
    local folder=$1 passed failed skipped
    shift
    rm -f "$folder/meson-logs/testlog.json"
    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
        meson test -C "$folder" --no-rebuild --print-errorlogs "$@" </dev/null
    read -r passed failed skipped <<<"$(python3 tools/count_tests.py \
        "$folder/meson-logs/testlog.json")"
    PASSED=$((PASSED + ${passed:-0}))
    FAILED=$((FAILED + ${failed:-1}))
    say "$folder: ${passed:-0} passed, ${failed:-1} failed, ${skipped:-0} skipped"
}

# count_failure WHAT: a step that is no test went wrong.
count_failure() {
    say "failed: $*"
    FAILED=$((FAILED + 1))
}

# finish: the closing line; true if nothing failed and something passed.
finish() {
    printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
    [ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
}
