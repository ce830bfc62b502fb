"""Compares a job's result with the independent simulation, figure by figure, in standard errors.

Owns: the verdict "within Monte Carlo error". Must never import anything of the mesh, nor compare bits: those
are the golden vectors' business.

    python compare.py --job ../../node/examples/reserve-raa.json --result OUT/result.json

Each figure must lie within 4 combined standard errors: those of the reference, and the same scaled by
sqrt(n_reference / n_job) for the job's own sample. Exit code 0 when all do, 1 when one does not. A figure
that the result must have and does not is a failure too.
"""

import argparse
import json
import math
import sys

import insurance
import reserve
from mcstats import load_job

BOUND = 4.0

# Rounding that is not sampling error: results are sums of fixed-point integers of about 40 bits.
FIXED_POINT = 2.0**-36

RAA_RESERVE = 52_135.23
# The run documented with R's ChainLadder, BootChainLadder(RAA, R = 999, process.distr = "gamma").
R_DRAWS, R_MEAN, R_ERROR = 999, 54_444.0, 18_711.0


class Table:
    """Prints one line per figure and remembers whether any failed."""

    def __init__(self):
        self.lines = 0
        self.failed = []
        print(f"{'figure':<34} {'ours':>16} {'reference':>16} {'difference':>12}")

    def add(self, name, ours, reference, error):
        """A figure with a combined standard error; `error` 0 asks for equality up to fixed-point rounding."""
        if not isinstance(ours, (int, float)) or isinstance(ours, bool) or not math.isfinite(ours):
            self._line(name, str(ours), reference, "missing", failed=True)
            return
        gap = abs(ours - reference)
        if gap <= FIXED_POINT * max(1.0, abs(reference)):
            score = 0.0
        else:
            score = math.copysign(gap / error if error > 0.0 else math.inf, ours - reference)
        self._line(name, f"{ours:,.6g}" if abs(ours) < 1 else f"{ours:,.2f}", reference, f"{score:+.2f} se",
                   failed=abs(score) > BOUND)

    def exact(self, name, ours, reference, tolerance):
        """A figure without sampling error."""
        missing = not isinstance(ours, (int, float)) or not math.isfinite(ours)
        shown = str(ours) if missing else f"{ours:,.4f}"
        self._line(name, shown, reference, f"to {tolerance:g}",
                   failed=missing or abs(ours - reference) > tolerance)

    def score(self, name, ours, reference, score):
        """A figure whose distance in standard errors is already known."""
        self._line(name, f"{ours:.6g}", reference, f"{score:+.2f} se", failed=abs(score) > BOUND)

    def _line(self, name, ours, reference, verdict, failed):
        self.lines += 1
        shown = f"{reference:,.6g}" if abs(reference) < 1 else f"{reference:,.2f}"
        print(f"{name:<34} {ours:>16} {shown:>16} {verdict:>12}{'  FAILED' if failed else ''}")
        if failed:
            self.failed.append(name)


def percentiles_of(record):
    """`percentiles` as {level: value}: a list of {"level", "value"} or an object keyed by level."""
    found = record.get("percentiles", [])
    if isinstance(found, dict):
        return {float(level): value for level, value in found.items()}
    return {float(item["level"]): item["value"] for item in found}


def compare_reserve(table, args, output, paths, seed):
    """All totals and all origin periods of a reserve result."""
    levels = sorted(percentiles_of(output)) or list(reserve.LEVELS)
    reference = reserve.run(args, paths, seed, levels)
    widen = math.sqrt(1.0 + reference["n"] / args["iterations"])
    table.exact("dispersion", output.get("dispersion"), reference["phi"], 1e-9 * max(1.0, reference["phi"]))
    compare_reserve_record(table, "", output, reference, levels, widen)
    origins = output.get("by_origin", [])
    table.exact("origin periods", len(origins), len(reference["by_origin"]), 0)
    for index, (ours, theirs) in enumerate(zip(origins, reference["by_origin"])):
        compare_reserve_record(table, f"origin[{index}] ", ours, theirs, levels, widen)
    if abs(reference["chain_ladder_reserve"] - RAA_RESERVE) < 0.01:
        compare_published_raa(table, output, reference, widen)


def compare_reserve_record(table, prefix, ours, reference, levels, widen):
    errors = reference["errors"]
    scale = 1e-9 * max(1.0, abs(reference["chain_ladder_reserve"]))
    table.exact(prefix + "chain_ladder_reserve", ours.get("chain_ladder_reserve"),
                reference["chain_ladder_reserve"], scale)
    for name in ("mean", "prediction_error"):
        table.add(prefix + name, ours.get(name), reference[name], widen * errors[name])
    found = percentiles_of(ours)
    for level in levels:
        table.add(f"{prefix}percentile {level:g}", found.get(level), reference["percentiles"][level],
                  widen * errors["percentiles"][level])


