#!/usr/bin/env python3
"""Single exact queries in the scan core beside FAISS IndexFlatIP: one run, one thread on both sides.

    scan.py LIBRARY BASE.fvecs QUERIES.fvecs [--queries 200] [--k 10] [--rounds 3]

Each query is answered by both, in turn and in changing order; the ratio is taken query by query, and its median
is what counts, so that a machine that slows down slows both. Rows are normalised, so that inner product is cosine.
"""
import argparse
import ctypes
import json
import platform
import sys
import time

import numpy as np


def fvecs(path, count=None):
    dims = int(np.fromfile(path, "<i4", 1)[0])
    rows = np.memmap(path, "<f4", "r").reshape(-1, dims + 1)
    return rows[:count, 1:] if count else rows[:, 1:]


class Scan:
    """The scan core through ctypes."""

    def __init__(self, library, rows, kernel):
        self.lib = ctypes.CDLL(library)
        self.lib.bench_create.restype = ctypes.c_void_p
        self.lib.bench_kernel.restype = ctypes.c_char_p
        self.bench = ctypes.c_void_p(self.lib.bench_create(rows.shape[1], 2, 1, kernel.encode()))
        for start in range(0, len(rows), 20000):
            part = np.ascontiguousarray(rows[start:start + 20000])
            assert self.lib.bench_add(self.bench, part.ctypes.data_as(ctypes.c_void_p),
                                      ctypes.c_uint64(start), len(part)) == 0
        self.kernel = self.lib.bench_kernel(self.bench).decode()

    def search(self, query, k):
        ids, scores = np.zeros(k, np.uint64), np.zeros(k, np.float32)
        scored = ctypes.c_uint64(0)
        begin = time.perf_counter()
        self.lib.bench_search(self.bench, query.ctypes.data_as(ctypes.c_void_p), 1, k,
                              ids.ctypes.data_as(ctypes.c_void_p), scores.ctypes.data_as(ctypes.c_void_p),
                              ctypes.byref(scored))
        return time.perf_counter() - begin, ids, scored.value


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("library")
    ap.add_argument("base")
    ap.add_argument("queries_file")
    ap.add_argument("--queries", type=int, default=100)
    ap.add_argument("--rows", type=int)
    ap.add_argument("--k", type=int, default=10)
    ap.add_argument("--kernel", default="auto")
    a = ap.parse_args()
    import faiss

    faiss.omp_set_num_threads(1)
    base = fvecs(a.base, a.rows)
    queries = np.ascontiguousarray(fvecs(a.queries_file)[:a.queries])
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    flat = faiss.IndexFlatIP(base.shape[1])
    scan = None
    parts = []
    for start in range(0, len(base), 50000):
        part = np.array(base[start:start + 50000])
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        flat.add(part)
        parts.append(part)
    scan = Scan(a.library, np.concatenate(parts), a.kernel)
    del parts
    lathe_s, faiss_s, ratios, agreed, scored = [], [], [], 0, 0
    for i, query in enumerate(queries):
        for turn in ((0, 1) if i % 2 else (1, 0)):
            if turn:
                begin = time.perf_counter()
                _, faiss_ids = flat.search(query[None], a.k)
                faiss_s.append(time.perf_counter() - begin)
            else:
                seconds, ids, n = scan.search(query, a.k)
                lathe_s.append(seconds)
                scored += n
        ratios.append(lathe_s[-1] / faiss_s[-1])
        agreed += len(set(map(int, ids)) & set(map(int, faiss_ids[0])))
    ms = lambda s, p: round(float(np.percentile(s, p)) * 1000, 2)
    size = base.shape[0] * base.shape[1] * 4
    print(json.dumps({
        "rows": base.shape[0], "dims": base.shape[1], "queries": len(queries), "k": a.k,
        "kernel": scan.kernel, "faiss": faiss.__version__, "machine": platform.processor() or platform.machine(),
        "ratio_median": round(float(np.median(ratios)), 3),
        "ratio_p5": round(float(np.percentile(ratios, 5)), 3),
        "ratio_p95": round(float(np.percentile(ratios, 95)), 3),
        "lathe_ms_p50": ms(lathe_s, 50), "lathe_ms_p95": ms(lathe_s, 95),
        "faiss_ms_p50": ms(faiss_s, 50), "faiss_ms_p95": ms(faiss_s, 95),
        "lathe_gb_per_s": round(size / np.median(lathe_s) / 1e9, 1),
        "rows_scored_in_double_per_query": round(scored / len(queries), 1),
        "same_ids": round(agreed / (len(queries) * a.k), 5)}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
