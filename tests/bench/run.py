#!/usr/bin/env python3
"""Benchmarks the kernel beside NumPy and Numba versions of the same models: alternating, one core each.

Owns the order of the runs and the table. Every round runs each contestant once; the table gives the best and the
median of all rounds, in nanoseconds a path, and the ratio to our best. Must never run two contestants at once.

Usage: run.py [--rounds 7] [--python PYTHON] [--profile insurance|reserve]
PYTHON is one with the packages of tests/oracle/requirements-bench.txt.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNEL = ROOT / "target/release/bench-kernel"
PROFILES = {
    # job file, our paths, peers' script, peers' paths, fastest NumPy, ordinary NumPy, fastest Numba
    "insurance": ("insurance-quickstart.json", 8_000_000, "bench_insurance.py", 2_000_000,
                  ["grouped_exp_sfc64_2e16", "bincount_exp_sfc64", "numba_generator_sfc64"]),
    "reserve": ("reserve-raa.json", 100_000, "bench_reserve.py", 100_000,
                ["cells_sfc64_4096", "numba_marsaglia_sfc64"]),
}


def pinned(command, **environment):
    """The last JSON line that the command prints; it runs on one core."""
    done = subprocess.run(["taskset", "-c", "0", *map(str, command)], check=True, text=True,
                          stdout=subprocess.PIPE, env={**os.environ, **environment})
    return json.loads(done.stdout.strip().splitlines()[-1])


def contestants(profile, python):
    job, our_paths, script, their_paths, variants = PROFILES[profile]
    job = ROOT / "node/examples" / job
    ours = {}
    for isa in ("avx512", "avx2"):
        for keep, what in (("all", "exact percentiles"), ("histogram", "no percentiles"), ("sums", "sums alone"),
                           ("nothing", "paths alone")):
            ours[f"forgemesh {isa}, {what}"] = lambda isa=isa, keep=keep: pinned(
                [KERNEL, job, our_paths, keep, 1], FORGEMESH_ISA=isa)
    theirs = {}
    for variant in variants:
        for percentiles in ("yes", "no"):
            what = "percentiles" if percentiles == "yes" else "no percentiles"
            theirs[f"{variant}, {what}"] = lambda variant=variant, percentiles=percentiles: pinned(
                [python, ROOT / "tests/oracle" / script, "--variant", variant, "--paths", their_paths,
                 "--percentiles", percentiles, "--repeat", 1])
    return {**ours, **theirs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--profile", choices=list(PROFILES), action="append")
    options = parser.parse_args()
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "forgemesh-tests", "--bin", "bench-kernel"],
                   cwd=ROOT, check=True)
    for profile in options.profile or PROFILES:
        runs = contestants(profile, options.python)
        times = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, run in runs.items():
                line = run()
                times[name].append(line["seconds"] * 1e9 / line["paths"])
        base = min(times["forgemesh avx512, exact percentiles"])
        print(f"\n{profile}, {options.rounds} rounds, one core, ns a path\n")
        print("| contestant | best | median | best, paths/s | best ÷ ours |\n| --- | ---: | ---: | ---: | ---: |")
        for name, values in times.items():
            best = min(values)
            print(f"| {name} | {best:.1f} | {statistics.median(values):.1f} | {1e9 / best:,.0f} | {best / base:.2f} |")


if __name__ == "__main__":
    main()
