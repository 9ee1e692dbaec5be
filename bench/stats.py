"""What is computed from the rounds; plain Python, no state."""

import statistics

# A turn counts as slow when the probe beside it falls below this share of the run's median rate.
SLOW_SHARE = 0.9
# The largest absolute difference of outputs (LayerNorm's, so of the order of 1) that rounding in
# another order explains.
LARGEST_DIFFERENCE = 1e-3


def mark_slow(rounds):
    """Sets turn["slow"] in every turn of every round: {contestant: {"ns": […], "probe": [before,
    after]}}; gives the median rate."""
    rates = [rate for turns in rounds for turn in turns.values() for rate in turn["probe"]]
    median = statistics.median(rates) if rates else 0
    for turns in rounds:
        for turn in turns.values():
            turn["slow"] = min(turn["probe"]) < SLOW_SHARE * median
    return median


def round_trip(rounds):
    """The median of the nanoseconds in which a cache line went from core to core and back; None for
    one core, and where it was not measured."""
    ns = [ns for turns in rounds for turn in turns.values() for ns in turn.get("round_trip_ns", ())]
    return statistics.median(ns) if any(ns) else None


def good_turns(rounds, key):
    """The turns of a contestant that are not slow, or all when each of them is."""
    turns = [turns[key] for turns in rounds if key in turns]
    return [turn for turn in turns if not turn.get("slow")] or turns


def latency(rounds, key):
    """Median, best and 90th percentile in ms of all runs of the good turns; None without runs."""
    ns = sorted(ns for turn in good_turns(rounds, key) for ns in turn["ns"])
    if not ns:
        return None
    rank = max(0, -(-9 * len(ns) // 10) - 1)
    return {
        "median": statistics.median(ns) / 1e6,
        "min": ns[0] / 1e6,
        "p90": ns[rank] / 1e6,
        "runs": len(ns),
    }


def ratio(rounds, slower, faster):
    """The median over rounds of time(slower) / time(faster), each the median of its turn; rounds
    with a slow turn of either are left out unless all are. None without common rounds."""
    both = [turns for turns in rounds if slower in turns and faster in turns]
    good = [t for t in both if not t[slower].get("slow") and not t[faster].get("slow")] or both
    ratios = [statistics.median(t[slower]["ns"]) / statistics.median(t[faster]["ns"]) for t in good]
    return statistics.median(ratios) if ratios else None


def fit_line(points):
    """Least squares through (x, y): slope, intercept and R²; None for fewer than two x."""
    if len({x for x, _ in points}) < 2:
        return None
    xs, ys = zip(*points)
    mean_x, mean_y = statistics.fmean(xs), statistics.fmean(ys)
    sxx = sum((x - mean_x) ** 2 for x in xs)
    sxy = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope = sxy / sxx
    intercept = mean_y - slope * mean_x
    total = sum((y - mean_y) ** 2 for y in ys)
    left = sum((y - intercept - slope * x) ** 2 for x, y in points)
    return slope, intercept, 1 - left / total if total else 1.0
