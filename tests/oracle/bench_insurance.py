"""Benchmark peers of `mc@1/insurance.v1`: NumPy in several vectorised forms, and Numba; f64, one thread.

Owns: the fastest forms of the model we could find, so that a comparison is fair. Every variant simulates the
same distribution (`insurance.py` is the plain form). Must never import anything of the mesh.

    python bench_insurance.py --variant all --paths 2000000 --percentiles yes --repeat 7

NumPy: `bincount` and `reduceat` sum a flat array of claims; `padded` sums a rectangle of the longest year;
`grouped` draws how many years of a block have 0, 1, 2, ... claims (a multinomial: the years of a block are
exchangeable) and sums one full rectangle for each number. Names end in the generator; `exp` marks a normal
variate and NumPy's vectorised exp in place of `Generator.lognormal`.
Numba: `numba_loop` is the textbook loop over the legacy generator, `numba_generator` the same over a
`Generator`, `numba_blocks` a hand-written xoshiro256++ (the generator of Blackman & Vigna 2019) with a
table-driven Poisson, polar normals and exp over a block.
"""

import math

import benchrun
import numpy as np

from mcstats import load_job

try:
    from numba import njit
except ImportError:
    njit = None


def prepare(job):
    args = load_job(job, "mc@1/insurance.v1")
    names = ("claim_freq", "claim_severity_mu", "claim_severity_sig", "cat_prob", "cat_mu", "cat_sig",
             "policy_limit", "aggregate_limit")
    return tuple(float(args[name]) for name in names)


def poisson_masses(freq):
    """P(N = 0), P(N = 1), ... up to where the rest is below 2^-60."""
    masses = [math.exp(-freq)]
    while len(masses) < freq or masses[-1] > 2.0**-60:
        masses.append(masses[-1] * freq / len(masses))
    return np.array(masses) / sum(masses)


def lognormals(rng, mu, sigma, count):
    """exp(mu + sigma Z), in place."""
    draws = rng.standard_normal(count)
    draws *= sigma
    draws += mu
    return np.exp(draws, out=draws)


def add_events(rng, model, totals):
    """Catastrophes at geometric gaps: the same as a Bernoulli draw per year, at a fraction of the cost."""
    prob, mu, sigma = model[3:6]
    if prob <= 0.0:
        return
    guess = int(totals.size * prob + 6.0 * math.sqrt(totals.size * prob) + 8.0)
    at = np.cumsum(rng.geometric(prob, guess)) - 1
    while at[-1] < totals.size:
        at = np.concatenate([at, at[-1] + np.cumsum(rng.geometric(prob, guess))])
    at = at[: np.searchsorted(at, totals.size)]
    totals[at] += lognormals(rng, mu, sigma, at.size)


def numpy_variant(bits, chunk, block):
    """A variant from a block function (rng, model, masses, out): fills `out` with years before events and cap."""

    def variant(model, paths, seed):
        rng = np.random.Generator(bits(seed))
        masses = poisson_masses(model[0])
        totals = np.empty(paths)
        for start in range(0, paths, chunk):
            part = totals[start : start + chunk]
            block(rng, model, masses, part)
            add_events(rng, model, part)
            np.minimum(part, model[7], out=part)
        return totals

    return variant


def bincount_block(rng, model, _masses, out):
    counts = rng.poisson(model[0], out.size)
    year = np.repeat(np.arange(out.size), counts)
    claims = rng.lognormal(model[1], model[2], year.size)
    np.minimum(claims, model[6], out=claims)
    out[:] = np.bincount(year, claims, minlength=out.size)


def bincount_exp_block(rng, model, _masses, out):
    counts = rng.poisson(model[0], out.size)
    year = np.repeat(np.arange(out.size), counts)
    claims = lognormals(rng, model[1], model[2], year.size)
    np.minimum(claims, model[6], out=claims)
    out[:] = np.bincount(year, claims, minlength=out.size)


def reduceat_exp_block(rng, model, _masses, out):
    counts = rng.poisson(model[0], out.size)
    some = np.flatnonzero(counts)
    ends = np.cumsum(counts)
    claims = lognormals(rng, model[1], model[2], int(ends[-1]))
    np.minimum(claims, model[6], out=claims)
    out[:] = 0.0
    if some.size:
        out[some] = np.add.reduceat(claims, (ends - counts)[some])


def padded_exp_block(rng, model, _masses, out):
    counts = rng.poisson(model[0], out.size)
    used = np.arange(int(counts.max()))[:, None] < counts
    claims = np.zeros(used.shape)
    claims[used] = np.minimum(lognormals(rng, model[1], model[2], int(counts.sum())), model[6])
    claims.sum(axis=0, out=out)


def grouped_exp_block(rng, model, masses, out):
    groups = rng.multinomial(out.size, masses)
    claims = lognormals(rng, model[1], model[2], int(groups @ np.arange(groups.size)))
    np.minimum(claims, model[6], out=claims)
    year = claim = 0
    for number, years in enumerate(groups.tolist()):
        if years:
            # One row per claim of the year, so that the sum runs down whole rows.
            rectangle = claims[claim : claim + number * years].reshape(number, years)
            rectangle.sum(axis=0, out=out[year : year + years])
        year += years
        claim += number * years


