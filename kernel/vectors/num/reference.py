#!/usr/bin/env python3
"""A second implementation of kernel/src/num, written from its specification, and a high-precision reference.

    reference.py table > normal_reference.txt   Φ⁻¹ in 60-digit arithmetic (needs mpmath)
    reference.py check                          recomputes every golden file here, bit by bit (standard library only)

Fused multiply-add is exact rational arithmetic rounded once. The coefficients are read from the Rust source, so that
what is checked is the order of the operations, the addressing and the selection.
"""
import math
import re
import struct
import sys
from fractions import Fraction
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "src" / "num"
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1
NAN_BITS = 0x7FF8000000000000


def bits(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def double(b):
    return struct.unpack("<d", struct.pack("<Q", b & MASK64))[0]


def to_double(q):
    """The double nearest a rational, overflowing to infinity."""
    try:
        return q.numerator / q.denominator
    except OverflowError:
        return math.inf if q > 0 else -math.inf


def fma(a, b, c):
    if not all(map(math.isfinite, (a, b, c))):
        return a * b + c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return a * b + c  # the sign of an exact zero
    return to_double(exact)


def coefficients(file, name):
    text = re.sub(r"//.*", "", (SOURCE / file).read_text())
    body = re.search(rf"const {name}: \[f64; \d+\] = \[(.*?)\];", text, re.S).group(1)
    return [double(int(h.replace("_", ""), 16)) for h in re.findall(r"0x([0-9a-f_]+)", body)]


EXP_Q, LOG_P = coefficients("func.rs", "EXP_Q"), coefficients("func.rs", "LOG_P")
A, B, C, D, E, F = (coefficients("normal.rs", n) for n in "ABCDEF")
ROUNDER, LOG2_E = 1.5 * 2.0**52, double(0x3FF71547652B82FE)
LN_2_HIGH, LN_2_LOW = double(0x3FE62E42FEFA3000), double(0x3D53DE6AF278ECE6)


def horner(c, x):
    total = c[-1]
    for a in reversed(c[:-1]):
        total = fma(total, x, a)
    return total


def exp(x):
    if x != x:
        return double(NAN_BITS)
    y = min(max(x, -746.0), 710.0)
    k = fma(y, LOG2_E, ROUNDER) - ROUNDER
    r = fma(-k, LN_2_LOW, fma(-k, LN_2_HIGH, y))
    e = 1.0 + fma(r * r, horner(EXP_Q, r), r)
    half = int(k) // 2
    return e * math.ldexp(1.0, half) * math.ldexp(1.0, int(k) - half)


def log(x):
    if x != x or x < 0:
        return double(NAN_BITS)
    if x == 0:
        return -math.inf
    if x == math.inf:
        return x
    k = 0
    if x < 2.0**-1022:
        x, k = x * 2.0**54, -54
    step = (bits(x) - 0x3FE6A09E667F3BCD) >> 52
    m = double(bits(x) - (step << 52))
    k = float(k + step)
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = 0.5 * f * f
    low = fma(s, w + z * horner(LOG_P, z), k * LN_2_LOW)
    return fma(k, LN_2_HIGH, -((w - low) - f))


def inverse_cdf(p):
    if not 0 < p < 1:
        return double(NAN_BITS)
    q = p - 0.5
    if abs(q) <= 0.425:
        r = fma(-q, q, 0.180625)
        return q * horner(A, r) / horner(B, r)
    r = math.sqrt(-log(p if q < 0 else 1.0 - p))
    tail = horner(C, r - 1.6) / horner(D, r - 1.6) if r <= 5 else horner(E, r - 5.0) / horner(F, r - 5.0)
    return -tail if q < 0 else tail


def unit(w):
    return to_double(Fraction(2 * (w >> 12) + 1, 1 << 53))


def block(key, counter, stream):
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *key]
    start += [counter & MASK32, counter >> 32, stream & MASK32, stream >> 32]
    v = start[:]
    turn = lambda x, n: (x << n | x >> (32 - n)) & MASK32
    for _ in range(4):
        for i, j, m, n in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            for d_turn, b_turn in ((16, 12), (8, 7)):
                v[i] = v[i] + v[j] & MASK32
                v[n] = turn(v[n] ^ v[i], d_turn)
                v[m] = v[m] + v[n] & MASK32
                v[j] = turn(v[j] ^ v[m], b_turn)
    w = [a + b & MASK32 for a, b in zip(v, start)]
    return [w[2 * i] | w[2 * i + 1] << 32 for i in range(8)]


