"""Command line, clock and report shared by the benchmark peers.

Owns: how a peer is timed: one thread, warm-up and compilation outside the clock, one JSON line a repetition.
Must be imported before numpy, whose thread pools read the environment only once. Must never know a model.
"""

import argparse
import json
import os
import time

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402  (after the environment)

LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995)


def percentiles(values, levels=LEVELS):
    """Order statistics by partial sorts, ascending, each of the tail left by the one before. Reorders `values`."""
    found, start = [], 0
    for level in levels:
        at = min(values.size - 1, int(np.ceil(level * values.size)) - 1)
        values[start:].partition(at - start)
        found.append(float(values[at]))
        start = at
    return found


def main(description, default_job, variants, prepare, default_paths):
    """Runs `variants[name](prepare(job), paths, seed)`, which returns one total per path.

    Mean and standard deviation are always computed; percentiles when asked for. All are in the timed part.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--job", default=os.path.join(here, "../../node/examples", default_job))
    parser.add_argument("--variant", choices=[*variants, "all"], default="all")
    parser.add_argument("--paths", type=int, default=default_paths)
    parser.add_argument("--percentiles", choices=["yes", "no"], default="yes")
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    model = prepare(options.job)
    chosen = list(variants) if options.variant == "all" else [options.variant]
    for name in chosen:
        variants[name](model, min(options.paths, 20_000), 0)
    for repetition in range(options.repeat):
        for name in chosen:
            print(json.dumps(measure(name, variants[name], model, options, repetition)), flush=True)


def measure(name, variant, model, options, repetition):
    start = time.perf_counter()
    totals = variant(model, options.paths, repetition + 1)
    mean, spread = float(totals.mean()), float(totals.std())
    found = percentiles(totals) if options.percentiles == "yes" else None
    seconds = time.perf_counter() - start
    line = {"variant": name, "paths": options.paths, "seconds": seconds,
            "paths_per_second": options.paths / seconds, "mean": mean, "std": spread}
    if found:
        line["percentiles"] = dict(zip(map(str, LEVELS), found))
    return line
