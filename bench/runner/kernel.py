# SPDX-License-Identifier: Apache-2.0
"""vmnatd on kernel interfaces beside Linux's own forwarding and masquerade: `./run bench --kernel`.

Every round starts each gateway once and measures everything there; ratios are taken within a round. Each measurement is a
program, in the inside's namespace or with a foot on both sides: iperf3, udp_flood, round_trips, guest_stream. One that
gets nothing through is a fault of its gateway in that round, and the run goes on.
"""
import datetime
import json
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import machine
from kernel_gateways import GATEWAYS, INSIDE, OUTSIDE, KernelSetting
from report import show_progress
from table import ratio_of, summary_of

from harness.waiting import wait_until

BENCH = Path(__file__).resolve().parents[1]
DEVICE_MB = 768
DEFAULT = ["kernel", "kernel-unpinned", "vmnat"]
BASE = "kernel"
GUEST_BASE = "af_packet"  # of what Linux cannot be asked to do
SENDER_LIMIT = 0.98  # delivered of what was sent from which on the sender may have been the slower one


@dataclass(frozen=True)
class Row:
    """A figure of a measurement, and the ratios to the base's that vmnat must and that it aims to reach."""
    name: str
    unit: str
    field: str
    must: float | None = None
    aim: float | None = None
    less_is_better: bool = False
    base: str = BASE

    def verdict(self, ratio):
        """Which target is met; None where nothing came through."""
        if self.must is None:
            return ""
        reaches = (lambda bound: ratio <= bound) if self.less_is_better else (lambda bound: ratio >= bound)
        return next((target for target in ("aim", "must") if ratio and reaches(getattr(self, target))), "missed")


@dataclass(frozen=True)
class Measurement:
    """What a program finds out on a gateway, as fields, and the rows that show them."""
    take: object  # (gateway, seconds) -> fields
    rows: tuple[Row, ...]

    @property
    def name(self):
        return self.rows[0].name


def json_in(said):
    """A program's result, behind what it and its libraries had to say."""
    if "{" not in said:
        raise RuntimeError(f"no result: {said[-200:]}")
    return json.loads(said[said.index("{"):])


def tcp(streams, *options):
    """iperf3 from the inside to the outside, or back with -R, as the receiver counts it."""
    def take(gateway, seconds):
        with gateway.start(["iperf3", "--server", "--one-off", "--forceflush"], gateway.outside) as server:
            wait_until(lambda: "Server listening" in server.log() or not server.running(), "iperf3 listens")
            said = gateway.run(["iperf3", "--client", OUTSIDE, "--connect-timeout", 2000, "--parallel", streams,
                                "--time", max(1, round(seconds)), "--json", *options], gateway.inside, seconds + 20)
        document = json_in(said)
        if "error" in document:
            raise RuntimeError(f"iperf3: {document['error']}")
        return {"gbits": document["end"]["sum_received"]["bits_per_second"] / 1e9}
    return take


def on_both_sides(gateway, program, seconds, *options):
    """The JSON of a program of bench/kernel/."""
    return json_in(gateway.run([gateway.setting.build / "bench" / program, "--inside", gateway.inside.path, "--outside",
                                   gateway.outside.path, "--address", OUTSIDE, "--seconds", seconds, *options]))


def udp(*options):
    def take(gateway, seconds):
        found = on_both_sides(gateway, "udp_flood", seconds, *options)
        return {"mpps": found["delivered"] / found["seconds"] / 1e6, "delivered": found["delivered"] / max(1, found["sent"])}
    return take


def round_trips(gateway, seconds):
    return on_both_sides(gateway, "round_trips", seconds)


def guest(gateway, seconds):
    """A VM with segmentation offload sends to the outside; Linux has no vhost-user port for it."""
    if gateway.vm_socket is None:
        return {}
    return on_both_sides(gateway, "guest_stream", seconds, "--vm", gateway.vm_socket, "--cpu", gateway.setting.endpoint_cpu)


