# SPDX-License-Identifier: Apache-2.0
"""What a reload costs the traffic that goes on: `./run bench --reload`.

vmnat-bench offers frames at a fixed rate both ways, a run without any reload and then one for each kind of change; the file
changes back and forth all the time. Told are the frames that were lost, and the longest time in which none came although the
generator looked (bench/generator/gaps.h). How often another process had the worker's CPU stands beside it: such a gap is none of vmnatd's.

On two CPUs the generator shares its own with vmnatd's control thread, and with who asks for the reloads: it is away for
some milliseconds at a time. The rings are long enough to hold what comes meanwhile, so that it is not taken for a loss.
"""
import concurrent.futures
import datetime
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from statistics import median

import machine
from devices import DeviceError, Setting, Vmnatd
from report import show_progress

BENCH = Path(__file__).resolve().parents[1]
GENERATOR_MB, DEVICE_MB = 384, 768
DEFAULT = 1000
FLOWS = 1000
RING = 16384  # entries: what comes in 32 ms at half a million frames a second
QUIET_SECONDS = 10
LONGEST_RUN = 3600
SECONDS = 60


class ReloadedVmnatd(Vmnatd):
    """The same, whose file may have a change in it."""

    def configuration(self, kind=None):
        text = super().configuration()
        return text.replace(*self.changes()[kind]) if kind else text

    def changes(self):
        """By kind: a part of the file, and what is there instead."""
        port = "      - {name: vm,"
        nat = "    nat: {"
        extra = self.setting.directory / "extra.sock"
        return {"port": (port, f"      - {{name: extra, vhost_user: {extra}, mode: server}}\n{port}"),
                "forward": (nat, f"{nat}forwards: [{{protocol: tcp, port: 80, to: '192.168.122.10:80'}}], "),
                "timeouts": (nat, f"{nat}timeouts: {{udp: 4m}}, ")}

    def worker_preemptions(self):
        """How often the scheduler has taken the worker's CPU away from it."""
        threads = [dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines())
                   for task in Path(f"/proc/{self.process.pid}/task").iterdir()]
        return sum(int(thread["nonvoluntary_ctxt_switches"]) for thread in threads
                   if thread["Cpus_allowed_list"] == str(self.setting.worker_cpu))

    def reload_time(self, ask, kind):
        """Milliseconds until the workers go by the file with this change in it."""
        (self.setting.directory / "vmnatd.yaml").write_text(self.configuration(kind))
        begin = time.monotonic()
        if not ask("reload")[0]["changed"]:
            raise DeviceError(f"nothing has changed by '{kind}'")
        return 1000 * (time.monotonic() - begin)


def reload_again_and_again(setting, kind, number):
    """The time of each; in a process that has not started the device."""
    device = ReloadedVmnatd(setting)
    with device.asked() as ask:
        return [device.reload_time(ask, None if turn % 2 else kind) for turn in range(number)]


def apart(cpu):
    """Of a process of its own, which is as urgent as the generator, on this CPU."""
    os.setsid()
    os.sched_setaffinity(0, {cpu})
    machine.give_priority(os.getpid())
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def wait_until_loaded(device, generator):
    deadline = time.monotonic() + SECONDS
    with device.asked() as ask:
        while ask("counters")[0]["received"] < 100 * FLOWS:
            if generator.poll() is not None or time.monotonic() > deadline:
                raise DeviceError(f"no load comes:\n{device.log_tail()}")
            time.sleep(0.05)


def end_run(generator):
    generator.send_signal(signal.SIGUSR1)
    time.sleep(0.5)  # the next one has begun, and its first 0.1 s are over


def measure(arguments, device, generator):
    """Of each run, milliseconds of its reloads, and preemptions of the worker; the first is the one without any reload."""
    kinds = list(device.changes())
    wait_until_loaded(device, generator)
    before = device.worker_preemptions()
    time.sleep(QUIET_SECONDS)
    runs = [{"change": "none", "reload_ms": [], "worker_preemptions": device.worker_preemptions() - before}]
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("fork"), apart, [arguments.control_cpu]) as other:
        for number, kind in enumerate(kinds):
            show_progress(f"reloads: {kind}")
            end_run(generator)
            share = (arguments.reload + len(kinds) - 1 - number) // len(kinds)
            before = device.worker_preemptions()
            times = other.submit(reload_again_and_again, device.setting, kind, share + share % 2).result()
            runs.append({"change": kind, "reload_ms": times, "worker_preemptions": device.worker_preemptions() - before})
    generator.send_signal(signal.SIGUSR1)
    return runs


