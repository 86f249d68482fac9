# SPDX-License-Identifier: Apache-2.0
"""A result as text: conditions, then a table for each thing that was measured; until then, on a terminal, how far it is."""
import sys

from table import SUBJECT

BUSY = 0.97  # share of busy time from which on the generator, or the device, may have been the slower one
BOUNDS = {(False, False): " ", (True, False): "g", (False, True): "d", (True, True): "b"}
LEGEND = {"g": "the generator was busy all the time: the device may be faster than that", "d": "the device's worker was",
          "b": "both were"}


def show_progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def is_disturbed(conditions):
    """Whether other work took so much of the machine that absolute figures suffer."""
    return conditions["other_work"] > 0.05 or conditions["preemptions_per_second"] > 20


def _head(conditions):
    c = conditions
    lines = [
        f"{c['time']}  {c['host']}  commit {c['commit']}",
        f"{c['cpu']}, {c['cpus']} CPUs, TSC {c['tsc_ghz']:.2f} GHz, Linux {c['kernel']}, {c['dpdk']}, "
        f"{'2 MiB hugepages' if c['hugepages'] else 'no hugepages'}",
        f"worker on CPU {c['worker_cpu']}, generator on CPU {c['generator_cpu']}, control on CPU {c['control_cpu']}; vhost-user, "
        f"{'packed' if c['packed'] else 'split'} rings of {c['queue_size']}",
        f"UDP, {c['hosts']} hosts, flows in {c['order']} order; medians of {c['rounds']} rounds of {c['run_seconds']} s, "
        "± half the quartile distance; both: directions added",
    ]
    if is_disturbed(c):
        lines.append(f"NOTE: the machine did other work: {c['other_work']:.0%} of its CPU time before the run, "
                     f"the generator was preempted {c['preemptions_per_second']:.0f} times a second")
    return lines


def _names(groups):
    return list(dict.fromkeys(name for group in groups for name in group["devices"]))


def _cell(device):
    if not device:
        return " " * 13
    return f"{device['median']:6.2f}{bound_of(device)} ±{device['spread']:4.0%}"


def bound_of(device):
    """Who was busy all the time: a letter of the legend."""
    return BOUNDS[device.get("generator_busy", 0) >= BUSY, device.get("device_busy", 0) >= BUSY]


def _ratio(ratio):
    return f"{ratio['median']:9.2f} ±{ratio['spread']:4.0%}" if ratio else " " * 15


def _compared(groups):
    """The devices that the subject is compared with."""
    return list(dict.fromkeys(name for group in groups for name in group["ratios"]))


def _table(left, rows, groups, unit, ratio="{subject}/{other}"):
    """Rows of (text at the left, group); the devices' values, then the ratios of the subject to them."""
    names, others = _names(groups), _compared(groups)
    header = f"{left}  | " + " | ".join([f"{name:>13}" for name in names] +
                                        [ratio.format(subject=SUBJECT, other=name).rjust(15) for name in others])
    lines = ["", f"{unit}:", header, "-" * len(header)]
    for text, group in rows:
        cells = [_cell(group["devices"].get(name)) for name in names] + [_ratio(group["ratios"].get(name)) for name in others]
        lines.append(f"{text}  | " + " | ".join(cells))
    return lines


LEFT = f"{'sessions':>9} {'frame':>5} {'traffic':>8} {'line':>5}"


def _left(point):
    distance = f"{point['distance']:.0f}" if point["distance"] else "-"
    return f"{point['flows']:>9} {point['frame']:>5} {point['traffic']:>8} {distance:>5}"


def _rates(points):
    lines = _table(LEFT, [(_left(point), point) for point in points], points, "Mpps received, as much offered as the device takes")
    losses = [point["devices"][SUBJECT]["loss"] for point in points if SUBJECT in point["devices"]]
    if losses:
        lines.append(f"{SUBJECT} lost at most {max(losses):.2%} of what it took")
    return lines


def _ticks(points):
    told = [point for point in points if "ticks" in point]
    groups = [point["ticks"] for point in told]
    if not groups:
        return []
    return _table(LEFT, list(zip(map(_left, told), groups)), groups, "time stamp counter ticks of the worker for a frame",
                  ratio="{other}/{subject}")


def _searches(points):
    lines = []
    searched = [point for point in points if "search" in point]
    for goal, text in (("ndr", "NDR, Mpps: the highest rate without loss"), ("pdr", "PDR, Mpps: the highest rate with 0.5 % loss")):
        groups = [point["search"][goal] for point in searched]
        if groups:
            lines += _table(LEFT, list(zip(map(_left, searched), groups)), groups, text)
    return lines


def _latencies(points):
    header = f"{LEFT} {'device':>8} {'load':>9} {'Mpps':>6}  | {'p50':>8} {'p90':>8} {'p99':>8} {'p99.9':>8} {'max':>8} | {'turn':>6}"
    rows = [f"{_left(point)} {name:>8} {load:>9} {run['mpps']:6.2f}  | " +
            " ".join(f"{run[field]:8.1f}" for field in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")) +
            f" | {run['turn_p99_us']:6.2f}"
            for point in points for name, loads in point.get("latency", {}).items() for load, run in loads.items()]
    if not rows:
        return []
    return ["", "latency in us; shares are of the device's own highest rate; turn: p99 of the generator's loop, the resolution:",
            header, "-" * len(header), *rows]


def _connections(groups):
    texts = {"udp": "UDP flows opened", "tcp": "TCP opened and closed"}
    lines = []
    if groups:
        lines += _table(f"{'':>24}", [(f"{texts[group['kind']]:>24}", group) for group in groups], groups,
                        "connections, millions a second, of flows never seen before")
    for group in groups:
        for name, device in group["devices"].items():
            more = [f"first trial {device['first']:.2f}"]
            if device["loss"] >= 0.001:
                more.append(f"{device['loss']:.1%} were not completed")
            more += [f"{goal.upper()} {device[goal]['median']:.2f}" for goal in ("ndr", "pdr") if goal in device]
            lines.append(f"{texts[group['kind']]:>24}  {name}: {', '.join(more)}")
    return lines


def text_of(document):
    points, connections = document["points"], document.get("connections", [])
    lines = _head(document["conditions"]) + _rates(points) + _ticks(points) + _searches(points) + _latencies(points) + _connections(connections)
    verified = sum(one["frames_verified"] for one in document["rounds"].get(SUBJECT, []))
    lines += ["", *document["faults"]]
    if any(point["distance"] for point in points):
        lines.append("line: ticks of a cache line from the generator's CPU to the worker's and back; rows of different ones are "
                     "not to be compared")
    bounds = {bound_of(device) for group in [*points, *connections] for device in group["devices"].values()}
    lines += [f"{letter}  {text}" for letter, text in LEGEND.items() if letter in bounds]
    if verified and not document["faults"]:
        lines.append(f"{verified} of vmnat's translations verified, out and back: no fault")
    return "\n".join(lines)
