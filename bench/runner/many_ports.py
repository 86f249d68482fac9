# SPDX-License-Identifier: Apache-2.0
"""Many VMs that send a little at a time, as on a real host: `./run bench --ports 2,16,31 --burst 1,4,32`.

The hosts are spread over N ports, and each port has at most B frames under way (vmnat-bench --ports N --burst B): the device
finds bursts of at most B frames in N rings. The bound is testpmd with N + 1 ports, each of which sends back what comes by it
(loop topology): as many rings to look at and to fill, but it never takes frames of many rings to one.
"""
import datetime
import itertools
import json
import socket
from pathlib import Path

import machine
from devices import Setting, Testpmd, Vmnatd
from generator import generator_command, measured
from report import show_progress
from table import BOUND, SUBJECT, merged_points

BENCH = Path(__file__).resolve().parents[1]
DEVICE_MB = 768
PORTS, BURSTS = range(1, 32), range(1, 33)  # that vmnat-bench takes
FLOWS = 10_000


def generator_mb(ports):
    """Each port takes 19."""
    return 192 + 20 * ports


class ManyPorts:
    """A device with vhost-user sockets for so many VMs, in vmnat-bench's pattern."""

    def __init__(self, ports, *arguments):
        self.vm_ports = ports
        super().__init__(*arguments)

    @property
    def vms(self):
        return {f"vm{number}": self.setting.directory / f"vm{number}.sock" for number in range(self.vm_ports)}

    def ports(self):
        pattern = self.setting.directory / "vm%.sock"
        return str(self.sockets[0] if self.vm_ports == 1 else pattern), str(self.setting.uplink_socket)


class ReflectingTestpmd(ManyPorts, Testpmd):
    mode = "reflect"

    def command(self):
        return [*super().command(), "--port-topology=loop"]


class ManyPortsVmnatd(ManyPorts, Vmnatd):
    pass


DEVICES = {
    "io": lambda ports, setting: ReflectingTestpmd(ports, setting, "io"),
    "macswap": lambda ports, setting: ReflectingTestpmd(ports, setting, "macswap"),
    "vmnat": ManyPortsVmnatd,
}
DEFAULT = [BOUND, SUBJECT]


def load(arguments, device, burst):
    """Options of what is measured."""
    options = ["--ports", device.vm_ports, "--flows", ",".join(map(str, arguments.flows)), "--frame", ",".join(arguments.frame),
               "--traffic", arguments.traffic, "--repeat", 1, "--duration", arguments.duration]
    return options + (["--burst", burst] if burst else [])


def measure(arguments, device, burst):
    try:
        device.start()
        command = generator_command(arguments, device, generator_mb(device.vm_ports)) + load(arguments, device, burst)
        return measured(command, device, 120 + 60 * arguments.duration)
    finally:
        device.stop()


def all_rounds(arguments, setting, ports, burst):
    """Of each device, vmnat-bench's results, a round after the other."""
    results = {name: [] for name in arguments.devices}
    for number, name in itertools.product(range(arguments.rounds), arguments.devices):
        show_progress(f"{ports} ports, bursts of {burst or 'any size'}, round {number + 1} of {arguments.rounds}: {name}")
        results[name].append(measure(arguments, DEVICES[name](ports, setting), burst))
    show_progress("")
    return results


def faults_of(case):
    """What is not as it should be; empty when all is."""
    return [f"{case['ports']} ports, burst {case['burst']}, {name}: not all frames came through as they should: {one['faults']}"
            for name, rounds in case["rounds"].items() for one in rounds if not one["verified"]]


def head_of(devices):
    columns = " | ".join(f"{name:>10} Mpps {'ticks':>6} {'burst':>5}" for name in devices)
    ratios = " ".join(f"{name + '/' + SUBJECT:>13}" for name in devices if name != SUBJECT and SUBJECT in devices)
    return f"{'ports':>5} {'burst':>5} {'flows':>7} {'frame':>5} {'traffic':>8} {'line':>5} | {columns} | {ratios}"


def row_of(case, point):
    """Of each device: rate, the worker's ticks a frame, and how many frames came to the generator at a time."""
    ticks = point.get("ticks", {"devices": {}, "ratios": {}})
    columns = " | ".join(f"{device['median']:15.2f} {ticks['devices'].get(name, {'median': 0})['median']:6.0f} "
                         f"{device['frames_per_burst']:5.1f}" for name, device in point["devices"].items())
    ratios = " ".join(f"{ratio['median']:7.2f} ±{ratio['spread']:4.0%}" for ratio in ticks["ratios"].values())
    return (f"{case['ports']:5} {case['burst'] or '-':>5} {point['flows']:7} {point['frame']:>5} {point['traffic']:>8} {point['distance']:5.0f} | "
            f"{columns} | {ratios}")


def run(arguments, directory, commit):
    """A line for each number of ports, burst and traffic; 1 when a translation was wrong."""
    megabytes = DEVICE_MB + generator_mb(max(arguments.ports))
    with machine.hugepages(0 if arguments.no_huge else megabytes) as are_there:
        setting = Setting(directory, arguments.build, arguments.worker_cpu, arguments.control_cpu,
                          are_there and not arguments.no_huge, max(1 << 18, 2 * max(arguments.flows)), arguments.network, "")
        head = {"time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "host": socket.gethostname(),
                "commit": commit, "hugepages": setting.has_hugepages, "packed": arguments.packed, "rounds": arguments.rounds,
                "run_seconds": arguments.duration, "generator_cpu": arguments.generator_cpu, "worker_cpu": arguments.worker_cpu,
                "control_cpu": arguments.control_cpu, "other_work": round(machine.busy_share(), 3)}
        print(json.dumps(head), head_of(arguments.devices), sep="\n")
        cases = []
        for ports, burst in itertools.product(arguments.ports, arguments.burst or [None]):
            rounds = all_rounds(arguments, setting, ports, burst)
            cases.append({"ports": ports, "burst": burst, "points": merged_points(rounds), "rounds": rounds})
            print(*(row_of(cases[-1], point) for point in cases[-1]["points"]), sep="\n", flush=True)
    faults = [line for case in cases for line in faults_of(case)]
    print(*faults, sep="\n")
    output = arguments.output or BENCH / "results" / f"{datetime.date.today()}-{socket.gethostname()}-ports.json"
    output.write_text(json.dumps({"conditions": head, "cases": cases, "faults": faults}, indent=1) + "\n")
    print(f"written to {output}")
    return 1 if faults else 0
