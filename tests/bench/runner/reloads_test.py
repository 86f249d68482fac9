#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/runner/reloads.py: the files that are reloaded, the admin protocol's answers, and when a run is not as it should be."""
import io
import json
import sys
import unittest
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "bench/runner"))
from devices import DeviceError, Setting, answer_to  # noqa: E402
from reloads import ReloadedVmnatd, missed  # noqa: E402


class Answers(io.StringIO):
    """What is written to it is kept apart from what is read."""

    def __init__(self, *lines):
        super().__init__("".join(json.dumps(line) + "\n" for line in lines))
        self.asked = ""

    def write(self, text):
        self.asked += text


def a_run(lost=0, gaps=0, preemptions=0):
    return {"change": "port", "lost": lost, "gaps_over_1ms": gaps, "worker_preemptions": preemptions}


class ReloadsTest(unittest.TestCase):
    def test_each_change_is_one_element_more(self):
        device = ReloadedVmnatd(Setting(Path("/run/x"), Path("build"), 1, 0, True, 1024, "192.168.122.1/24", ""))
        plain = yaml.safe_load(device.configuration())["networks"][0]
        changed = {kind: yaml.safe_load(device.configuration(kind))["networks"][0] for kind in device.changes()}
        self.assertEqual(len(changed["port"].pop("ports")), 1 + len(plain["ports"]))
        for kind, more in (("port", set()), ("forward", {"forwards"}), ("timeouts", {"timeouts"})):
            self.assertEqual(changed[kind]["nat"].keys() - plain["nat"].keys(), more)

    def test_an_answer_is_its_one_element(self):
        lines = Answers({"kind": "object", "ok": True}, {"changed": ["x"]}, {"end": True})
        self.assertEqual(answer_to(lines, "reload")[0]["changed"], ["x"])
        self.assertEqual(json.loads(lines.asked), {"command": "reload", "arguments": {}})

    def test_a_refusal_is_told_at_once_or_later(self):
        for lines in ([{"ok": False, "error": "why"}], [{"kind": "object", "ok": True}, {"end": False, "error": "why"}]):
            with self.assertRaisesRegex(DeviceError, "reload: why"):
                answer_to(Answers(*lines), "reload")

    def test_what_the_machine_does_is_not_the_reloads_fault(self):
        self.assertEqual(missed([a_run(lost=5, gaps=9), a_run(lost=5), a_run(gaps=4, preemptions=2)]), [])
        self.assertEqual(len(missed([a_run(lost=5), a_run(lost=6), a_run(gaps=5, preemptions=2)])), 2)


if __name__ == "__main__":
    unittest.main()
