#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""configs/monitoring by Prometheus' own promtool: its configuration, the alerts and when they fire, the queries of the
dashboard; and every metric that they name has its row on docs/metrics.md.

    monitoring_test.py SOURCE_ROOT
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))
MONITORING = ROOT / "configs/monitoring"
SKIPPED = 77


def promtool(*arguments):
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)


def queries(value):
    """Each PromQL text in a dashboard."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("expr", "definition") and isinstance(inner, str):
                yield inner
            else:
                yield from queries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from queries(inner)


def dashboard_queries():
    return list(queries(json.loads((MONITORING / "grafana-dashboard.json").read_text())))


def metrics_named(text):
    return set(re.findall(r"\bvmnat_[a-z0-9_]+", text))


def metrics_on_the_page():
    return set(re.findall(r"^\| `(vmnat_[a-z_]+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))


class Monitoring(unittest.TestCase):
    def check(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_prometheus_takes_its_configuration(self):
        self.check(promtool("check", "config", str(MONITORING / "prometheus.yaml")))

    def test_alerts_fire_for_what_they_are_about_and_for_nothing_else(self):
        with tempfile.TemporaryDirectory() as scratch:
            for file in (MONITORING / "vmnat.rules.yaml", ROOT / "tests/configs/vmnat.rules.test.yaml"):
                shutil.copy(file, scratch)
            self.check(promtool("test", "rules", f"{scratch}/vmnat.rules.test.yaml"))

    def test_each_alert_is_tested(self):
        rules = (MONITORING / "vmnat.rules.yaml").read_text()
        tests = (ROOT / "tests/configs/vmnat.rules.test.yaml").read_text()
        for alert in re.findall(r"- alert: (\w+)", rules):
            self.assertIn(f"alertname: {alert}}}", tests)
            self.assertIn(f'alertname="{alert}"', tests)

    def test_prometheus_understands_each_query_of_the_dashboard(self):
        texts = [query for query in dashboard_queries() if not query.startswith("label_values(")]
        self.assertGreater(len(texts), 40)
        rules = [{"record": f"query:{number}", "expr": re.sub(r"\$\w+", "5m", query)} for number, query in enumerate(texts)]
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
            file.flush()
            self.check(promtool("check", "rules", file.name))

    def test_there_is_each_metric_that_is_named(self):
        known = metrics_on_the_page()
        self.assertGreater(len(known), 80)
        for name in ("grafana-dashboard.json", "vmnat.rules.yaml"):
            self.assertEqual(metrics_named((MONITORING / name).read_text()) - known, set(), name)


if __name__ == "__main__":
    if shutil.which("promtool") is None:
        print("promtool is not installed (package prometheus)")
        sys.exit(SKIPPED)
    unittest.main()
