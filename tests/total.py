#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What failed in meson's test logs, and the sum, as the last line: `412 passed, 0 failed`, with `, 3 skipped` if there
are any.

A log of thousands of lines may be cut before anybody reads it; what failed stands with its first lines of evidence
where the end is.

Counts test cases, GoogleTest's and TAP's alike, as meson's testlog.junit.xml holds them. A test that failed
as a whole (a crash, a timeout, no output at all) counts as one failed case if none of its cases did.
Ends with 1 when anything failed or nothing ran.

    $ tests/total.py build/meson-logs build-asan/meson-logs
"""

import collections
import json
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
EVIDENCE = 12  # lines of each failure
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2; meson writes output as it came
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
    for suite in xml.fromstring(NOT_XML.sub("?", junit.read_text(errors="replace"))).iter("testsuite"):
        test = suite.get("name").split(".")[1:2]
        for case in suite.iter("testcase") if test else ():
            tests[test[0]][outcome_of_case(case)] += 1
    return tests


def records_of(logs) -> list[dict]:
    return [json.loads(line) for line in (logs / "testlog.json").read_text().splitlines()]


def count(logs) -> collections.Counter:
    tests = cases_by_test(logs / "testlog.junit.xml")
    for name, result in ((record["name"], record["result"]) for record in records_of(logs)):
        if not tests[name]:
            tests[name][SKIPPED if result == "SKIP" else PASSED if result in GOOD_RESULTS else FAILED] = 1
        elif result not in GOOD_RESULTS and not tests[name][FAILED]:
            tests[name][FAILED] = 1
    return sum(tests.values(), collections.Counter())


def failures_of(record) -> list[str]:
    """A failed test as lines: of TAP each failed case with what was said of it, of others the end of the output."""
    output = record.get("stdout", "").splitlines()
    lines, said = [], []
    for line in output:
        if line.startswith("not ok"):
            lines += [line, *said[:EVIDENCE]]
        said = [*said, line] if line.startswith("#") else []
    return lines or [*output, *record.get("stderr", "").splitlines()][-EVIDENCE:]


def tell_failures(logs):
    for record in records_of(logs):
        if record["result"] not in GOOD_RESULTS:
            print(f"\n{record['name']}: {record['result']}", *failures_of(record), sep="\n  ")


def total(directories) -> collections.Counter:
    """Sum over all logs; a directory without a log, where meson did not come so far, is one failure."""
    logs = [pathlib.Path(directory) for directory in directories]
    return sum((count(log) if (log / "testlog.json").exists() else collections.Counter({FAILED: 1}) for log in logs),
               collections.Counter())


def main():
    for logs in map(pathlib.Path, sys.argv[1:]):
        if (logs / "testlog.json").exists():
            tell_failures(logs)
    sums = total(sys.argv[1:])
    skipped = f", {sums[SKIPPED]} skipped" if sums[SKIPPED] else ""
    print(f"{sums[PASSED]} passed, {sums[FAILED]} failed{skipped}")
    sys.exit(1 if sums[FAILED] or not sums[PASSED] else 0)


if __name__ == "__main__":
    main()
