#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Count the tests of one meson run: passed failed skipped.

A program written with Criterion counts with the number of tests that it says it ran, any other
program as one. Usage: count_tests.py build/meson-logs/testlog.json
"""
import json
import re
import sys

SYNTHESIS = re.compile(r"Tested:\s*(\d+).*?Passing:\s*(\d+).*?Failing:\s*(\d+).*?Crashing:\s*(\d+)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def count(test):
    """(passed, failed, skipped) of one meson test."""
    if test["result"] == "SKIP":
        return 0, 0, 1
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    output = COLOUR.sub("", (test.get("stdout") or "") + "\n" + (test.get("stderr") or ""))
    found = SYNTHESIS.findall(output)
    if not found:
        return (1, 0, 0) if good else (0, 1, 0)
    passed = sum(int(f[1]) for f in found)
    failed = sum(int(f[2]) + int(f[3]) for f in found)
    if not good and failed == 0:  # a time-out, or an exit code that no test explains
        failed = 1
    return passed, failed, 0


def main():
    totals = [0, 0, 0]
    try:
        with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
            for line in log:
                for i, n in enumerate(count(json.loads(line))):
                    totals[i] += n
    except OSError as error:
        print(f"count_tests: {error}", file=sys.stderr)
        totals[1] = 1
    print(*totals)


if __name__ == "__main__":
    main()
