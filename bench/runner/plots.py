#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pictures of a result: rate against sessions, and latency by percentile, one line a device.

    bench/runner/plots.py bench/results/DATE-HOST.json      writes DATE-HOST-rate.svg and DATE-HOST-latency.svg beside it
"""
import collections
import json
import math
import sys
from pathlib import Path

from report import is_disturbed
from svg import Chart, Style, linear_scale, log_scale

STYLES = {"io": Style("#bbbbbb", "3 3"), "macswap": Style("#777777", "7 3"), "vmnat": Style("#0072b2", width=3),
          "ovs": Style("#d55e00"), "kernel": Style("#009e73")}
NAMES = {"io": "testpmd io (bound)", "macswap": "testpmd macswap (bound)", "ovs": "OVS-DPDK conntrack", "kernel": "Linux masquerade"}
PERCENTILES = [(0.5, "50%"), (0.9, "90%"), (0.99, "99%"), (0.999, "99.9%"), (0.9999, "99.99%"), (0.99999, "99.999%")]


def style_of(device):
    return STYLES.get(device, Style("#cc79a7"))


def name_of(device):
    return NAMES.get(device, device)


def conditions_text(conditions):
    c = conditions
    busy = "; the machine did other work at the time" if is_disturbed(c) else ""
    return [f"{c['cpu']}, TSC {c['tsc_ghz']:.1f} GHz, {c['dpdk']}, vhost-user; one worker core, generator on another; "
            f"commit {c['commit']}, {c['time'][:10]}",
            f"UDP, flows in {c['order']} order; medians of {c['rounds']} rounds of {c['run_seconds']} s" + busy]


def count_text(number):
    for unit, text in ((10**6, " M"), (10**3, " k")):
        if number >= unit:
            return f"{number / unit:g}{text}"
    return f"{number:g}"


def nice_step(largest, steps=7):
    """A tick distance of 1, 2 or 5 times a power of ten that gives at most so many steps."""
    rough = largest / steps
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def usual_points(document):
    """Those at the distance of the CPUs at which most was measured."""
    rounds = collections.Counter()
    for point in document["points"]:
        rounds[point["distance"]] += sum(value is not None for device in point["devices"].values() for value in device["mpps"])
    return [point for point in document["points"] if point["distance"] == max(rounds, key=rounds.get)]


def rate_chart(document):
    """A panel for each frame size and direction that was measured at several numbers of sessions."""
    points = usual_points(document)
    groups = {}
    for point in points:
        groups.setdefault((point["frame"], point["traffic"]), []).append(point)
    groups = {key: group for key, group in groups.items() if len({point["flows"] for point in group}) > 1}
    if not groups:
        return None
    frames = {frame for frame, _ in groups}
    shown = "64" if "64" in frames else next(iter(groups))[0]
    groups = {key: group for key, group in groups.items() if key[0] == shown}
    top = max(device["median"] * (1.02 + device["spread"]) for group in groups.values() for point in group for device in point["devices"].values())
    step = nice_step(top)
    ticks = math.floor(top / step) + 1
    chart = Chart(f"Rate against sessions, {'IMIX' if shown == 'imix' else shown + '-byte'} frames", "sessions",
                  "Mpps received", [*conditions_text(document["conditions"]), "bars: half the distance between the quartiles"])
    for (_, traffic), group in groups.items():
        flows = sorted(point["flows"] for point in group)
        panel = chart.panel("both ways, added" if traffic == "both" else traffic, log_scale(flows[0] * 0.7, flows[-1] * 1.4),
                            linear_scale(0, ticks * step))
        panel.x_ticks([(count, count_text(count)) for count in flows])
        panel.y_ticks([(n * step, f"{n * step:g}") for n in range(ticks + 1)])
        for device in dict.fromkeys(name for point in group for name in point["devices"]):
            values = [(point["flows"], point["devices"][device]["median"],
                       point["devices"][device]["median"] * point["devices"][device]["spread"])
                      for point in group if device in point["devices"]]
            panel.line(name_of(device), sorted(values), style_of(device))
    return chart


def percentile_scale(quantile):
    """50 % to 99.999 %: each further nine takes as much room as the one before."""
    nines = -math.log10(max(1 - quantile, 1e-9))
    first, last = -math.log10(0.5), 5
    return (nines - first) / (last - first)


def latency_chart(document):
    """A panel for each direction, at the largest number of sessions; at the load nearest to half."""
    points = [point for point in usual_points(document) if "latency" in point]
    if not points:
        return None
    flows = max(point["flows"] for point in points)
    frame = points[0]["frame"]
    points = [point for point in points if point["flows"] == flows and point["frame"] == frame]
    loads = list(next(iter(points[0]["latency"].values())))
    load = "50%" if "50%" in loads else loads[0]
    curves = [(point, device, [(quantile, us) for quantile, us in runs[load]["curve"] if 0.5 <= quantile <= 0.99999 and us > 0])
              for point in points for device, runs in point["latency"].items() if load in runs]
    values = [us for _, _, curve in curves for _, us in curve]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values) * 1.01))
    share = f"at {load} of each device's own highest rate" if load.endswith("%") else f"at {load}"
    chart = Chart(f"Latency, {share}", "share of frames that are faster", "microseconds",
                  [f"{count_text(flows)} sessions, frames of {frame} bytes; from the first offer to the ring to arrival",
                   *conditions_text(document["conditions"])])
    for point in points:
        panel = chart.panel("both ways" if point["traffic"] == "both" else point["traffic"], percentile_scale, log_scale(low, high))
        panel.x_ticks(PERCENTILES)
        panel.y_ticks([(10**n, f"{10**n:g}") for n in range(round(math.log10(low)), round(math.log10(high)) + 1)])
        for owner, device, curve in curves:
            if owner is point:
                panel.line(name_of(device), curve, style_of(device))
    return chart


def write_plots(document, path):
    """The files written, beside the result at `path`."""
    written = []
    for name, chart in (("rate", rate_chart(document)), ("latency", latency_chart(document))):
        if chart is not None:
            target = path.with_name(f"{path.stem}-{name}.svg")
            target.write_text(chart.text())
            written.append(target)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__.strip())
    for file in write_plots(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[1])):
        print(file)
