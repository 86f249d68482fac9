#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The sum over meson's test logs, as one line: `412 passed, 0 failed`, with `, 3 skipped` if there are any.

Counts test cases, GoogleTest's and TAP's alike, as meson's testlog.junit.xml holds them. A test that failed
as a whole (a crash, a timeout, no output at all) counts as one failed case if none of its cases did.
Ends with 1 when anything failed or nothing ran.

    $ tests/total.py build/meson-logs build-asan/meson-logs
"""

import collections
import json
import pathlib
import sys
import xml.etree.ElementTree as xml

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
GOOD_RESULTS = ("OK", "EXPECTEDFAIL", "SKIP")


def outcome_of_case(case) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return FAILED
    if case.find("skipped") is not None or case.get("result") in ("skipped", "suppressed"):
        return SKIPPED
    return PASSED


def count_cases(logs) -> collections.Counter:
    junit = logs / "testlog.junit.xml"
    if not junit.exists():
        return collections.Counter()
    return collections.Counter(outcome_of_case(case) for case in xml.parse(junit).iter("testcase"))


def count_failed_tests(logs) -> int:
    """Tests, not cases, that meson calls failed."""
    results = [json.loads(line)["result"] for line in (logs / "testlog.json").read_text().splitlines()]
    return sum(result not in GOOD_RESULTS for result in results)


def total(directories) -> collections.Counter:
    """Sum over all logs; a directory without a log, where meson did not come so far, is one failure."""
    sums = collections.Counter()
    for logs in map(pathlib.Path, directories):
        if not (logs / "testlog.json").exists():
            sums[FAILED] += 1
            continue
        cases = count_cases(logs)
        cases[FAILED] = max(cases[FAILED], count_failed_tests(logs))
        sums += cases
    return sums


def main():
    sums = total(sys.argv[1:])
    skipped = f", {sums[SKIPPED]} skipped" if sums[SKIPPED] else ""
    print(f"{sums[PASSED]} passed, {sums[FAILED]} failed{skipped}")
    sys.exit(1 if sums[FAILED] or not sums[PASSED] else 0)


if __name__ == "__main__":
    main()
