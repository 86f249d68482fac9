# SPDX-License-Identifier: Apache-2.0
"""From samples to medians, ratios and a table."""
from statistics import median, quantiles

BOUND = "macswap"
SUBJECT = "vmnat"


def summary_of(values):
    """Median, and half of the distance between the quartiles relative to it."""
    middle = median(values)
    if len(values) < 2 or middle == 0:
        return {"median": middle, "spread": 0.0}
    low, _, high = quantiles(values, n=4, method="inclusive")
    return {"median": middle, "spread": (high - low) / 2 / middle}


def _key(point):
    return point["flows"], point["frame"], point["traffic"], point["order"]


def _values(rounds, key, field):
    """One value per round: the median of that round's samples."""
    return [median(sample[field] for sample in point["samples"])
            for one in rounds for point in one["points"] if _key(point) == key]


def merged_points(results):
    """Per point: every device's summary over the rounds, and the ratio subject / bound, taken round by round."""
    keys = list(dict.fromkeys(_key(point) for rounds in results.values() for point in rounds[0]["points"]))
    points = []
    for key in keys:
        rates = {name: _values(rounds, key, "mpps") for name, rounds in results.items()}
        rates = {name: values for name, values in rates.items() if values}
        point = dict(zip(("flows", "frame", "traffic", "order"), key))
        point["devices"] = {
            name: {**summary_of(values), "mpps": values, "loss": median(_values(results[name], key, "loss")),
                   "generator_busy": median(_values(results[name], key, "generator_busy"))}
            for name, values in rates.items()}
        if BOUND in rates and SUBJECT in rates:
            ratios = [subject / bound for subject, bound in zip(rates[SUBJECT], rates[BOUND]) if bound > 0]
            point["ratio"] = {**summary_of(ratios), "ratios": ratios} if ratios else None
        points.append(point)
    return points


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
    if c["other_work"] > 0.05 or c["preemptions_per_second"] > 20:
        lines.append(f"NOTE: the machine did other work: {c['other_work']:.0%} of its CPU time before the run, "
                     f"the generator was preempted {c['preemptions_per_second']:.0f} times a second")
    return lines


GENERATOR_LIMIT = 0.97  # share of busy time from which on the generator may have been the slower one


def _cell(device):
    if not device:
        return " " * 13
    mark = "*" if device["generator_busy"] >= GENERATOR_LIMIT else " "
    return f"{device['median']:6.2f}{mark} ±{device['spread']:4.0%}"


def _row(point, names):
    cells = [_cell(point["devices"].get(name)) for name in names]
    ratio = point.get("ratio")
    subject = point["devices"].get(SUBJECT)
    tail = [f"{ratio['median']:7.2f} ±{ratio['spread']:4.0%}", f"{subject['loss']:10.2%}"] if ratio else []
    return f"{point['flows']:>9} {point['frame']:>5} {point['traffic']:>8}  | " + " | ".join(cells + tail)


def text_of(document):
    points = document["points"]
    names = list(dict.fromkeys(name for point in points for name in point["devices"]))
    header = f"{'sessions':>9} {'frame':>5} {'traffic':>8}  | " + " | ".join(
        [f"{name:>8} Mpps" for name in names] + (["vmnat/macswap", "vmnat loss"] if {BOUND, SUBJECT} <= set(names) else []))
    lines = _head(document["conditions"]) + ["", header, "-" * len(header)]
    lines += [_row(point, names) for point in points]
    verified = sum(one["frames_verified"] for one in document["rounds"].get(SUBJECT, []))
    lines += ["", *document["faults"]]
    if any(device["generator_busy"] >= GENERATOR_LIMIT for point in points for device in point["devices"].values()):
        lines.append("* the generator was busy all the time: the device may be faster than that")
    if verified and not document["faults"]:
        lines.append(f"{verified} of vmnat's translations verified, out and back: no fault")
    return "\n".join(lines)