def gamma(key, index, shape):
    a = shape + 1.0 if shape < 1 else shape
    d = a - double(0x3FD5555555555555)
    c = 1.0 / math.sqrt(9.0 * d)
    first = block(key, index, 0)
    for t in range(96):
        draws = block(key, index, t // 3)
        x, u = inverse_cdf(unit(draws[1 + 2 * (t % 3)])), unit(draws[2 + 2 * (t % 3)])
        b = fma(c, x, 1.0)
        v = b * b * b
        if b > 0 and log(u) < fma(d, (1.0 - v) + log(v), 0.5 * x * x):
            return d * v * exp(log(unit(first[0])) / shape) if shape < 1 else d * v
    return None


def poisson(mean):
    """Offset and thresholds."""
    if mean == 0:
        return 0, []
    m = Fraction(mean)
    mode = int(m)
    weights = {mode: 1 << 250}
    k = mode
    while k > 0 and weights[k]:
        weights[k - 1] = int(weights[k] * k / m)
        k -= 1
    k = mode
    while weights[k]:
        weights[k + 1] = int(weights[k] * m / (k + 1))
        k += 1
    total, running, thresholds, offset = sum(weights.values()), 0, [], 0
    for k in range(max(weights) + 1):
        running += weights.get(k, 0)
        threshold = (running << 64) // total
        if threshold == 0:
            offset += 1
        elif threshold < 1 << 64:
            thresholds.append(threshold)
    # Values past the last positive weight repeat C = S, so they are left out with it.
    return offset, thresholds


def rows(name):
    for line in (HERE / name).read_text().splitlines():
        if not line.startswith("#"):
            yield line.split()


def words(text):
    return [int.from_bytes(bytes.fromhex(text)[4 * i:4 * i + 4], "little") for i in range(8)]


def check():
    for name, f in (("exp", exp), ("log", log), ("inverse_cdf", inverse_cdf)):
        for x, y in rows(f"{name}.txt"):
            assert bits(f(double(int(x, 16)))) == int(y, 16), (name, x, y)
    for key, counter, stream, *draws in rows("chacha.txt"):
        assert block(words(key), int(counter, 16), int(stream, 16)) == [int(d, 16) for d in draws], counter
    for key, index, shape, variate in rows("gamma.txt"):
        assert bits(gamma(words(key), int(index, 16), double(int(shape, 16)))) == int(variate, 16), (index, shape)
    tables = {}
    for mean, k, threshold in rows("poisson.txt"):
        tables.setdefault(mean, {})[int(k)] = int(threshold, 16)
    for mean, table in tables.items():
        offset, thresholds = poisson(double(int(mean, 16)))
        assert table == dict(enumerate(thresholds, offset)), mean
    print("every golden file agrees")


def table():
    from mpmath import mp, mpf, erfc, sqrt, exp as mp_exp, pi

    mp.dps = 60
    print("# p, and the double nearest the standard normal quantile of p (60-digit arithmetic); bits in hex.")
    print("# Written by reference.py table.")
    state = 0x5EED
    inputs = [2.0**-k for k in range(1, 54)] + [1 - 2.0**-k for k in range(2, 54)]
    inputs += [0.075, 0.925, math.exp(-25.0), math.nextafter(0.075, 0), math.nextafter(0.925, 1)]
    for n in range(2400):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK64
        shift = 0 if n % 2 else n % 52
        inputs.append(unit(state >> shift) if n % 4 < 2 else 1 - unit(state >> shift))
    for p in inputs:
        if p == 0.5:
            continue
        tail = mpf(p) if p < 0.5 else 1 - mpf(p)
        x = mpf(inverse_cdf(float(tail)))
        for _ in range(4):
            x -= (erfc(-x / sqrt(2)) / 2 - tail) * sqrt(2 * pi) * mp_exp(x * x / 2)
        print(f"{bits(p):016x} {bits(float(x if p < 0.5 else -x)):016x}")


if __name__ == "__main__":
    {"table": table, "check": check}[sys.argv[1]]()
