# SPDX-License-Identifier: Apache-2.0
"""vmnatd as a test sees it: started in a namespace, asked through vmnatctl, stopped with exit code 0.

    with Vmnatd(directory, configuration(...), namespace=gateway) as vmnatd:
        before = vmnatd.counters()
        ...
        vmnatd.check_accounting()
    # stopped by SIGTERM; an exit code other than 0 is a failure of the test

The binaries are those of $VMNAT_BUILD (meson sets it), else of build/ in the source tree. When they are built with
sanitizers, a report of one fails the test that was running, or the file as a whole if it came at the end.
"""

import json
import os
import pathlib
import re
import signal

from . import processes
from .tap import check, check_equal
from .waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[3]
SETTLING_SECONDS = 30


def build_directory() -> pathlib.Path:
    return pathlib.Path(os.environ.get("VMNAT_BUILD") or ROOT / "build")


def program(name, build=None) -> pathlib.Path:
    build = build or build_directory()
    found = [path for path in sorted((build / "control").rglob(name)) if path.is_file()]
    if not found:
        raise FileNotFoundError(f"{build}/control holds no {name}: ./run build")
    return found[0]


def runtime_directory(directory) -> dict[str, str]:
    """The environment in which DPDK keeps its files in the test's directory, to go with it, not in /var/run."""
    return {"RUNTIME_DIRECTORY": str(directory)}


SANITIZER_REPORT = re.compile(r"^.*(?:ERROR: \w+Sanitizer|: runtime error: |WARNING: \w+Sanitizer).*$", re.MULTILINE)


def sanitizer_report(log, lines=60) -> str:
    """What a sanitizer has written into this log, from its first report on; empty when it has not."""
    found = SANITIZER_REPORT.search(log)
    return "\n".join(log[found.start():].splitlines()[:lines]) if found else ""


def drops(counters) -> int:
    return sum(value for name, value in counters.items() if name.startswith("drop."))


def unaccounted(counters) -> int:
    """0 when every frame ended in exactly one way: DESIGN.md, "A packet's way"."""
    arrived = sum(counters.get(name, 0) for name in ("received", "flood_copies", "injected", "generated"))
    ended = sum(counters[name] for name in ("transmitted", "punted", "fragments.held", "segments.merged", "limits.held"))
    return arrived - ended - drops(counters)


# What a process counts of itself alone, and what is no count.
OF_THE_PROCESS = {"limits.held", "fragments.held", "sessions.active", "sessions.restored", "mappings.active", "ports.used", "dhcp.journal.waiting",
                  "states.published", "states.owner_tables", "states.mac_tables"}