VARIANTS = {
    "bincount_pcg64": numpy_variant(np.random.PCG64, 1 << 15, bincount_block),
    "bincount_sfc64": numpy_variant(np.random.SFC64, 1 << 15, bincount_block),
    "bincount_exp_sfc64": numpy_variant(np.random.SFC64, 1 << 15, bincount_exp_block),
    "reduceat_exp_sfc64": numpy_variant(np.random.SFC64, 1 << 15, reduceat_exp_block),
    "padded_exp_sfc64": numpy_variant(np.random.SFC64, 1 << 13, padded_exp_block),
    "grouped_exp_pcg64": numpy_variant(np.random.PCG64, 1 << 14, grouped_exp_block),
    "grouped_exp_sfc64_2e12": numpy_variant(np.random.SFC64, 1 << 12, grouped_exp_block),
    "grouped_exp_sfc64_2e14": numpy_variant(np.random.SFC64, 1 << 14, grouped_exp_block),
    "grouped_exp_sfc64_2e16": numpy_variant(np.random.SFC64, 1 << 16, grouped_exp_block),
    "grouped_exp_sfc64_whole": numpy_variant(np.random.SFC64, 1 << 40, grouped_exp_block),
}


def numba_variants():
    """Numba's variants; strict floating point (fastmath off), compiled before the clock starts."""

    @njit
    def textbook(model, paths, seed):
        freq, mu, sigma, prob, cat_mu, cat_sigma, claim_cap, year_cap = model
        np.random.seed(seed)
        totals = np.empty(paths)
        for path in range(paths):
            total = 0.0
            for _ in range(np.random.poisson(freq)):
                total += min(np.random.lognormal(mu, sigma), claim_cap)
            if np.random.random() < prob:
                total += np.random.lognormal(cat_mu, cat_sigma)
            totals[path] = min(total, year_cap)
        return totals

    @njit
    def with_generator(rng, model, paths):
        freq, mu, sigma, prob, cat_mu, cat_sigma, claim_cap, year_cap = model
        totals = np.empty(paths)
        for path in range(paths):
            total = 0.0
            for _ in range(rng.poisson(freq)):
                total += min(math.exp(mu + sigma * rng.standard_normal()), claim_cap)
            if rng.random() < prob:
                total += math.exp(cat_mu + cat_sigma * rng.standard_normal())
            totals[path] = min(total, year_cap)
        return totals

    @njit(inline="always")
    def rotate(word, by):
        return (word << np.uint64(by)) | (word >> np.uint64(64 - by))

    @njit(inline="always")
    def uniform(state):
        """xoshiro256++, its top 53 bits in (0, 1)."""
        word = rotate(state[0] + state[3], 23) + state[0]
        shifted = state[1] << np.uint64(17)
        state[2] ^= state[0]
        state[3] ^= state[1]
        state[1] ^= state[2]
        state[0] ^= state[3]
        state[2] ^= shifted
        state[3] = rotate(state[3], 45)
        return (np.float64(np.int64(word >> np.uint64(11))) + 0.5) * (1.0 / 9007199254740992.0)

    @njit
    def fill_normals(state, out, count):
        """Marsaglia's polar method, two at a time."""
        at = 0
        while at < count:
            x = 2.0 * uniform(state) - 1.0
            y = 2.0 * uniform(state) - 1.0
            square = x * x + y * y
            if square < 1.0 and square > 0.0:
                scale = math.sqrt(-2.0 * math.log(square) / square)
                out[at] = x * scale
                out[at + 1] = y * scale
                at += 2

    @njit
    def blocks(state, model, cumulative, paths, normals):
        _, mu, sigma, prob, cat_mu, cat_sigma, claim_cap, year_cap = model
        totals = np.empty(paths)
        counts = np.empty(1024, np.int64)
        start = 0
        while start < paths:
            size = min(1024, paths - start)
            claims = 0
            for year in range(size):
                draw = uniform(state)
                number = 0
                while draw > cumulative[number]:
                    number += 1
                counts[year] = number
                claims += number
            if claims + 2 > normals.size:
                normals = np.empty(2 * claims)
            fill_normals(state, normals, claims)
            for claim in range(claims):
                normals[claim] = min(math.exp(mu + sigma * normals[claim]), claim_cap)
            claim = 0
            for year in range(size):
                total = 0.0
                for _ in range(counts[year]):
                    total += normals[claim]
                    claim += 1
                if uniform(state) < prob:
                    fill_normals(state, normals[claims:], 1)
                    total += math.exp(cat_mu + cat_sigma * normals[claims])
                totals[start + year] = min(total, year_cap)
            start += size
        return totals

    def run_blocks(model, paths, seed):
        cumulative = np.cumsum(poisson_masses(model[0]))
        cumulative[-1] = 1.0
        state = np.random.SeedSequence(seed).generate_state(4, np.uint64)
        return blocks(state, model, cumulative, paths, np.empty(16_384))

    return {
        "numba_loop": textbook,
        "numba_generator_pcg64": lambda m, p, s: with_generator(np.random.Generator(np.random.PCG64(s)), m, p),
        "numba_generator_sfc64": lambda m, p, s: with_generator(np.random.Generator(np.random.SFC64(s)), m, p),
        "numba_blocks": run_blocks,
    }


if __name__ == "__main__":
    if njit is not None:
        VARIANTS.update(numba_variants())
    benchrun.main(__doc__, "insurance-quickstart.json", VARIANTS, prepare, 2_000_000)