def compare_published_raa(table, output, reference, widen):
    """The published chain-ladder reserve, and R's documented run within the sampling error of its 999 draws.

    The error of a mean or a standard deviation shrinks with the root of the number of draws, so R's is the
    reference's own (whose spread and fourth moment are well known) times sqrt(n_reference / 999); ours is
    added in quadrature.
    """
    table.exact("published RAA reserve", output.get("chain_ladder_reserve"), RAA_RESERVE, 0.01)
    of_r = reference["n"] / R_DRAWS
    ours = widen**2 - 1.0
    for name, published in (("mean", R_MEAN), ("prediction_error", R_ERROR)):
        error = reference["errors"][name] * math.sqrt(of_r + ours)
        table.add(f"R's {R_DRAWS} draws: {name}", output.get(name), published, error)


def compare_insurance(table, args, output, paths, seed):
    """Moments, percentiles, tail means and limit probabilities of an insurance result."""
    named = {0.5: output.get("p50_loss"), 0.95: output.get("p95_loss"), 0.99: output.get("p99_loss")}
    surface = tail_surface(output)
    reference = insurance.run(args, paths, seed, sorted(set(named) | set(surface)), sorted(surface))
    errors = reference["errors"]
    draws = args["iterations"]
    widen = math.sqrt(1.0 + paths / draws)
    for name in ("mean", "std"):
        table.add(name, output.get(name), reference[name], widen * errors[name])
    error_of_mean = reference["std"] / math.sqrt(draws)
    table.add("std_error", output.get("std_error"), error_of_mean, widen * errors["std"] / math.sqrt(draws))
    for level, value in named.items():
        table.add(f"p{100 * level:g}_loss", value, reference["percentiles"][level],
                  widen * errors["percentiles"][level])
    for level, point in surface.items():
        table.add(f"VaR {level:g}", point.get("var"), reference["percentiles"][level],
                  widen * errors["percentiles"][level])
        table.add(f"TVaR {level:g}", point.get("tvar"), reference["tvar"][level], widen * errors["tvar"][level])
    compare_probabilities(table, output, reference, draws)


def tail_surface(output):
    """`tail_exposure_surface` as {level: {"var", "tvar"}}; the points may lie under `points`."""
    surface = output.get("tail_exposure_surface", [])
    points = surface.get("points", []) if isinstance(surface, dict) else surface
    return {float(point["level"]): point for point in points if 0.0 < float(point["level"]) < 1.0}


def compare_probabilities(table, output, reference, draws):
    """Limit probabilities by Anscombe's arcsine transform, whose error is known even for a handful of hits.

    The claim limit has a closed form (Poisson thinning), so it is compared with the truth itself.
    """
    exact = reference["policy_limit_probability_exact"]
    cases = (
        ("policy_limit_probability", exact, None),
        ("aggregate_limit_probability", reference["aggregate_limit_probability"], reference["n"]),
    )
    for name, share, paths in cases:
        ours = output.get(name)
        if ours is None:
            table.add(name, None, share, 0.0)
            continue
        own = math.asin(math.sqrt(anscombe(ours, draws)))
        theirs = math.asin(math.sqrt(share if paths is None else anscombe(share, paths)))
        spread = math.sqrt(1.0 / draws + (0.0 if paths is None else 1.0 / paths))
        table.score(name, ours, share, 2.0 * (own - theirs) / spread)


def anscombe(share, draws):
    """The share of hits, moved off the edges (Anscombe 1948)."""
    return (share * draws + 0.375) / (draws + 0.75)


PROFILES = {
    "reserve.v1": ("mc@1/reserve.v1", compare_reserve, 200_000),
    "insurance.v1": ("mc@1/insurance.v1", compare_insurance, 2_000_000),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", required=True)
    parser.add_argument("--result", required=True)
    parser.add_argument("--paths", type=int, help="reference paths; more than the default only")
    parser.add_argument("--seed", default="reference")
    options = parser.parse_args()
    with open(options.job, encoding="utf-8") as file:
        name = json.load(file)["op"]["profile"]
    if name not in PROFILES:
        raise SystemExit(f"{options.job}: no reference for profile {name}; there are: {', '.join(PROFILES)}")
    profile, compare, least = PROFILES[name]
    args = load_job(options.job, profile)
    with open(options.result, encoding="utf-8") as file:
        result = json.load(file)
    output = result["output"]
    # What was executed, which a command line may have changed from what the file asks for.
    args["iterations"] = result["work"]["iterations"]
    table = Table()
    compare(table, args, output, max(least, options.paths or 0), options.seed)
    print(f"{table.lines - len(table.failed)} of {table.lines} figures within {BOUND:g} standard errors"
          f" (reference seed {options.seed})")
    if table.failed:
        print("failed: " + ", ".join(table.failed))
        sys.exit(1)


if __name__ == "__main__":
    main()
