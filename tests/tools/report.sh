#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# akin report: a page of a folder with hostile names, NaN and damaged lines; opened by a browser in
# both themes without a message on its console. usage: report.sh AKIN MAKE_RUN
set -u
akin=$(realpath "$1") make_run=$(realpath "$2")
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
bad=0
complain() {
    echo "$1"
    bad=1
}

mkdir study && "$make_run" study || exit 1
cp study/plain/settings.json study/
"$akin" report study >out 2>notes || complain "akin report: code $?: $(cat notes)"
grep -q '^study/report.html  0\.[0-9]* MB$' out || complain "unexpected: $(cat out)"
grep -q 'study.jsonl: 2 damaged lines left out, the first is line 8' notes ||
    complain "no word of damaged lines: $(cat notes)"
page=study/report.html
[ "$(stat -c %s $page)" -lt 5000000 ] || complain "the page is too large"
grep -oE '(src|href)="?(https?:)?//' $page && complain "the page names another place"
[ "$(grep -o '<script' $page | wc -l)" -eq 2 ] || complain "a name became a script"
[ "$(grep -o '</script' $page | wc -l)" -eq 2 ] || complain "a name ended a script"
"$akin" report study --out again.html >/dev/null 2>&1
cmp $page again.html || complain "the same folder gives two pages"

refused() {     # CODE PATTERN ARGUMENT...
    local code=$1 pattern=$2 text got
    shift 2
    text=$("$akin" report "$@" 2>&1)
    got=$?
    [ $got -eq "$code" ] && grep -qE -- "$pattern" <<<"$text" ||
        complain "akin report $*: code $got, not $code, or no \"$pattern\" in: $text"
}
mkdir empty damaged
head -c 900 study/embedding.npz >damaged/embedding.npz
refused 2 '^usage: akin report'
refused 2 'is not understood' study --points 0
refused 1 'there is no folder none' none
refused 1 'empty has no metrics.jsonl' empty
refused 1 'damaged/embedding.npz' damaged

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if [ -z "$browser" ]; then
    [ $bad -eq 0 ] || exit 1
    echo "SKIPPED: no chromium is installed, so the page was not opened (apt-get install chromium)"
    exit 77
fi
for theme in light dark; do
    options=(--headless --no-sandbox --disable-gpu --user-data-dir="$folder/profile"
        --enable-logging=stderr --virtual-time-budget=5000)
    [ $theme = dark ] && options+=(--blink-settings=preferredColorScheme=0)
    timeout 120 "$browser" "${options[@]}" --dump-dom "file://$folder/$page" >dom 2>log ||
        complain "the browser ends with code $?: $(tail -n 5 log)"
    grep -E 'CONSOLE|Uncaught|Refused to' log && complain "^ on the console, $theme"
    grep -q 'data-done="yes"' dom || complain "the script did not come to its end, $theme"
    grep -q '<title>study' dom || complain "a name took the title, $theme"
    grep -q '<img' dom && complain "a name became a picture"
    for word in '✓ shown' 'id="arms"' 'id="curves"' 'id="map"' 'id="near"' '✗ ' 'id="settings"' \
        'damaged lines' 'leave gaps' '&lt;b&gt;other&lt;/b&gt;' 'pairs of equal seeds'; do
        grep -qF -- "$word" dom || complain "the page does not show \"$word\", $theme"
    done
    [ "$(grep -oE '<path d="M[^"]*" fill="none"' dom | wc -l)" -eq 4 ] ||
        complain "there are not two curves of two runs, $theme"
    [ "$(grep -o 'class="plane" [^>]*' dom | grep -c 'aria-label')" -eq 1 ] ||
        complain "the map has no text"
    grep -oE '<svg[^>]*role="img"[^>]*>' dom | grep -v aria-label && complain "^ has no text"
done
exit $bad
