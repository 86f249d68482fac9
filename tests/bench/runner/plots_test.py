#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/runner/run's pictures: well-formed, one line a device, nothing outside of its panel."""
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench/runner"))
from plots import count_text, latency_chart, nice_step, percentile_scale, rate_chart, write_plots  # noqa: E402
from svg import LEFT, PANEL_HEIGHT, PANEL_WIDTH, TOP  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
CONDITIONS = {"cpu": "a <fast> CPU & more", "tsc_ghz": 2.5, "dpdk": "DPDK", "commit": "abc", "time": "2026-01-01T00:00:00Z",
              "order": "random", "rounds": 3, "run_seconds": 0.5, "other_work": 0.0, "preemptions_per_second": 0.0}
CURVE = [[0, 1], [0.5, 2], [0.9, 5], [0.99, 20], [0.999, 80], [0.99999, 4000], [0.999999, 5000]]


def point(flows, traffic="both", frame="64", latency=False, distance=320, rounds=3):
    devices = {"macswap": {"median": 12.0, "spread": 0.1, "mpps": [12.0] * rounds}, "vmnat": {"median": 9.0, "spread": 0.0, "mpps": [9.0] * rounds}}
    result = {"flows": flows, "frame": frame, "traffic": traffic, "order": "random", "distance": distance, "devices": devices, "ratios": {}}
    if latency:
        result["latency"] = {name: {"10%": {"curve": [[0.5, 1]]}, "50%": {"curve": CURVE}} for name in devices}
    return result


def document(*points):
    return {"conditions": CONDITIONS, "points": list(points)}


def elements(chart, kind):
    return ElementTree.fromstring(chart.text()).findall(f"{SVG}{kind}")


class Rate(unittest.TestCase):
    def test_each_device_has_a_line_in_each_panel(self):
        chart = rate_chart(document(*[point(flows, traffic) for traffic in ("outbound", "both") for flows in (1, 1000, 10**6)]))
        self.assertEqual(len(chart.panels), 2)
        self.assertEqual(len(elements(chart, "polyline")), 4)

    def test_no_mark_is_outside_of_its_panel(self):
        chart = rate_chart(document(point(1), point(16_000_000)))
        for circle in elements(chart, "circle"):
            self.assertTrue(LEFT <= float(circle.get("cx")) <= LEFT + PANEL_WIDTH)
            self.assertTrue(TOP <= float(circle.get("cy")) <= TOP + PANEL_HEIGHT)
        for line in elements(chart, "line"):
            self.assertGreaterEqual(float(line.get("y1")), 40)

    def test_more_is_higher(self):
        chart = rate_chart(document(point(1), point(1000)))
        first, _, third, _ = [float(circle.get("cy")) for circle in elements(chart, "circle")]
        self.assertLess(first, third)  # macswap's 12 above vmnat's 9

    def test_one_number_of_sessions_is_no_curve(self):
        self.assertIsNone(rate_chart(document(point(1000))))

    def test_a_busy_machine_is_said(self):
        self.assertNotIn("other work", rate_chart(document(point(1), point(10))).text())
        busy = document(point(1), point(10))
        busy["conditions"] = {**CONDITIONS, "other_work": 0.5}
        self.assertIn("other work", rate_chart(busy).text())


class Latency(unittest.TestCase):
    def test_it_shows_the_largest_number_of_sessions_at_half_load(self):
        chart = latency_chart(document(point(1, latency=True), point(5000, latency=True)))
        self.assertIn("5 k sessions", chart.text())
        self.assertIn("at 50% of", chart.text())
        self.assertEqual(len(chart.panels), 1)
        self.assertEqual(len(elements(chart, "polyline")), 2)

    def test_each_nine_takes_the_same_room(self):
        at = [percentile_scale(quantile) for quantile in (0.9, 0.99, 0.999, 0.9999)]
        self.assertAlmostEqual(at[1] - at[0], at[2] - at[1])
        self.assertAlmostEqual(at[2] - at[1], at[3] - at[2])
        self.assertEqual(percentile_scale(0.5), 0)
        self.assertAlmostEqual(percentile_scale(0.99999), 1)

    def test_without_latencies_there_is_no_picture(self):
        self.assertIsNone(latency_chart(document(point(1))))


class Files(unittest.TestCase):
    def test_they_stand_beside_the_result(self):
        with tempfile.TemporaryDirectory() as directory:
            written = write_plots(document(point(1, latency=True), point(100, latency=True)), Path(directory) / "day-host.json")
            self.assertEqual([path.name for path in written], ["day-host-rate.svg", "day-host-latency.svg"])
            for path in written:
                ElementTree.parse(path)


class Ticks(unittest.TestCase):
    def test_steps_are_round(self):
        self.assertEqual([nice_step(top) for top in (13.5, 0.9, 7, 100)], [2, 0.2, 1, 20])

    def test_counts_have_units(self):
        self.assertEqual([count_text(n) for n in (1, 999, 1000, 60_000, 4_000_000)], ["1", "999", "1 k", "60 k", "4 M"])


if __name__ == "__main__":
    unittest.main()
