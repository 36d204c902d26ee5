#!/usr/bin/env python3
"""The rules of the house that a compiler does not check. Run from the repository root; prints every breach.

- format: clang-format leaves every C file as it is
- edges: a folder includes only the folders below it
- doors: each third-party header is included only behind its door
- sizes: functions and files stay short
- words: nothing unfinished, no absolute path of a machine
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What each folder may include, itself apart. The longest prefix that fits a file decides.
EDGES = {
    "common/base": [],
    "common/vec": ["common/base"],
    "common/net": ["common/base"],
    "common/store": ["common/base"],
    "shard/kernel": ["common/base", "common/vec"],
    "shard/data": ["common", "shard/kernel"],
    "shard/write": ["common", "shard/data", "shard/task"],
    "shard/search": ["common", "shard/data", "shard/kernel", "shard/task"],
    "shard": ["common"],
    "coordinator/grpc": ["common", "coordinator/grpc_server"],
    "coordinator/api": ["common", "coordinator"],
    "coordinator": ["common"],
    "client": ["common/base", "common/net/message"],
    "cli/serve_run": ["common", "shard", "coordinator", "cli"],
    "cli": ["common/base", "client"],
}
# Inside shard/ and coordinator/ the top files stand on the folders beside them.
EDGES["shard/front"] = EDGES["shard/shard"] = EDGES["shard/task"] = ["common", "shard"]
EDGES["coordinator/coordinator"] = ["common", "coordinator"]

DOORS = {
    r"rocksdb/": ["common/store/store"],
    r"zmq\.h": ["common/net/link", "tests/"],
    r"sodium\.h|isa-l/": ["common/base/hash"],
    r"grpc/": ["coordinator/grpc/", "client/grpc_client", "tests/", "bench/"],
    r"immintrin\.h|x86intrin\.h|arm_neon\.h|cpuid\.h": ["shard/kernel/"],
    r"jansson\.h": ["cli/"],
    r"uthash\.h": ["common/base/table"],
}
PRODUCT = ("common", "shard", "coordinator", "client", "cli")
FUNCTION_LINES, FILE_LINES = 70, 900
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|not yet implemented|placeholder)\b", re.I)
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|work|root)/\w")


def files(*suffixes):
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout.split()
    return [f for f in listed if f.endswith(suffixes) and (ROOT / f).exists()]


def check_format(sources):
    run = subprocess.run(["clang-format-14", "--dry-run", "--Werror", *sources], cwd=ROOT,
                         capture_output=True, text=True)
    return sorted({line.split(":")[0] + ": clang-format would change it"
                   for line in run.stderr.splitlines() if "clang-format" in line})


def allowed(source):
    best = max((p for p in EDGES if source.startswith(p)), key=len)
    return EDGES[best] + [best if "." not in best else best.rsplit("/", 1)[0]]


def check_edges(source, text):
    if not source.startswith(PRODUCT):
        return
    own = source.rsplit(".", 1)[0]
    for include in re.findall(r'#include "([^"]+)"', text):
        if include.endswith(".pb-c.h") or include.startswith(own):
            continue
        if not any(include.startswith(p) for p in allowed(source)):
            yield f"{source}: includes {include}, which its folder may not see"


def check_doors(source, text):
    for include in re.findall(r"#include <([^>]+)>", text):
        for header, doors in DOORS.items():
            if re.match(header, include) and not any(source.startswith(d) for d in doors):
                yield f"{source}: <{include}> belongs behind {doors[0]}"
    if source.startswith(PRODUCT) and source != "common/base/mem.c":
        for name in re.findall(r"(?<![\w.>])(malloc|calloc|realloc|free)\(", text):
            yield f"{source}: {name}() belongs behind common/base/mem"


def check_sizes(source, lines):
    if len(lines) > (FILE_LINES if source.startswith(PRODUCT) else 2 * FILE_LINES):
        yield f"{source}: {len(lines)} lines, the limit is {FILE_LINES}"
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > FUNCTION_LINES and source.startswith(PRODUCT):
                yield f"{source}:{start}: a function of {number - start - 1} lines, the limit is {FUNCTION_LINES}"
            start = None


def check_words(source, lines):
    for number, line in enumerate(lines, 1):
        if source != "tests/check/lint.py" and (UNFINISHED.search(line) or MACHINE_PATH.search(line)):
            yield f"{source}:{number}: {line.strip()[:80]}"


def main():
    sources = files(".c", ".h")
    breaches = check_format(sources)
    for source in sources:
        text = (ROOT / source).read_text()
        lines = text.splitlines()
        for check in (check_edges, check_doors):
            breaches += check(source, text)
        for check in (check_sizes, check_words):
            breaches += check(source, lines)
    for source in files(".py", ".md", ".proto", ".cmake", "CMakeLists.txt", "Makefile"):
        breaches += check_words(source, (ROOT / source).read_text().splitlines())
    print("\n".join(breaches))
    print(f"lint: {len(sources)} C files, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
