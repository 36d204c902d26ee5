#!/usr/bin/env python3
"""The service measured as a whole, on embeddings grown to a million rows.

    service.py PROGRAM OVERHEAD_PROGRAM BASE.fvecs QUERIES.fvecs WORK_DIRECTORY [--shards N] [--overwrites 10]

Prints JSON: rows imported a second (synced acknowledgements, `lathe import` on the same machine), memory beside the
originals, warm restart, disk and memory after overwriting every row, and what gRPC adds to a search.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time


class Server:
    def __init__(self, program, data, shards=None):
        self.program, self.data = program, pathlib.Path(data)
        self.port_file = self.data.with_suffix(".port")
        self.port_file.unlink(missing_ok=True)
        command = [program, "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--port-file",
                   str(self.port_file)] + (["--shards", str(shards)] if shards else [])
        begin = time.monotonic()
        self.log = open(self.data.with_suffix(".log"), "ab")
        self.process = subprocess.Popen(command, stderr=self.log)
        while not self.port_file.exists():
            assert self.process.poll() is None, "the server ended"
            time.sleep(0.02)
        self.ready_s = time.monotonic() - begin
        self.address = "127.0.0.1:" + self.port_file.read_text().strip()

    def cli(self, *words):
        run = subprocess.run([self.program, *words], env={**os.environ, "LATHE_SERVER": self.address},
                             capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def rss(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+)", status).group(1)) * 1024

    def disk(self):
        """Bytes of the data directory without the reserves, and of these in the write-ahead log."""
        total = wal = 0
        for path in self.data.rglob("*"):
            try:
                if path.is_file() and path.suffix != ".reserve":
                    total += path.stat().st_size
                    wal += path.stat().st_size if path.suffix == ".log" else 0
            except FileNotFoundError:
                pass
        return total, wal

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


def timed(run):
    begin = time.monotonic()
    run()
    return time.monotonic() - begin


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("program", "overhead", "base", "queries", "work"):
        ap.add_argument(name)
    ap.add_argument("--shards", type=int, help="default: what the server takes by itself")
    ap.add_argument("--overwrites", type=int, default=10)
    a = ap.parse_args()
    work = pathlib.Path(a.work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    base = work / "base.fvecs"  # import keeps its state beside the file
    base.symlink_to(pathlib.Path(a.base).resolve())
    dims = int.from_bytes(open(a.base, "rb").read(4), "little")
    rows = pathlib.Path(a.base).stat().st_size // (4 * dims + 4)
    originals = rows * dims * 4
    result = {"rows": rows, "dims": dims, "shards": a.shards or "auto"}

    small = work / "small.fvecs"
    small.write_bytes(open(a.base, "rb").read(10000 * (4 * dims + 4)))
    server = Server(a.program, work / "small", a.shards)
    server.cli("import", str(small), "--collection", "small", "--create", "--metric", "cosine")
    run = subprocess.run([a.overhead, server.address, "small", a.queries, "1000"], capture_output=True, text=True,
                         check=True)
    result["grpc_10k"] = json.loads(run.stdout)
    server.stop()

    server = Server(a.program, work / "data", a.shards)
    load = lambda *more: server.cli("import", str(base), "--collection", "big", *more)
    result["import_rows_per_s"] = round(rows / timed(lambda: load("--create", "--metric", "cosine")))
    result["memory_over_originals"] = round(server.rss() / originals, 3)
    server.stop()
    subprocess.run(["sh", "-c", f"cat {work}/data/*/store/* > /dev/null"], check=False)  # warm the page cache
    server = Server(a.program, work / "data")
    result["warm_restart_s"] = round(server.ready_s, 1)
    result["memory_over_originals_after_restart"] = round(server.rss() / originals, 3)
    times = [timed(load) for _ in range(a.overwrites)]
    result["overwrite_rows_per_s"] = round(rows * len(times) / sum(times))
    result["overwrites"] = a.overwrites
    samples = []
    for second in range(0, 61, 10):
        disk, wal = server.disk()
        samples.append({"idle_s": second, "memory": round(server.rss() / originals, 3),
                        "disk_without_wal": round((disk - wal) / originals, 3)})
        if second < 60:
            time.sleep(10)
    result["after_overwrites"] = samples
    assert server.cli("count", "--collection", "big").strip().replace(",", "").startswith(str(rows))
    server.stop()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