class Vmnatd:
    def __init__(self, directory, config, namespace=None, ready_seconds=30, wrapper=(), build=None):
        """`wrapper`: a command that ends in becoming the daemon, whose command line follows it. `build`: the directory of
        another build, whose vmnatd the next start takes; vmnatctl is always this build's."""
        directory.mkdir(exist_ok=True)
        self.directory, self.config, self.namespace, self.wrapper = directory, config, namespace, wrapper
        self.build = build
        self.config_path = directory / "vmnat.yaml"
        self.write_config()
        self.process = None
        self.start(ready_seconds)

    def write_config(self):
        """`config` as it is now; for the next start, or a reload."""
        self.config_path.write_text(json.dumps(self.config, indent=2))

    def start(self, ready_seconds=30):
        """Starts the daemon and waits until it says that it is ready; also after a stop or a kill."""
        self.process = processes.Process([*self.wrapper, program("vmnatd", self.build), "--config", self.config_path],
                                         log=self.directory / f"vmnatd-{len(self.logs())}.log",
                                         namespace=self.namespace, environment=runtime_directory(self.directory))
        wait_until(lambda: not self.process.running() or "vmnatd ready" in self.process.log(),
                   f"vmnatd says that it is ready\n{self.process.log_tail()}", ready_seconds)
        check(self.process.running(), f"vmnatd ended with {self.process.child.returncode} instead of getting "
                                      f"ready\n{self.process.log_tail()}")

    def logs(self):
        return sorted(self.directory.glob("vmnatd-*.log"))

    def stop(self):
        """SIGTERM; the daemon must end by itself, with 0."""
        check(self.process.running(), f"vmnatd had ended with {self.process.child.returncode}\n{self.process.log_tail()}")
        self.process.send(signal.SIGTERM)
        check_equal(self.process.wait(), 0, f"vmnatd's exit code after SIGTERM\n{self.process.log_tail()}\nexit code")

    def kill(self):
        self.process.kill()

    def check_sanitizers(self):
        """No run of this daemon, under sanitizers, has seen a fault."""
        for log in self.logs():
            report = sanitizer_report(log.read_text(errors="replace"))
            check(not report, f"a sanitizer reports a fault of vmnatd, in {log.name}\n{report}")

    # --- vmnatctl -----------------------------------------------------------------------------------------

    def ctl_text(self, *arguments) -> str:
        return processes.run([program("vmnatctl"), "--socket", self.config["control"]["socket"], *arguments]).stdout

    def ctl(self, *arguments):
        return json.loads(self.ctl_text("--json", *arguments))

    def counters(self) -> dict[str, int]:
        return self.ctl("counters")

    def totals(self) -> dict[str, int]:
        """All counts that a restart leaves as they are, also those of ports: "received", "vm1 rx_packets", "vm1 drop.runt"."""
        totals = {name: count for name, count in self.counters().items() if name not in OF_THE_PROCESS}
        for port in self.ctl("ports"):
            counts = {key: port[key] for key in ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")}
            counts |= {f"drop.{reason}": count for reason, count in port["drops"].items()}
            totals |= {f"{port['name']} {name}": count for name, count in counts.items()}
        return totals

    def check_totals_go_on(self, before):
        """After a restart: nothing that was told then has fallen, and what is told of sessions adds up."""
        after = self.totals()
        check_equal({name: (count, after.get(name)) for name, count in before.items() if after.get(name, 0) < count}, {},
                    "counts that have fallen, from and to")
        names = ("created", "expired", "flushed", "early_dropped", "lost", "active")
        created, *others = (self.counters()[f"sessions.{name}"] for name in names)
        check_equal(sum(others), created, f"sessions that have ended or are active, of those created ({names})")

    def sessions(self, *filters):
        return self.ctl("sessions", *filters)

    def facts(self) -> set[tuple]:
        """Of each session, what a restart or a change elsewhere leaves as it is."""
        keys = ("network", "port", "protocol", "internal", "external", "remote", "state")
        return {tuple(session[key] for key in keys) for session in self.sessions()}

    def check_invariants(self):
        """The tables of each worker agree with themselves."""
        for worker in self.ctl("invariants"):
            check(worker["holds"], f"worker {worker['worker']}: {worker['why']}")

    def check_restored(self, before):
        """After a restart: all of these sessions are there, by what the daemon says of them, too, and no other."""
        check_equal(self.facts() - before, set(), "sessions that were not there before")
        check_equal(before - self.facts(), set(), "sessions that are lost")
        self.check_invariants()
        former = self.ctl("status")["sessions"]["former"]
        check_equal((former["restored"], sum(former.values())), (len(before), len(before)), "sessions that were restored, and all")

    def check_accounting(self):
        """The invariant; polled, for frames may be on their way while the counters are read."""
        def settled():
            return unaccounted(self.counters()) == 0
        try:
            wait_until(settled, "accounting", SETTLING_SECONDS)
        except Exception:
            counters = self.counters()
            seen = {name: value for name, value in counters.items() if value}
            check(False, f"{unaccounted(counters)} frames are unaccounted for: {seen}")

    # --- scope --------------------------------------------------------------------------------------------

    def evidence(self) -> str:
        """What a failed subtest shows of the daemon: the counters that are not 0, and the end of its log."""
        try:
            counters = {name: value for name, value in self.counters().items() if value}
        except Exception as problem:
            counters = problem
        report = sanitizer_report(self.process.log())
        return f"--- counters\n{counters}\n--- vmnatd's log\n{report or self.process.log_tail()}"

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        try:
            if failure is None:
                self.stop()
        finally:
            self.process.kill()
            if failure is None or issubclass(failure, Exception):  # not on the way out of a signal
                self.check_sanitizers()
