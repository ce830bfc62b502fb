"""Estimates with their Monte Carlo standard errors, shared by the reference simulations.

Owns: what a simulated sample says about a mean, a spread, a quantile, a tail mean or a probability, and how
far such a statement may be off by chance. Must never import anything of the mesh: these references are worth
something only because they share no code with it.
"""

import hashlib
import json
import math

import numpy as np


def seed_entropy(text):
    """Turns a seed given as text into entropy for numpy's SeedSequence (an integer stands for itself)."""
    try:
        return int(text)
    except ValueError:
        return int.from_bytes(hashlib.sha256(text.encode()).digest(), "little")


def load_job(path, profile):
    """The `args` of a job envelope, after checking that it asks for the wanted profile."""
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    found = f"{job['op']['name']}@{job['op']['version']}/{job['op']['profile']}"
    if found != profile:
        raise SystemExit(f"{path}: this reference simulates {profile}, the job asks for {found}")
    return job["args"]


def rank(count, level):
    """Zero-based rank of the level's order statistic: the smallest x with at least level * count values <= x."""
    return min(count - 1, max(0, math.ceil(level * count - 1e-9) - 1))


def mean_se(values):
    """Mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size))


def spread_se(values):
    """Sample standard deviation and its standard error, by the delta method on the fourth central moment."""
    centred = values - values.mean()
    variance = float(np.mean(centred**2))
    if variance == 0.0:
        return 0.0, 0.0
    fourth = float(np.mean(centred**4))
    error = math.sqrt(max(fourth - variance**2, 0.0) / (4.0 * variance * values.size))
    return float(values.std(ddof=1)), error


def quantile_se(ordered, level):
    """Order statistic at `level` and its standard error.

    The rank of the true quantile is binomial with deviation sqrt(n p (1-p)). The error is a quarter of the larger
    distance to the order statistics four such deviations below and above: no density estimate is needed, an atom
    (zero years, caps) gets the error 0 it deserves, and a level near the edge of an atom does not.
    """
    count = ordered.size
    at = rank(count, level)
    reach = max(1, math.ceil(4.0 * math.sqrt(count * level * (1.0 - level))))
    value = ordered[at]
    below, above = value - ordered[max(0, at - reach)], ordered[min(count - 1, at + reach)] - value
    return float(value), float(max(below, above)) / 4.0


def tail_mean_se(ordered, level):
    """Mean of the worst (1 - level) share (Rockafellar & Uryasev 2002) and its standard error."""
    value_at_risk = ordered[rank(ordered.size, level)]
    excess = np.maximum(ordered - value_at_risk, 0.0)
    tail = 1.0 - level
    error = float(excess.std(ddof=1)) / (tail * math.sqrt(ordered.size))
    return float(value_at_risk + excess.mean() / tail), error


def probability_se(hits, count):
    """Share of hits and its standard error; with no or few hits the error of one hit is the floor."""
    share = hits / count
    return share, max(math.sqrt(share * (1.0 - share) / count), 1.0 / count)


def summarise(values, levels):
    """Every figure of one simulated quantity: {name: value}, {name: standard error}; percentiles nested."""
    ordered = np.sort(values)
    mean, mean_error = mean_se(values)
    spread, spread_error = spread_se(values)
    quantiles = {level: quantile_se(ordered, level) for level in levels}
    figures = {"mean": mean, "sd": spread, "percentiles": {k: v for k, (v, _) in quantiles.items()}}
    errors = {"mean": mean_error, "sd": spread_error, "percentiles": {k: e for k, (_, e) in quantiles.items()}}
    return figures, errors
