#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/run's arithmetic: medians over rounds, ratios within a round."""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
from table import merged_points, summary_of, text_of  # noqa: E402


def one_round(mpps, flows=(10,)):
    sample = {"mpps": mpps, "loss": 0.25, "generator_busy": 0.5}
    return {"points": [{"flows": n, "frame": 64, "traffic": "both", "order": "random", "samples": [sample]} for n in flows],
            "frames_verified": 7}


CONDITIONS = {"time": "2026-01-01T00:00:00Z", "host": "lab", "commit": "abc", "cpu": "a CPU", "cpus": 2, "tsc_ghz": 2.5,
              "kernel": "6", "dpdk": "DPDK 22.11.11", "hugepages": True, "worker_cpu": 1, "generator_cpu": 0,
              "control_cpu": 0, "packed": False, "queue_size": 1024, "hosts": 250, "order": "random", "rounds": 3,
              "run_seconds": 0.5, "other_work": 0.0, "preemptions_per_second": 0.0}


class Merging(unittest.TestCase):
    def test_the_ratio_is_taken_within_each_round(self):
        # The machine halves its speed in the second round: the ratio is the same in all.
        results = {"macswap": [one_round(12), one_round(6), one_round(12)], "vmnat": [one_round(9), one_round(4.5), one_round(9)]}
        point, = merged_points(results)
        self.assertEqual(point["ratio"]["median"], 0.75)
        self.assertEqual(point["ratio"]["spread"], 0)
        self.assertEqual(point["devices"]["macswap"]["median"], 12)

    def test_a_point_that_one_device_lacks_has_no_ratio(self):
        results = {"macswap": [one_round(12, (10, 1000))], "vmnat": [one_round(9, (10,))]}
        small, large = merged_points(results)
        self.assertIn("ratio", small)
        self.assertNotIn("ratio", large)

    def test_the_spread_is_half_the_quartile_distance(self):
        summary = summary_of([1.0, 2.0, 3.0, 4.0, 5.0])
        self.assertEqual(summary["median"], 3)
        self.assertAlmostEqual(summary["spread"], 1 / 3)


class Table(unittest.TestCase):
    def document(self, results, faults=()):
        return {"conditions": CONDITIONS, "points": merged_points(results), "faults": list(faults), "rounds": results}

    def test_it_says_ratio_and_loss_and_that_all_was_verified(self):
        text = text_of(self.document({"macswap": [one_round(12)], "vmnat": [one_round(9)]}))
        row = next(line for line in text.splitlines() if line.lstrip().startswith("10 "))
        for cell in ("12.00", "9.00", "0.75", "25.00%"):
            self.assertIn(cell, row)
        self.assertIn("7 of vmnat's translations verified", text)
        self.assertNotIn("NOTE", text)

    def test_it_lists_faults_instead(self):
        text = text_of(self.document({"macswap": [one_round(12)], "vmnat": [one_round(9)]}, ["vmnat: 3 frames: wrong UDP checksum"]))
        self.assertIn("wrong UDP checksum", text)
        self.assertNotIn("no fault", text)

    def test_it_warns_of_a_busy_machine(self):
        document = self.document({"macswap": [one_round(12)]})
        document["conditions"] = {**CONDITIONS, "other_work": 0.4}
        self.assertIn("NOTE: the machine did other work: 40%", text_of(document))


if __name__ == "__main__":
    unittest.main()
