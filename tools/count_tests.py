# SPDX-License-Identifier: Apache-2.0
"""Sum up Meson's test logs: "N passed, N failed". A Criterion program counts with its own tests."""
import json
import re
import sys

SYNTHESIS = re.compile(r"Tested: *(\d+).*?Passing: *(\d+).*?Failing: *(\d+).*?Crashing: *(\d+)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def count(test):
    """(passed, failed) of one entry of testlog.json."""
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    if test["result"] == "SKIP":
        return 0, 0
    text = COLOUR.sub("", test.get("stdout", "") + test.get("stderr", ""))
    found = SYNTHESIS.findall(text)
    if not found:
        return int(good), int(not good)
    passed = sum(int(f[1]) for f in found)
    failed = sum(int(f[2]) + int(f[3]) for f in found)
    return passed, failed if good else max(failed, 1)


def main():
    passed = failed = 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as log:
            for line in log:
                p, f = count(json.loads(line))
                passed, failed = passed + p, failed + f
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
