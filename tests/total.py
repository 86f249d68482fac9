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


def cases_by_test(junit) -> dict[str, collections.Counter]:
    """Outcomes of each test's own cases. meson names a suite PROJECT.TEST (TAP) or PROJECT.TEST.FIXTURE
    (GoogleTest); the suite PROJECT holds the tests without cases, which are left to results_of_tests()."""
    tests = collections.defaultdict(collections.Counter)
    for suite in xml.parse(junit).iter("testsuite"):
        test = suite.get("name").split(".")[1:2]
        for case in suite.iter("testcase") if test else ():
            tests[test[0]][outcome_of_case(case)] += 1
    return tests


def results_of_tests(logs) -> dict[str, str]:
    records = map(json.loads, (logs / "testlog.json").read_text().splitlines())
    return {record["name"]: record["result"] for record in records}


def count(logs) -> collections.Counter:
    tests = cases_by_test(logs / "testlog.junit.xml")
    for name, result in results_of_tests(logs).items():
        if not tests[name]:
            tests[name][SKIPPED if result == "SKIP" else PASSED if result in GOOD_RESULTS else FAILED] = 1
        elif result not in GOOD_RESULTS and not tests[name][FAILED]:
            tests[name][FAILED] = 1
    return sum(tests.values(), collections.Counter())


def total(directories) -> collections.Counter:
    """Sum over all logs; a directory without a log, where meson did not come so far, is one failure."""
    logs = [pathlib.Path(directory) for directory in directories]
    return sum((count(log) if (log / "testlog.json").exists() else collections.Counter({FAILED: 1}) for log in logs),
               collections.Counter())


def main():
    sums = total(sys.argv[1:])
    skipped = f", {sums[SKIPPED]} skipped" if sums[SKIPPED] else ""
    print(f"{sums[PASSED]} passed, {sums[FAILED]} failed{skipped}")
    sys.exit(1 if sums[FAILED] or not sums[PASSED] else 0)


if __name__ == "__main__":
    main()
