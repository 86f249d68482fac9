#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/runner/run's arithmetic: medians over rounds, ratios within a round."""
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench/runner"))
from report import text_of  # noqa: E402
from table import LATENCY_FIELDS, merged_connections, merged_points, summary_of  # noqa: E402


def one_round(mpps, flows=(10,)):
    sample = {"mpps": mpps, "loss": 0.25, "generator_busy": 0.5, "device_busy": 0.5, "device_ticks": 0, "frames_per_burst": 32}
    return {"points": [{"flows": n, "frame": 64, "traffic": "both", "order": "random", "samples": [sample]} for n in flows],
            "frames_verified": 7}


def searched_round(ndr, pdr):
    one = one_round(12)
    one["points"][0]["search"] = {"ndr": {"mpps": ndr}, "pdr": {"mpps": pdr}}
    return one


def ticks_round(ticks):
    one = one_round(12)
    one["points"][0]["samples"][0]["device_ticks"] = ticks
    return one


def latency_round(us):
    one = one_round(12)
    run = {field: us for field in LATENCY_FIELDS}
    one["points"][0]["latency"] = [{"load": "50%", **run, "curve": [[0.5, us / 2], [0.99, us]]}]
    return one


def connection_round(rate, completed):
    trial = {"millions_per_second": rate, "attempted": 100, "completed": completed, "generator_busy": 0.5}
    return {**one_round(12), "connections": [{"kind": "tcp", "first": trial, "trials": [trial] * 3}]}


CONDITIONS = {"time": "2026-01-01T00:00:00Z", "host": "lab", "commit": "abc", "cpu": "a CPU", "cpus": 2, "tsc_ghz": 2.5,
              "kernel": "6", "dpdk": "DPDK 22.11.11", "hugepages": True, "worker_cpu": 1, "generator_cpu": 0,
              "control_cpu": 0, "packed": False, "queue_size": 1024, "hosts": 250, "order": "random", "rounds": 3,
              "run_seconds": 0.5, "other_work": 0.0, "preemptions_per_second": 0.0}


class Merging(unittest.TestCase):
    def test_the_ratio_is_taken_within_each_round(self):
        # The machine halves its speed in the second round: the ratio is the same in all.
        results = {"macswap": [one_round(12), one_round(6), one_round(12)], "vmnat": [one_round(9), one_round(4.5), one_round(9)]}
        point, = merged_points(results)
        self.assertEqual(point["ratios"]["macswap"]["median"], 0.75)
        self.assertEqual(point["ratios"]["macswap"]["spread"], 0)
        self.assertEqual(point["devices"]["macswap"]["median"], 12)

    def test_distances_of_the_cpus_are_never_put_together(self):
        # In the second round the host has moved the CPUs between the devices, for the third both.
        def at(mpps, trip):
            one = one_round(mpps)
            one["points"][0]["samples"][0]["line_trip_ticks"] = trip
            return one
        near, far = merged_points({"macswap": [at(12, 300), at(11, 340), at(5, 1600)], "vmnat": [at(9, 320), at(2, 1610), at(4, 1590)]})
        self.assertEqual((near["distance"], far["distance"]), (320, 1600))
        self.assertEqual(near["ratios"]["macswap"]["ratios"], [0.75])
        self.assertEqual(far["ratios"]["macswap"]["ratios"], [0.8])
        self.assertEqual(near["devices"]["macswap"]["mpps"], [12, 11, None])
        self.assertEqual(far["devices"]["vmnat"]["median"], 3)

    def test_a_point_that_one_device_lacks_has_no_ratio(self):
        results = {"macswap": [one_round(12, (10, 1000))], "vmnat": [one_round(9, (10,))]}
        small, large = merged_points(results)
        self.assertIn("macswap", small["ratios"])
        self.assertEqual(large["ratios"], {})

    def test_the_subject_is_compared_with_every_other_device(self):
        point, = merged_points({"macswap": [one_round(12)], "vmnat": [one_round(9)], "ovs": [one_round(1.5)]})
        self.assertEqual({name: ratio["median"] for name, ratio in point["ratios"].items()}, {"macswap": 0.75, "ovs": 6})

    def test_searches_are_merged_goal_by_goal(self):
        point, = merged_points({"macswap": [searched_round(10, 11), searched_round(8, 9)],
                                "vmnat": [searched_round(5, 6), searched_round(4, 7)]})
        self.assertEqual(point["search"]["ndr"]["devices"]["vmnat"]["median"], 4.5)
        self.assertEqual(point["search"]["pdr"]["devices"]["vmnat"]["median"], 6.5)
        self.assertEqual(point["search"]["ndr"]["ratios"]["macswap"]["ratios"], [0.5, 0.5])

    def test_latencies_are_medians_of_each_percentile(self):
        point, = merged_points({"vmnat": [latency_round(us) for us in (3, 9, 4)]})
        run = point["latency"]["vmnat"]["50%"]
        self.assertEqual(run["p99_us"], 4)
        self.assertEqual(run["curve"], [[0.5, 2], [0.99, 4]])

    def test_connection_rates_have_loss_and_ratio(self):
        merged, = merged_connections({"macswap": [connection_round(4, 100)], "vmnat": [connection_round(1, 90)]})
        self.assertEqual(merged["kind"], "tcp")
        self.assertEqual(merged["ratios"]["macswap"]["median"], 0.25)
        self.assertAlmostEqual(merged["devices"]["vmnat"]["loss"], 0.1)

    def test_the_spread_is_half_the_quartile_distance(self):
        summary = summary_of([1.0, 2.0, 3.0, 4.0, 5.0])
        self.assertEqual(summary["median"], 3)
        self.assertAlmostEqual(summary["spread"], 1 / 3)


