# SPDX-License-Identifier: Apache-2.0
"""All cases, tried on vmnatd and on the kernel; in the end a table of both."""

import os
import pathlib
import time

from harness.tap import Skipped, Suite, check_equal, comment

from . import recording
from .case import Trial, cases


class Lab:
    """Both gateways, each set up when its first case comes, and what became of every case."""

    def __init__(self, scope, gateways):
        self.scope, self.kinds, self.gateways, self.current = scope, gateways, {}, None
        self.results = {case.sentence: {} for case in cases}
        self.recorded = []
        self.seconds = dict.fromkeys(gateways, 0.0)
        scope.callback(self.print_table)
        if path := os.environ.get("VMNAT_RECORD"):
            scope.callback(lambda: recording.write(pathlib.Path(path), self.recorded))

    def gateway(self, name):
        if name not in self.gateways:
            self.gateways[name] = self.kinds[name](self.scope)
        self.current = self.gateways[name]
        return self.current

    def print_table(self):
        width = max(map(len, self.results))
        comment(f"{'case':{width}}  {'vmnat':6}  kernel")
        for sentence, result in self.results.items():
            comment(f"{sentence:{width}}  {result.get('vmnat', '-'):6}  {result.get('kernel', '-')}")
        comment(", ".join(f"{name}: {sum(r.get(name, '').startswith('ok') for r in self.results.values())} cases in "
                          f"{seconds:.1f} s" for name, seconds in self.seconds.items()))

    def evidence(self) -> str:
        return self.current.evidence() if hasattr(self.current, "evidence") else ""


def tried_on(name, case):
    def subtest(lab):
        if name == "kernel" and case.not_for_kernel:
            lab.results[case.sentence][name] = f"not asked: {case.not_for_kernel}"
            raise Skipped(case.not_for_kernel)
        lab.results[case.sentence][name] = "FAILED"
        gateway = lab.gateway(name)
        started = time.monotonic()
        lab.results[case.sentence][name] = attempt(gateway, case)
        lab.seconds[name] += time.monotonic() - started
        if name == "vmnat":
            lab.recorded.append(recording.line_of(gateway.given))
    return subtest


def attempt(gateway, case) -> str:
    trial = Trial(gateway)
    gateway.given.clear()
    case.function(trial)
    grown = {reason: value - trial.before.get(reason, 0) for reason, value in gateway.drops().items()
             if value != trial.before.get(reason, 0)}
    if "arp_unasked" not in trial.drops:
        grown.pop("arp_unasked", None)  # an answer of the test's that vmnatd had given up waiting for
    if not trial.is_kernel:
        check_equal(grown, dict(trial.drops), "drops by reason")
    return "; ".join(["ok", *dict.fromkeys(trial.differences)])


def suite_of(vmnat, kernel) -> Suite:
    """The suite of the cases that are known by now, on these two kinds of gateway."""
    gateways = {"vmnat": vmnat, "kernel": kernel}
    suite = Suite(lambda scope: Lab(scope, gateways))
    for name in gateways:
        for each in cases:
            suite.test(f"{name}: {each.sentence}")(tried_on(name, each))

    @suite.test("vmnat: after all of this every frame is accounted for, and no inside address left by the uplink")
    def in_the_end(lab):
        lab.gateway("vmnat").check_in_the_end()

    return suite