def generator_command(arguments, setting, runs, result):
    command = [arguments.build / "bench" / "vmnat-bench", "--vm", setting.vm_socket, "--uplink", setting.uplink_socket,
               "--cpu", arguments.generator_cpu, "--memory", GENERATOR_MB, "--network", arguments.network, "--flows", FLOWS,
               "--traffic", "both", "--rate", arguments.reload_rate / 2, "--queue-size", RING, "--duration", LONGEST_RUN,
               "--repeat", runs, "--json", result, "--quiet"]
    return [str(part) for part in command] + ([] if setting.has_hugepages else ["--no-huge"])


def measured(arguments, setting):
    """The same, with what vmnat-bench says of each run."""
    device = ReloadedVmnatd(setting)
    result = setting.directory / "result.json"
    try:
        device.start()
        number = 1 + len(device.changes())
        with open(setting.directory / "generator.log", "w+") as log:
            generator = subprocess.Popen(machine.bound_to_parent(generator_command(arguments, setting, number, result)),
                                         stdout=log, stderr=log, start_new_session=True, env=setting.environment)
            try:
                machine.give_priority(generator.pid)
                runs = measure(arguments, device, generator)
                generator.wait(SECONDS)
            finally:
                generator.kill()
                generator.wait()
            log.seek(0)
            if generator.returncode != 0:
                raise DeviceError(f"vmnat-bench ended with {generator.returncode}:\n{log.read()[-1500:]}")
        samples = json.loads(result.read_text())["points"][0]["samples"]
        return [run | sample for run, sample in zip(runs, samples)]
    finally:
        device.stop()


HEAD = (f"{'change':9} | {'reloads':>7} {'median ms':>9} {'longest':>8} | {'Mpps':>6} {'lost':>8} {'longest gap us':>14} {'over 1 ms':>9} | "
        f"{'preempted':>9} {'generator away us':>17}")


def row_of(run):
    times = run["reload_ms"]
    cost = f"{median(times):9.1f} {max(times):8.1f}" if times else " " * 18
    return (f"{run['change']:9} | {len(times):7} {cost} | {run['mpps']:6.3f} {run['lost']:8} {run['longest_gap_us']:14.0f} "
            f"{run['gaps_over_1ms']:9} | {run['worker_preemptions']:9} {run['longest_absence_us']:17.0f}")


def missed(runs):
    """What is not as it should be; empty when all is. A worker that loses its CPU makes a gap in either direction."""
    quiet = runs[0]
    return [f"{run['change']}: {run['lost']} frames were lost, {run['gaps_over_1ms']} gaps were longer than 1 ms"
            for run in runs[1:] if run["lost"] > quiet["lost"] or run["gaps_over_1ms"] > 2 * run["worker_preemptions"]]


def run(arguments, directory, commit):
    """A line for each kind of change; 1 when frames were lost, or did not come for more than a millisecond."""
    with machine.hugepages(0 if arguments.no_huge else GENERATOR_MB + DEVICE_MB) as are_there:
        setting = Setting(directory, arguments.build, arguments.worker_cpu, arguments.control_cpu,
                          are_there and not arguments.no_huge, 1 << 18, arguments.network, arguments.external)
        busy = machine.busy_share()
        runs = measured(arguments, setting)
    show_progress("")
    conditions = {"time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "host": socket.gethostname(),
                  "commit": commit, "hugepages": setting.has_hugepages, "rate_mpps": arguments.reload_rate, "flows": FLOWS,
                  "ring": RING, "generator_cpu": arguments.generator_cpu, "worker_cpu": arguments.worker_cpu,
                  "control_cpu": arguments.control_cpu, "other_work": round(busy, 3)}
    faults = missed(runs)
    print(json.dumps(conditions), HEAD, *map(row_of, runs), *faults, sep="\n")
    output = arguments.output or BENCH / "results" / f"{datetime.date.today()}-{socket.gethostname()}-reload.json"
    output.write_text(json.dumps({"conditions": conditions, "runs": runs, "faults": faults}, indent=1) + "\n")
    print(f"written to {output}")
    return 1 if faults else 0