class Table(unittest.TestCase):
    def document(self, results, faults=()):
        return {"conditions": CONDITIONS, "points": merged_points(results), "connections": merged_connections(results),
                "faults": list(faults), "rounds": results}

    def test_it_says_ratio_and_loss_and_that_all_was_verified(self):
        text = text_of(self.document({"macswap": [one_round(12)], "vmnat": [one_round(9)]}))
        row = next(line for line in text.splitlines() if line.lstrip().startswith("10 "))
        for cell in ("12.00", "9.00", "0.75"):
            self.assertIn(cell, row)
        self.assertIn("lost at most 25.00%", text)
        self.assertIn("7 of vmnat's translations verified", text)
        self.assertNotIn("NOTE", text)

    def test_it_shows_what_else_was_measured_and_only_that(self):
        plain = text_of(self.document({"vmnat": [one_round(9)]}))
        for word in ("NDR", "latency", "connections"):
            self.assertNotIn(word, plain)
        self.assertIn("NDR, Mpps", text_of(self.document({"vmnat": [searched_round(5, 6)]})))
        self.assertIn("50%", text_of(self.document({"vmnat": [latency_round(3)]})))
        self.assertIn("TCP opened and closed", text_of(self.document({"vmnat": [connection_round(1, 90)]})))

    def test_it_marks_rates_at_which_the_generator_was_the_limit(self):
        slow = one_round(12)
        slow["points"][0]["samples"][0]["generator_busy"] = 0.99
        text = text_of(self.document({"macswap": [slow]}))
        self.assertIn("12.00g", text)
        self.assertIn("g  the generator was busy", text)

    def test_it_marks_who_was_busy_all_the_time(self):
        for busy, mark in (({"device_busy": 0.99}, "12.00d"), ({"device_busy": 0.98, "generator_busy": 0.98}, "12.00b"), ({}, "12.00 ")):
            one = one_round(12)
            one["points"][0]["samples"][0].update(busy)
            self.assertIn(mark, text_of(self.document({"macswap": [one]})))

    def test_it_shows_ticks_of_those_who_tell_them(self):
        text = text_of(self.document({"macswap": [ticks_round(180)], "vmnat": [ticks_round(150)], "ovs": [one_round(3)]}))
        self.assertIn("macswap/vmnat", text)
        rows = text[text.index("ticks of the worker"):].splitlines()
        self.assertNotIn("ovs", rows[1])
        row = next(row for row in rows if row.lstrip().startswith("10 "))
        for cell in ("180.00", "150.00", "1.20"):
            self.assertIn(cell, row)
        self.assertNotIn("ticks", text_of(self.document({"ovs": [one_round(3)]})))

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
