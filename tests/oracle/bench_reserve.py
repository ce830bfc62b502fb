"""Benchmark peers of `mc@1/reserve.v1`: NumPy in several vectorised forms, and Numba; f64, one thread.

Owns: the fastest forms of the model we could find, so that a comparison is fair. Every variant simulates the
same distribution (`reserve.py` is the plain form). Must never import anything of the mesh.

    python bench_reserve.py --variant all --paths 100000 --percentiles yes --repeat 7

NumPy: `plain` is `reserve.simulate`, a stack of triangles; `cells` keeps one contiguous row of paths for each
cell and visits observed and future cells only. Names end in the generator and the paths of a block.
Numba: `numba_loop` takes its gamma variates from `Generator.standard_gamma`; `numba_marsaglia` from an inlined
Marsaglia & Tsang (2000) sampler with their boost for shapes below 1.
The totals of every origin period are computed by every variant; percentiles are of the grand total.
"""

import math

import benchrun
import numpy as np

import reserve
from mcstats import load_job

try:
    from numba import njit
except ImportError:
    njit = None


def prepare(job):
    args = load_job(job, "mc@1/reserve.v1")
    if args.get("process", "gamma") != "gamma":
        raise SystemExit("the benchmark peers know the gamma process only")
    return reserve.ChainLadder(args["triangle"])


def plain(bits, chunk):
    def variant(ladder, paths, seed):
        rng = np.random.Generator(bits(seed))
        reserves, _ = reserve.simulate(ladder, paths, rng, chunk=chunk)
        return reserves.sum(axis=0)

    return variant


def cells(bits, chunk):
    """A variant with cell-major arrays; degenerate pseudo-triangles are dropped, as in the plain form."""

    def variant(ladder, paths, seed):
        rng = np.random.Generator(bits(seed))
        parts = [cells_block(rng, ladder, min(chunk, paths - start)) for start in range(0, paths, chunk)]
        return np.concatenate(parts, axis=1).sum(axis=0)

    return variant


def cells_block(rng, ladder, size):
    count = ladder.residuals.size
    pseudo = ladder.residuals[rng.integers(0, count, (count, size))]
    pseudo *= ladder.root[:, None]
    pseudo += ladder.fitted[:, None]
    first = np.concatenate([[0], np.cumsum(ladder.lengths)[:-1]])
    for row, length in zip(first, ladder.lengths):
        np.cumsum(pseudo[row : row + length], axis=0, out=pseudo[row : row + length])
    future = np.empty((int(np.sum(ladder.periods - ladder.lengths)), size))
    latest = pseudo[first + ladder.lengths - 1]
    usable = np.ones(size, bool)
    owner = np.empty(future.shape[0], np.intp)
    at = 0
    for period in range(ladder.periods - 1):
        known = np.flatnonzero(ladder.lengths > period + 1)
        below = pseudo[first[known] + period].sum(axis=0)
        usable &= below != 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = pseudo[first[known] + period + 1].sum(axis=0) / below - 1.0
        for origin in range(known.size, ladder.origins):
            np.multiply(latest[origin], growth, out=future[at])
            latest[origin] += future[at]
            owner[at] = origin
            at += 1
    if not usable.all():
        future = future[:, usable]
    drawn = rng.standard_gamma(np.abs(future) * (1.0 / ladder.phi))
    np.copysign(drawn, future, out=drawn)
    reserves = np.zeros((ladder.origins, drawn.shape[1]))
    for row, origin in enumerate(owner):
        reserves[origin] += drawn[row]
    reserves *= ladder.phi
    return reserves


VARIANTS = {
    "plain_pcg64_10000": plain(np.random.PCG64, 10_000),
    "plain_sfc64_1000": plain(np.random.SFC64, 1_000),
    "cells_pcg64_1024": cells(np.random.PCG64, 1024),
    "cells_sfc64_256": cells(np.random.SFC64, 256),
    "cells_sfc64_1024": cells(np.random.SFC64, 1024),
    "cells_sfc64_4096": cells(np.random.SFC64, 4096),
    "cells_sfc64_16384": cells(np.random.SFC64, 16_384),
}


def numba_variants():
    """Numba's variants; strict floating point (fastmath off), compiled before the clock starts."""

    @njit(inline="always")
    def library_gamma(rng, shape):
        return rng.standard_gamma(shape)

    @njit
    def marsaglia_gamma(rng, shape):
        boosted = shape + 1.0 if shape < 1.0 else shape
        d = boosted - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)
        while True:
            normal = rng.standard_normal()
            root = 1.0 + c * normal
            if root <= 0.0:
                continue
            cube = root * root * root
            draw = 1.0 - rng.random()
            square = normal * normal
            if draw < 1.0 - 0.0331 * square * square:
                break
            if math.log(draw) < 0.5 * square + d * (1.0 - cube + math.log(cube)):
                break
        if shape < 1.0:
            if shape == 0.0:
                return 0.0
            return d * cube * math.exp(math.log(1.0 - rng.random()) / shape)
        return d * cube

    def build(gamma):
        @njit
        def simulate(rng, fitted, root, residuals, lengths, phi, paths):
            origins, periods, count = lengths.size, lengths[0], residuals.size
            totals = np.empty(paths)
            by_origin = np.zeros((origins, paths))
            pseudo = np.zeros((origins, periods))
            factors = np.empty(periods)
            kept = 0
            for _ in range(paths):
                cell = 0
                for origin in range(origins):
                    running = 0.0
                    for period in range(lengths[origin]):
                        pick = int(rng.random() * count)
                        running += fitted[cell] + residuals[pick] * root[cell]
                        pseudo[origin, period] = running
                        cell += 1
                usable = True
                for period in range(periods - 1):
                    below, above = 0.0, 0.0
                    for origin in range(origins):
                        if lengths[origin] > period + 1:
                            below += pseudo[origin, period]
                            above += pseudo[origin, period + 1]
                    usable = usable and below != 0.0
                    factors[period] = above / below if below != 0.0 else 0.0
                if not usable:
                    continue
                total = 0.0
                for origin in range(origins):
                    latest, reserved = pseudo[origin, lengths[origin] - 1], 0.0
                    for period in range(lengths[origin] - 1, periods - 1):
                        ahead = latest * factors[period]
                        mean = ahead - latest
                        reserved += math.copysign(phi * gamma(rng, abs(mean) / phi), mean)
                        latest = ahead
                    by_origin[origin, kept] = reserved
                    total += reserved
                totals[kept] = total
                kept += 1
            return totals[:kept], by_origin

        def variant(bits):
            def run(ladder, paths, seed):
                rng = np.random.Generator(bits(seed))
                return simulate(rng, ladder.fitted, ladder.root, ladder.residuals, ladder.lengths, ladder.phi, paths)[0]

            return run

        return variant

    return {
        "numba_loop_pcg64": build(library_gamma)(np.random.PCG64),
        "numba_loop_sfc64": build(library_gamma)(np.random.SFC64),
        "numba_marsaglia_sfc64": build(marsaglia_gamma)(np.random.SFC64),
    }


if __name__ == "__main__":
    if njit is not None:
        VARIANTS.update(numba_variants())
    benchrun.main(__doc__, "reserve-raa.json", VARIANTS, prepare, 100_000)