MEASUREMENTS = [
    Measurement(tcp(1), (Row("tcp1-out", "Gbit/s", "gbits", 0.7, 1.0),)),
    Measurement(tcp(1, "--reverse"), (Row("tcp1-back", "Gbit/s", "gbits", 0.7, 1.0),)),
    Measurement(tcp(8), (Row("tcp8-out", "Gbit/s", "gbits", 0.6, 1.0),)),
    Measurement(tcp(8, "--reverse"), (Row("tcp8-back", "Gbit/s", "gbits", 0.6, 1.0),)),
    Measurement(udp(), (Row("udp64-out", "Mpps", "mpps", 1.0, 2.0),)),
    Measurement(udp("--back"), (Row("udp64-back", "Mpps", "mpps", 1.0, 2.0),)),
    Measurement(round_trips, (Row("latency-p50", "us", "p50_us", 1.2, 0.8, less_is_better=True),
                              Row("latency-p99", "us", "p99_us", less_is_better=True))),
    Measurement(guest, (Row("guest1-out", "Gbit/s", "gbits", base=GUEST_BASE),)),
]


def selected(arguments):
    """The measurements whose names begin with one of --only."""
    chosen = [m for m in MEASUREMENTS if not arguments.only or m.name.startswith(tuple(arguments.only))]
    if not chosen:
        raise SystemExit(f"bench: --only: there are {', '.join(m.name for m in MEASUREMENTS)}")
    return chosen


def missing_programs(arguments):
    wanted = {"iperf3": "iperf3", "ip": "iproute2", "nft": "nftables", "ethtool": "ethtool", "taskset": "util-linux"}
    built = [arguments.build / "control" / "vmnatd",
             *(arguments.build / "bench" / name for name in ("udp_flood", "round_trips", "guest_stream"))]
    return [f"{name} (package {package})" for name, package in wanted.items() if not shutil.which(name)] + [
        f"{path} (./run build)" for path in built if not path.exists()]


# --- measuring ------------------------------------------------------------------------------------------------


def fault_of(problem):
    return {"fault": " ".join(str(problem).split()) or type(problem).__name__}


def measure_gateway(arguments, setting, name, label):
    """One start of a gateway: by measurement its fields, or its fault."""
    found = {}
    try:
        with GATEWAYS[name](name, setting) as gateway:
            for measurement in selected(arguments):
                show_progress(f"{label}: {measurement.name}")
                try:
                    found[measurement.name] = measurement.take(gateway, arguments.duration)
                except Exception as problem:
                    found[measurement.name] = fault_of(problem)
    except Exception as problem:
        found["gateway"] = fault_of(problem)
    return found


def all_rounds(arguments, setting):
    results, busy = {name: [] for name in arguments.devices}, []
    for number in range(arguments.rounds):
        busy.append(machine.busy_share())
        for name in arguments.devices:
            results[name].append(measure_gateway(arguments, setting, name, f"round {number + 1} of {arguments.rounds}, {name}"))
    show_progress("")
    return results, busy


# --- merging --------------------------------------------------------------------------------------------------


def merged_row(row, measurement, results):
    """Every device's summary over the rounds, and its ratio to the base's."""
    fields = {name: [one.get(measurement, {}) for one in rounds] for name, rounds in results.items()}
    values = {name: [found.get(row.field) for found in rounds] for name, rounds in fields.items()}
    devices = {}
    for name, series in values.items():
        known = [value for value in series if value is not None]
        ratio = ratio_of(series, values.get(row.base, []))
        delivered = [found["delivered"] for found in fields[name] if "delivered" in found]
        devices[name] = {**(summary_of(known) if known else {}), "values": series, "ratio": ratio,
                         "verdict": row.verdict(ratio and ratio["median"]) if row.base in values else "",
                         "delivered": median(delivered) if delivered else None}
    return {"row": row.name, "unit": row.unit, "must": row.must, "aim": row.aim, "base": row.base, "devices": devices}


def faults_of(results):
    """What did not come through, once each, with the number of rounds."""
    counts = {}
    for name, rounds in results.items():
        for one in rounds:
            for what, found in one.items():
                if "fault" in found:
                    text = f"{name}: {what}: {found['fault']}"
                    counts[text] = counts.get(text, 0) + 1
    return [f"{text} ({count} of {len(next(iter(results.values())))} rounds)" for text, count in counts.items()]


