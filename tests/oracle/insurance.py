"""Independent NumPy simulation of `mc@1/insurance.v1`: annual losses under a claim and an aggregate limit.

Owns: the model. In each year N ~ Poisson(claim_freq) claims, each lognormal(mu, sig) and capped at
policy_limit; with probability cat_prob one event lognormal(cat_mu, cat_sig), not subject to the claim limit;
the year's total is capped at aggregate_limit. Must never import anything of the mesh, nor copy its draws:
agreement is statistical, within the standard errors printed beside each figure.

    python insurance.py --job ../../node/examples/insurance-quickstart.json --paths 2000000 --seed 1
"""

import argparse
import json
import math

import numpy as np

from mcstats import load_job, probability_se, seed_entropy, summarise, tail_mean_se

LEVELS = (0.5, 0.95, 0.99)
TAIL_LEVELS = (0.99,)


def simulate(args, paths, rng, chunk=100_000):
    """Uncapped annual totals (claims already capped), and how many years had a claim at the policy limit."""
    totals, limited_years = np.empty(paths), 0
    for start in range(0, paths, chunk):
        size = min(chunk, paths - start)
        counts = rng.poisson(args["claim_freq"], size)
        year = np.repeat(np.arange(size), counts)
        claims = rng.lognormal(args["claim_severity_mu"], args["claim_severity_sig"], year.size)
        limited_years += np.unique(year[claims >= args["policy_limit"]]).size
        total = np.bincount(year, np.minimum(claims, args["policy_limit"]), minlength=size)
        event = rng.random(size) < args["cat_prob"]
        total[event] += rng.lognormal(args["cat_mu"], args["cat_sig"], int(event.sum()))
        totals[start : start + size] = total
    return totals, limited_years


def policy_limit_probability(args):
    """Exact probability that some claim of a year reaches the limit: Poisson thinning, 1 - exp(-freq q)."""
    if args["claim_severity_sig"] == 0.0:
        reach = float(math.exp(args["claim_severity_mu"]) >= args["policy_limit"])
    else:
        z = (math.log(args["policy_limit"]) - args["claim_severity_mu"]) / args["claim_severity_sig"]
        reach = 0.5 * math.erfc(z / math.sqrt(2.0))
    return -math.expm1(-args["claim_freq"] * reach)


def run(args, paths, seed, levels=LEVELS, tail_levels=TAIL_LEVELS):
    """The whole report for a job's `args`; standard errors under `errors`, same names."""
    if not (args["policy_limit"] > 0 and args["aggregate_limit"] > 0):
        raise SystemExit("policy_limit and aggregate_limit must be positive")
    rng = np.random.default_rng(seed_entropy(str(seed)))
    uncapped, limited_years = simulate(args, paths, rng)
    capped = np.minimum(uncapped, args["aggregate_limit"])
    figures, errors = summarise(capped, levels)
    for record in (figures, errors):
        record["std"] = record.pop("sd")
    ordered = np.sort(capped)
    tails = {level: tail_mean_se(ordered, level) for level in tail_levels}
    figures["tvar"] = {level: value for level, (value, _) in tails.items()}
    errors["tvar"] = {level: error for level, (_, error) in tails.items()}
    aggregate_hits = int(np.count_nonzero(uncapped >= args["aggregate_limit"]))
    for name, hits in (("policy_limit_probability", limited_years), ("aggregate_limit_probability", aggregate_hits)):
        figures[name], errors[name] = probability_se(hits, paths)
    figures["policy_limit_probability_exact"] = policy_limit_probability(args)
    return {**figures, "errors": errors, "n": paths}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", required=True)
    parser.add_argument("--paths", type=int, default=2_000_000)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    args = load_job(options.job, "mc@1/insurance.v1")
    print(json.dumps(run(args, options.paths, options.seed), indent=1))


if __name__ == "__main__":
    main()
