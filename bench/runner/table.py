# SPDX-License-Identifier: Apache-2.0
"""From samples to medians and ratios.

Everything is taken within a round first and then over the rounds, so that a machine that changes its speed does not change
a ratio. What was measured at different distances of the two CPUs (bench/generator/line_trip.h) is never put together: a point
is a number of flows, a frame size, a traffic, at one distance. What it looks like as text is report.py's, as a picture
plots.py's.
"""
from statistics import median, quantiles
from typing import NamedTuple

BOUND = "macswap"
SUBJECT = "vmnat"
LATENCY_FIELDS = ("p50_us", "p90_us", "p99_us", "p999_us", "max_us", "mpps", "loss", "turn_p99_us")


ONE_DISTANCE = 1.4  # a cache line's trips differ by less while the CPUs stand where they are


def summary_of(values):
    """Median, and half of the distance between the quartiles relative to it. Of the rounds that have a value."""
    values = [value for value in values if value is not None]
    middle = median(values)
    if len(values) < 2 or middle == 0:
        return {"median": middle, "spread": 0.0}
    low, _, high = quantiles(values, n=4, method="inclusive")
    return {"median": middle, "spread": (high - low) / 2 / middle}


def ratios_of(values):
    """The subject's values over each other device's, round by round."""
    ratios = {}
    for name, others in values.items():
        if name == SUBJECT or SUBJECT not in values:
            continue
        ratio = ratio_of(values[SUBJECT], others)
        if ratio:
            ratios[name] = ratio
    return ratios


def ratio_of(values, others):
    """Round by round, of the rounds that have both; None when none has."""
    pairs = [mine / other for mine, other in zip(values, others) if mine is not None and other]
    return {**summary_of(pairs), "ratios": pairs} if pairs else None


def slowness_of(ticks):
    """The other devices' ticks over the subject's, round by round: above 1, the subject has less work with a frame."""
    if SUBJECT not in ticks:
        return {}
    ratios = {name: ratio_of(others, ticks[SUBJECT]) for name, others in ticks.items() if name != SUBJECT}
    return {name: ratio for name, ratio in ratios.items() if ratio}


def _line_trip(point):
    return median(sample.get("line_trip_ticks", 0) for sample in point["samples"])


class Distances:
    """The distances at which the CPUs stood, each as the median of its trips, 0 when none was measured."""

    def __init__(self, trips):
        self.groups = []
        for trip in sorted(trips):
            if not self.groups or trip > ONE_DISTANCE * self.groups[-1][-1]:
                self.groups.append([])
            self.groups[-1].append(trip)

    def of(self, trip):
        return median(next(group for group in self.groups if trip <= group[-1]))


class Key(NamedTuple):
    """What is measured, and at which distance."""
    flows: int
    frame: str
    traffic: str
    order: str
    distance: float


def _add_distances(results):
    """Writes into each point of each round which of all the distances is its own."""
    points = [point for rounds in results.values() for one in rounds for point in one["points"]]
    distances = Distances({_line_trip(point) for point in points})
    for point in points:
        point["distance"] = distances.of(_line_trip(point))


def _key(point):
    return Key(*(point[field] for field in Key._fields))


def _points(rounds, key):
    return [point for one in rounds for point in one["points"] if _key(point) == key]


def _values(rounds, key, field):
    """One value per round, None where it has none: the median of that round's samples."""
    points = [next(iter(_points([one], key)), None) for one in rounds]
    return [median(sample[field] for sample in point["samples"]) if point else None for point in points]


def _of_devices(results, key, field):
    """Of those that have it in any round."""
    values = {name: _values(rounds, key, field) for name, rounds in results.items()}
    return {name: of_rounds for name, of_rounds in values.items() if any(value is not None for value in of_rounds)}


def _middle(rounds, key, field):
    return summary_of(_values(rounds, key, field))["median"]


def _search(results, key):
    """Per device NDR and PDR, and the ratios of both."""
    found = {}
    for goal in ("ndr", "pdr"):
        values = {name: [point["search"][goal]["mpps"] for point in _points(rounds, key) if "search" in point]
                  for name, rounds in results.items()}
        values = {name: rates for name, rates in values.items() if rates}
        found[goal] = {"devices": {name: {**summary_of(rates), "mpps": rates} for name, rates in values.items()},
                       "ratios": ratios_of(values)}
    return found if found["ndr"]["devices"] else None


def _latency(rounds, key):
    """Per load the medians over the rounds, of each percentile and of each point of the curve."""
    runs = {}
    for point in _points(rounds, key):
        for run in point.get("latency", []):
            runs.setdefault(run["load"], []).append(run)
    return {load: {**{field: median(run[field] for run in same) for field in LATENCY_FIELDS},
                   "curve": [[at[0][0], median(value for _, value in at)] for at in zip(*(run["curve"] for run in same))]}
            for load, same in runs.items()}


def merged_points(results):
    """Per point: every device's summary over the rounds, and the ratios of the subject to the others."""
    points = []
    _add_distances(results)
    keys = dict.fromkeys(_key(point) for rounds in results.values() for one in rounds for point in one["points"])
    order = list(dict.fromkeys(key[:-1] for key in keys))
    for key in sorted(keys, key=lambda key: (order.index(key[:-1]), key.distance)):
        rates = _of_devices(results, key, "mpps")
        point = {**key._asdict(), "devices": {
            name: {**summary_of(values), "mpps": values,
                   **{field: _middle(results[name], key, field)
                      for field in ("loss", "generator_busy", "device_busy", "frames_per_burst")}}
            for name, values in rates.items()}}
        point["ratios"] = ratios_of(rates)
        ticks = {name: values for name, values in _of_devices(results, key, "device_ticks").items() if any(values)}
        if ticks:
            point["ticks"] = {"devices": {name: {**summary_of(values), "ticks": values} for name, values in ticks.items()},
                              "ratios": slowness_of(ticks)}
        search = _search(results, key)
        if search:
            point["search"] = search
        latency = {name: _latency(rounds, key) for name, rounds in results.items()}
        if any(latency.values()):
            point["latency"] = {name: loads for name, loads in latency.items() if loads}
        points.append(point)
    return points


def _connections(rounds, kind):
    return [point for one in rounds for point in one.get("connections", []) if point["kind"] == kind]


def merged_connections(results):
    """Per kind of connection: every device's rate, loss, and what the search found, if there was one."""
    kinds = dict.fromkeys(point["kind"] for rounds in results.values() for point in rounds[0].get("connections", []))
    merged = []
    for kind in kinds:
        points = {name: _connections(rounds, kind) for name, rounds in results.items()}
        points = {name: same for name, same in points.items() if same}
        rates = {name: [median(trial["millions_per_second"] for trial in point["trials"]) for point in same]
                 for name, same in points.items()}
        devices = {name: {**summary_of(values), "millions_per_second": values,
                          "generator_busy": median(t["generator_busy"] for p in points[name] for t in p["trials"]),
                          "first": median(p["first"]["millions_per_second"] for p in points[name]),
                          "loss": median(1 - t["completed"] / t["attempted"] for p in points[name] for t in p["trials"])}
                   for name, values in rates.items()}
        for name, same in points.items():
            for goal in ("ndr", "pdr"):
                found = [point["search"][goal]["mpps"] for point in same if "search" in point]
                if found:
                    devices[name][goal] = summary_of(found)
        merged.append({"kind": kind, "devices": devices, "ratios": ratios_of(rates)})
    return merged