# --- showing --------------------------------------------------------------------------------------------------


def conditions_of(arguments, setting, commit, busy):
    cpu = next((line.split(": ", 1)[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {"time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "host": socket.gethostname(),
            "commit": commit, "cpu": cpu, "cpus": os.cpu_count(), "kernel": os.uname().release,
            "hugepages": setting.has_hugepages, "worker_cpu": setting.worker_cpu, "endpoint_cpu": setting.endpoint_cpu,
            "rounds": arguments.rounds, "run_seconds": arguments.duration, "other_work": round(median(busy), 3)}


def _head(c):
    lines = [f"{c['time']}  {c['host']}  commit {c['commit']}",
             f"{c['cpu']}, {c['cpus']} CPUs, Linux {c['kernel']}, {'2 MiB hugepages' if c['hugepages'] else 'no hugepages'}",
             f"worker on CPU {c['worker_cpu']}, endpoints and control on CPU {c['endpoint_cpu']}; veth pairs, {INSIDE} to {OUTSIDE}",
             f"medians of {c['rounds']} rounds of {c['run_seconds']} s, ± half the quartile distance; x: ratio to "
             f"{BASE}, a guest's to {GUEST_BASE}"]
    if c["other_work"] > 0.05:
        lines.append(f"NOTE: the machine did other work: {c['other_work']:.0%} of its CPU time before a round")
    return lines


def _is_sender_limit(device):
    return (device["delivered"] or 0) >= SENDER_LIMIT


def _cell(name, device):
    width = 14 if name == BASE else 21
    if "median" not in device:
        return f"{'-':>{width}}"
    ratio = f" x{device['ratio']['median']:5.2f}" if name != BASE and device["ratio"] else ""
    return f"{device['median']:7.3f}{'*' if _is_sender_limit(device) else ' '} ±{device['spread']:4.0%}{ratio}".ljust(width)


def _line(row, judged):
    cells = " | ".join(_cell(name, device) for name, device in row["devices"].items())
    targets = " ".join(f"{row[target]:4.1f}" if row[target] else "    " for target in ("must", "aim"))
    return f"{row['row']:12} {row['unit']:6} | {cells} | {targets}  {row['devices'][judged]['verdict'] if judged else ''}"


def text_of(document):
    names = list(document["rounds"])
    judged = "vmnat" if "vmnat" in names else next((name for name in names if not name.startswith(BASE)), None)
    heads = " | ".join(f"{name:>{14 if name == BASE else 21}}" for name in names)
    header = f"{'':12} {'':6} | {heads} | must  aim  {judged or ''}"
    lines = [*_head(document["conditions"]), "", header, "-" * len(header), *(_line(row, judged) for row in document["rows"])]
    if any(_is_sender_limit(device) for row in document["rows"] for device in row["devices"].values()):
        lines.append("* all that was sent was delivered: without a gateway's work on its CPU the sender would be faster")
    return "\n".join([*lines, "", *document["faults"]])


def run(arguments, directory, commit):
    """All rounds, and their table; 1 when something did not come through."""
    with machine.hugepages(0 if arguments.no_huge else DEVICE_MB) as has_hugepages:
        setting = KernelSetting(directory, arguments.build, arguments.worker_cpu, arguments.control_cpu,
                                has_hugepages and not arguments.no_huge)
        results, busy = all_rounds(arguments, setting)
    rows = [merged_row(row, measurement.name, results) for measurement in selected(arguments) for row in measurement.rows]
    document = {"conditions": conditions_of(arguments, setting, commit, busy), "rows": rows, "faults": faults_of(results),
                "rounds": results}
    output = arguments.output or BENCH / "results" / f"{datetime.date.today()}-{socket.gethostname()}-kernel.json"
    output.write_text(json.dumps(document, indent=1) + "\n")
    print(text_of(document), f"written to {output}", sep="\n")
    return 1 if document["faults"] else 0
