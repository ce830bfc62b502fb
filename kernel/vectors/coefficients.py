#!/usr/bin/env python3
"""Minimax coefficients of kernel/src/num/func.rs, by the Remez exchange in 60-digit arithmetic (needs mpmath).

    exp   exp(r) = 1 + r + r^2 q(r) on |r| <= ln(2)/2 (a little more: the reduction rounds); relative error of exp
    log   log(m) = 2 s + s z p(z), s = (m-1)/(m+1), z = s^2, m in [sqrt(1/2), sqrt(2)]; relative error of log

Prints each coefficient as the bits of the nearest double, and the error before and after that rounding.
The output is frozen in func.rs: this file says where the numbers come from, it is not run by the build.
"""
import struct
from mpmath import mp, mpf, matrix, lu_solve, log, exp, sqrt, cos, pi, ldexp

mp.dps = 60


def bits(x):
    return struct.unpack("<Q", struct.pack("<d", float(x)))[0]


def horner(coefficients, x):
    total = mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def remez(target, weight, low, high, terms):
    """The polynomial p of `terms` coefficients with the least max |weight (p - target)| on [low, high]."""
    middle, half = (low + high) / 2, (high - low) / 2
    nodes = [middle - half * cos(pi * i / terms) for i in range(terms + 1)]
    for _ in range(12):
        system = matrix(terms + 1, terms + 1)
        right = matrix(terms + 1, 1)
        for i, x in enumerate(nodes):
            for j in range(terms):
                system[i, j] = x**j
            system[i, terms] = (-1) ** i / weight(x)
            right[i] = target(x)
        solution = lu_solve(system, right)
        p = [solution[j] for j in range(terms)]
        error = lambda x: weight(x) * (horner(p, x) - target(x))
        grid = [middle - half * cos(pi * i / 1000) for i in range(1001)]
        values = [error(x) for x in grid]
        peaks = []
        for i, v in enumerate(values):
            left = values[i - 1] if i > 0 else v
            after = values[i + 1] if i < len(values) - 1 else v
            if (v >= left and v >= after and v > 0) or (v <= left and v <= after and v < 0):
                if peaks and (values[peaks[-1]] > 0) == (v > 0):
                    if abs(v) > abs(values[peaks[-1]]):
                        peaks[-1] = i
                else:
                    peaks.append(i)
        while len(peaks) > terms + 1:
            peaks.pop(0 if abs(values[peaks[0]]) < abs(values[peaks[-1]]) else -1)
        nodes = [grid[i] for i in peaks]
        assert len(nodes) == terms + 1
    return p, error, grid


def report(name, p, weight, target, grid):
    rounded = [mpf(float(c)) for c in p]
    before = max(abs(weight(x) * (horner(p, x) - target(x))) for x in grid)
    after = max(abs(weight(x) * (horner(rounded, x) - target(x))) for x in grid)
    print(f"{name}: max relative error 2^{float(log(before, 2)):.2f}, after rounding 2^{float(log(after, 2)):.2f}")
    for i, c in enumerate(p):
        print(f"    f64::from_bits(0x{bits(c):016x}), // x^{i}: {mp.nstr(c, 17)}")


def split(name, value, zero_bits):
    """high + low with `zero_bits` trailing zeros in high, so that small multiples of high are exact."""
    b = bits(value) & ~((1 << zero_bits) - 1)
    high = struct.unpack("<d", struct.pack("<Q", b))[0]
    print(f"{name}_HIGH 0x{b:016x}  {name}_LOW 0x{bits(value - mpf(high)):016x}")


def main():
    print(f"LOG2_E 0x{bits(1 / log(2)):016x}  SQRT_HALF 0x{bits(sqrt(mpf(1) / 2)):016x}")
    split("LN_2", log(2), 12)
    edge = log(2) / 2 * (1 + ldexp(mpf(1), -40))
    target = lambda r: (exp(r) - 1 - r) / r**2 if abs(r) > mpf(10) ** -20 else mpf(1) / 2 + r / 6
    weight = lambda r: r**2 * exp(-r) + mpf(10) ** -30
    p, _, grid = remez(target, weight, -edge, edge, 10)
    report("exp", p, weight, target, grid)
    top = ((sqrt(mpf(2)) - 1) / (sqrt(mpf(2)) + 1)) ** 2
    def series(z):
        if z < mpf(10) ** -8:
            return sum(2 * z**i / (2 * i + 3) for i in range(8))
        s = sqrt(z)
        return (log((1 + s) / (1 - s)) - 2 * s) / (s * z)
    def ratio(z):
        if z == 0:
            return mpf(10) ** -30
        s = sqrt(z)
        return s * z / log((1 + s) / (1 - s)) + mpf(10) ** -30
    p, _, grid = remez(series, ratio, mpf(0), top, 7)
    report("log", p, ratio, series, grid)


if __name__ == "__main__":
    main()
