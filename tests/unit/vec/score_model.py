#!/usr/bin/env python3
"""The defined score in Python floats (IEEE doubles): prints the golden table of test_score.c.

Written from the definition in common/vec/score.h alone. Run it by hand; the table never changes:
    tests/unit/vec/score_model.py > tests/unit/vec/score_golden.inc
"""
import math
import struct
from fractions import Fraction

MASK = (1 << 64) - 1
COSINE, DOT, EUCLIDEAN, MANHATTAN = 1, 2, 3, 4
UNIT, MIXED, TINY, HUGE, CANCELLING, SPREAD = range(6)


def f32(value):
    """Rounds a double to float32."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def bits32(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def vectors(kind, seed, dims):
    """A pair of vectors of exact float32 values; test_score.c has the same generator in C."""
    state = seed

    def element():
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        mantissa = (state >> 40) - (1 << 23)
        exponent = {UNIT: -23, TINY: -149, HUGE: 20, SPREAD: -30 + ((state >> 32) & 7)}.get(
            kind, -40 + ((state >> 32) & 31))
        return math.ldexp(mantissa, exponent)

    x = [element() for _ in range(dims)]
    q = [element() for _ in range(dims)]
    if kind == CANCELLING:  # the exact dot product is 0: what remains is the order of the additions
        for i in range(dims // 2):
            x[dims - 1 - i] = x[i]
            q[dims - 1 - i] = -q[i]
    return x, q


def fold(a):
    a = list(a)
    for width in (8, 4, 2, 1):
        for j in range(width):
            a[j] += a[j + width]
    return a[0]


def defined_sum(terms):
    a = [0.0] * 16
    for i, term in enumerate(terms):
        a[i % 16] += term
    return fold(a)


def contracted_sum(differences):
    """What a fused multiply-add would make of the squared differences: only to be told apart."""
    a = [0.0] * 16
    for i, d in enumerate(differences):
        a[i % 16] = float(Fraction(d) * Fraction(d) + Fraction(a[i % 16]))
    return fold(a)


def product_sum(x, q):
    return defined_sum(a * b for a, b in zip(x, q))


def score(metric, x, q):
    if metric == COSINE:
        norms = math.sqrt(product_sum(x, x)) * math.sqrt(product_sum(q, q))
        value = product_sum(x, q) / norms if norms != 0 else 0.0
    elif metric == DOT:
        value = product_sum(x, q)
    elif metric == EUCLIDEAN:
        value = math.sqrt(defined_sum((a - b) * (a - b) for a, b in zip(x, q)))
    else:
        value = defined_sum(abs(a - b) for a, b in zip(x, q))
    value = f32(value)
    return 0.0 if value == 0 else value


def float_below(value):
    f = f32(value)
    return f if f <= value else struct.unpack("<f", struct.pack("<I", bits32(f) - 1))[0]


def midpoint_above(value):
    """The middle between the float32 at or below `value` and the next one."""
    low = float_below(value)
    high = struct.unpack("<f", struct.pack("<I", bits32(low) + 1))[0]
    return (low + high) / 2


def tuned(metric, seed, dims, others):
    """A pair whose score lies so close to the middle of two floats that the order and the rounding
    of the additions decide its last bit, made by replacing the last three elements. `others`: the
    other evaluation, which must come out different. Returns the pair and the seed that gave it."""
    for step in range(100000):
        x, q = vectors(SPREAD, seed + step, dims)
        squares = metric == EUCLIDEAN
        q[-3:] = x[-3:] = [0.0] * 3
        terms = [(Fraction(a) - Fraction(b)) ** 2 if squares else abs(Fraction(a) - Fraction(b))
                 for a, b in zip(x, q)]
        wanted = float(sum(terms)) * 1.125
        target = Fraction(midpoint_above(math.sqrt(wanted) if squares else wanted))
        if squares:
            target = target**2
        left = target * (1 + Fraction(step % 7 - 3, 2**53)) - sum(terms)
        for i in (-3, -2, -1):
            x[i] = float_below(math.sqrt(float(left)) if squares else float(left))
            left -= Fraction(x[i]) ** 2 if squares else Fraction(x[i])
        if score(metric, x, q) != others(x, q):
            return x, q, seed + step
    raise SystemExit("no sensitive case found")


def naive_sum(terms):
    total = 0.0
    for term in terms:
        total += term
    return total


def naive_euclidean(x, q):
    return f32(math.sqrt(naive_sum((a - b) * (a - b) for a, b in zip(x, q))))


def contracted_euclidean(x, q):
    return f32(math.sqrt(contracted_sum([a - b for a, b in zip(x, q)])))


def naive_manhattan(x, q):
    return f32(naive_sum(abs(a - b) for a, b in zip(x, q)))


def emit(metric, kind, seed, dims, tail, value):
    tail_text = "{" + ", ".join("0x%08x" % bits32(t) for t in tail) + "}"
    print("{%d, %d, %d, %d, %s, 0x%08x}," % (metric, kind, seed, dims, tail_text, bits32(value)))


def main():
    seed = 1
    for kind in (UNIT, MIXED, TINY, HUGE, CANCELLING):
        for dims in (1, 2, 3, 8, 15, 16, 17, 31, 32, 33, 63, 100, 255, 300, 768, 1000, 1536, 4096):
            for metric in (COSINE, DOT, EUCLIDEAN, MANHATTAN):
                x, q = vectors(kind, seed, dims)
                emit(metric, kind, seed, dims, [], score(metric, x, q))
                seed += 1
    for dims in (37, 333, 1000):
        for metric, others in ((EUCLIDEAN, naive_euclidean), (EUCLIDEAN, contracted_euclidean),
                               (MANHATTAN, naive_manhattan)):
            x, q, seed = tuned(metric, seed, dims, others)
            emit(metric, SPREAD, seed, dims, x[-3:], score(metric, x, q))
            seed += 1


if __name__ == "__main__":
    main()
