"""Independent NumPy simulation of `mc@1/reserve.v1`: the over-dispersed-Poisson bootstrap of the chain ladder.

Owns: the model of England & Verrall (1999, "Analytic and bootstrap estimates of prediction errors in claims
reserving"; 2002, "Stochastic claims reserving in general insurance", section 7) in the convention of R's
ChainLadder `BootChainLadder`. Must never import anything of the mesh, nor copy its draws: agreement is
statistical, within the standard errors printed beside each figure.

    python reserve.py --job ../../node/examples/reserve-raa.json --paths 200000 --seed 1
"""

import argparse
import json

import numpy as np

from mcstats import load_job, seed_entropy, summarise

LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 0.995)


class ChainLadder:
    """The deterministic fit of one cumulative triangle (rows by origin, ragged upper left)."""

    def __init__(self, rows):
        lengths = [len(row) for row in rows]
        if not rows or lengths[-1] < 1 or any(a < b for a, b in zip(lengths, lengths[1:], strict=False)):
            raise SystemExit("triangle: rows must be non-empty and of non-increasing length")
        self.lengths = np.array(lengths)
        self.origins, self.periods = len(rows), lengths[0]
        self.observed = np.arange(self.periods) < self.lengths[:, None]
        cumulative = np.zeros((self.origins, self.periods))
        for origin, row in enumerate(rows):
            cumulative[origin, : len(row)] = row
        self.factors = development_factors(cumulative[None], self.lengths)[0]
        if not np.all(np.isfinite(self.factors)):
            raise SystemExit("triangle: a development period has a zero column sum")
        full = project(cumulative[None], self.lengths, self.factors[None])[0]
        self.reserve_by_origin = full[:, -1] - full[np.arange(self.origins), self.lengths - 1]
        self._fit_residuals(cumulative)

    def _fit_residuals(self, cumulative):
        """Back-projects from the latest diagonal; Pearson residuals and dispersion from all observed cells."""
        back = np.zeros_like(cumulative)
        for origin, length in enumerate(self.lengths):
            back[origin, length - 1] = cumulative[origin, length - 1]
            for period in range(length - 2, -1, -1):
                back[origin, period] = back[origin, period + 1] / self.factors[period]
        fitted = np.diff(back, axis=1, prepend=0.0)[self.observed]
        actual = np.diff(cumulative, axis=1, prepend=0.0)[self.observed]
        root = np.sqrt(np.abs(fitted))
        unscaled = np.divide(actual - fitted, root, out=np.zeros_like(root), where=root > 0.0)
        cells, parameters = fitted.size, self.origins + self.periods - 1
        if cells <= parameters:
            raise SystemExit(f"triangle: {cells} cells cannot support {parameters} parameters")
        self.fitted, self.root = fitted, root
        self.phi = float(np.sum(unscaled**2) / (cells - parameters))
        self.residuals = unscaled * np.sqrt(cells / (cells - parameters))


def development_factors(cumulative, lengths):
    """Volume-weighted factors of a stack of triangles (paths, origins, periods) -> (paths, periods - 1).

    A zero column sum gives a factor that is not finite.
    """
    factors = np.empty((cumulative.shape[0], cumulative.shape[2] - 1))
    for period in range(factors.shape[1]):
        rows = lengths > period + 1
        below = cumulative[:, rows, period].sum(axis=1)
        above = cumulative[:, rows, period + 1].sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors[:, period] = np.where(below == 0.0, np.nan, above / below)
    return factors


def project(cumulative, lengths, factors):
    """Fills the lower right of a stack of triangles from each row's latest cell."""
    full = cumulative.copy()
    for period in range(1, full.shape[2]):
        future = lengths <= period
        full[:, future, period] = full[:, future, period - 1] * factors[:, period - 1, None]
    return full


def simulate(ladder, paths, rng, process="gamma", chunk=10_000):
    """Bootstrapped reserves, shape (origins, kept paths), and the number of degenerate pseudo-triangles."""
    parts, degenerate = [], 0
    for start in range(0, paths, chunk):
        size = min(chunk, paths - start)
        picks = rng.integers(0, ladder.residuals.size, size=(size, ladder.residuals.size))
        increments = np.zeros((size, ladder.origins, ladder.periods))
        increments[:, ladder.observed] = ladder.fitted + ladder.residuals[picks] * ladder.root
        pseudo = np.cumsum(increments, axis=2) * ladder.observed
        factors = development_factors(pseudo, ladder.lengths)
        usable = np.all(np.isfinite(factors), axis=1)
        degenerate += int(size - usable.sum())
        full = project(pseudo[usable], ladder.lengths, factors[usable])
        future = np.diff(full, axis=2, prepend=0.0) * ~ladder.observed
        if process == "gamma" and ladder.phi > 0.0:
            future = np.sign(future) * rng.standard_gamma(np.abs(future) / ladder.phi) * ladder.phi
        parts.append(future.sum(axis=2).T)
    return np.concatenate(parts, axis=1), degenerate


def run(args, paths, seed, levels=LEVELS):
    """The whole report for a job's `args`; standard errors under `errors`, same shape."""
    ladder = ChainLadder(args["triangle"])
    rng = np.random.default_rng(seed_entropy(str(seed)))
    reserves, degenerate = simulate(ladder, paths, rng, args.get("process", "gamma"))

    def report(values, chain_ladder_reserve):
        figures, errors = summarise(values, levels)
        for record in (figures, errors):
            record["prediction_error"] = record.pop("sd")
        return {"chain_ladder_reserve": float(chain_ladder_reserve), **figures, "errors": errors}

    return {
        **report(reserves.sum(axis=0), ladder.reserve_by_origin.sum()),
        "phi": ladder.phi,
        "by_origin": [report(v, r) for v, r in zip(reserves, ladder.reserve_by_origin)],
        "degenerate": degenerate,
        "n": int(reserves.shape[1]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", required=True)
    parser.add_argument("--paths", type=int, default=200_000)
    parser.add_argument("--seed", default="1")
    options = parser.parse_args()
    args = load_job(options.job, "mc@1/reserve.v1")
    print(json.dumps(run(args, options.paths, options.seed), indent=1))


if __name__ == "__main__":
    main()
