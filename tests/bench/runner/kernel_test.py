#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/runner/kernel.py's arithmetic: ratios to the kernel, targets, and gateways that let nothing through."""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench/runner"))
from kernel import Row, faults_of, merged_row, text_of  # noqa: E402

RATE = Row("tcp", "Gbit/s", "gbits", 0.7, 1.0)
TIME = Row("latency", "us", "p50_us", 1.2, 0.8, less_is_better=True)
CONDITIONS = {"time": "2026-01-01T00:00:00Z", "host": "lab", "commit": "abc", "cpu": "a CPU", "cpus": 2, "kernel": "6",
              "hugepages": True, "worker_cpu": 1, "endpoint_cpu": 0, "rounds": 2, "run_seconds": 1.0, "other_work": 0.0}


def rounds(*values, field="gbits", **more):
    return [{"tcp": {field: value, **more}} for value in values]


class Targets(unittest.TestCase):
    def test_more_or_less_is_better_as_the_row_says(self):
        self.assertEqual([RATE.verdict(ratio) for ratio in (1.0, 0.7, 0.69)], ["aim", "must", "missed"])
        self.assertEqual([TIME.verdict(ratio) for ratio in (0.8, 1.2, 1.21)], ["aim", "must", "missed"])

    def test_nothing_meets_no_target(self):
        self.assertEqual((RATE.verdict(None), TIME.verdict(None)), ("missed", "missed"))

    def test_a_row_without_targets_has_no_verdict(self):
        self.assertEqual(Row("p99", "us", "p99_us").verdict(3.0), "")


class Merging(unittest.TestCase):
    def test_ratios_are_taken_within_a_round(self):
        devices = merged_row(RATE, "tcp", {"kernel": rounds(10, 5), "vmnat": rounds(8, 4)})["devices"]
        self.assertEqual(devices["vmnat"]["ratio"]["ratios"], [0.8, 0.8])
        self.assertEqual((devices["vmnat"]["median"], devices["vmnat"]["verdict"]), (6, "must"))

    def test_a_round_with_a_fault_counts_in_no_ratio(self):
        results = {"kernel": rounds(10, 10), "vmnat": [{"tcp": {"fault": "nothing came"}}, *rounds(12)]}
        self.assertEqual(merged_row(RATE, "tcp", results)["devices"]["vmnat"]["ratio"]["ratios"], [1.2])

    def test_a_fault_is_told_once_with_its_rounds(self):
        broken = [{"tcp": {"fault": "nothing came"}}] * 2
        self.assertEqual(faults_of({"kernel": rounds(1, 1), "vmnat": broken}), ["vmnat: tcp: nothing came (2 of 2 rounds)"])


class Text(unittest.TestCase):
    def text(self, results):
        return text_of({"conditions": CONDITIONS, "rows": [merged_row(RATE, "tcp", results)], "faults": faults_of(results),
                        "rounds": results})

    def test_it_has_medians_ratios_and_the_verdict(self):
        text = self.text({"kernel": rounds(10, 10), "vmnat": rounds(8, 8)})
        for part in ("10.000", "8.000", "x 0.80", "0.7  1.0  must"):
            self.assertIn(part, text)

    def test_a_gateway_that_lets_nothing_through_has_missed(self):
        text = self.text({"kernel": rounds(10, 10), "vmnat": [{"gateway": {"fault": "did not start"}}] * 2})
        for part in (f"{'-':>21}", "missed", "vmnat: gateway: did not start (2 of 2 rounds)"):
            self.assertIn(part, text)

    def test_it_marks_where_the_sender_was_the_limit(self):
        self.assertIn("8.000*", self.text({"kernel": rounds(10, 10), "vmnat": rounds(8, 8, delivered=1.0)}))
        self.assertNotIn("*", self.text({"kernel": rounds(10, 10), "vmnat": rounds(8, 8, delivered=0.5)}))

    def test_without_the_kernel_there_are_rates_alone(self):
        text = self.text({"vmnat": rounds(8, 8)})
        self.assertIn("8.000", text)
        self.assertNotIn("missed", text)


if __name__ == "__main__":
    unittest.main()
