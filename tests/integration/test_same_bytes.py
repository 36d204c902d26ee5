"""The result list (ids, scores, payload, vectors) is the same bytes for any number of shards, any
kernel, and before and after a restart, clean or not."""
import hashlib
import re
import uuid

import lathe_case
import numpy

import lathe_data as data
from lathe_server import run_cli

ROWS = 2000
FIELDS = {"": (384, "METRIC_COSINE"), "dot": (100, "METRIC_DOT"), "l2": (33, "METRIC_EUCLIDEAN")}


def kernels():
    """The kernels of this program that this CPU can run."""
    text = run_cli("help", "serve").stdout
    names = re.search(r"scalar(\|\w+)*", text).group(0).split("|")
    with open("/proc/cpuinfo", encoding="ascii") as file:
        flags = set(re.search(r"^flags\s*:(.*)$", file.read(), re.M).group(1).split())
    needs = {"scalar": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f"}}
    return [name for name in names if needs.get(name, {"?"}) <= flags]


class SameBytesTest(lathe_case.LatheCase):
    def operations(self, api):
        """Rows with overwrites, deletes and equal scores, so that segments have holes and ties."""
        rng = numpy.random.default_rng(lathe_case.SEED)
        _, vectors, payloads = data.sample(ROWS)
        dims = {name: size for name, (size, _) in FIELDS.items()}
        keys = [[i, uuid.UUID(int=i << 64 | i), f"key-{i}"][i % 3] for i in range(ROWS)]
        point = lambda key, row, extra: data.upsert(
            api, key, {name: vectors[row][:dims[name]] for name in FIELDS}, payloads[row] | extra)
        operations = [point(keys[i], i, {"write": 1}) for i in range(ROWS)]
        for i in rng.choice(ROWS, 400, replace=False):
            operations.append(point(keys[i], int(rng.integers(ROWS)), {"write": 2}))
        for i in rng.choice(ROWS, 200, replace=False):
            operations.append(data.delete(api, keys[i]))
        for i in rng.choice(ROWS, 100, replace=False):
            operations.append(point(keys[i], 17, {"write": 3}))
        return operations

    def load(self, server):
        with lathe_case.Api(server.address) as api:
            data.create_collection(api, "same", FIELDS)
            operations = self.operations(api)
            for i in range(0, len(operations), 250):
                api.call("WritePoints", collection="same", operations=operations[i:i + 250])

    def answers(self, server, kernel):
        with lathe_case.Api(server.address) as api:
            if kernel is not None:
                self.assertEqual(api.call("GetInfo").kernel, kernel)
            return self.digests(api)

    def digests(self, api):
        """One of each result list: of searches of every kind, and of the whole listing."""
        m = api.schema
        everything = m.Selection(payload=True, vectors=True)
        questions = data.questions()
        searches = []
        for name, (dims, _) in FIELDS.items():
            for i, query in enumerate(questions):
                searches.append(m.SearchRequest(
                    collection="same", field=name, vector=m.Vector(data=query[:dims].tobytes()),
                    limit=(1, 10, 100, 1000)[i % 4], offset=i % 5,
                    selection=everything if i % 4 < 3 or i == 3 else m.Selection()))
            searches.append(m.SearchRequest(collection="same", field=name, limit=50,
                                            like=data.to_id(api, data.from_id(
                                                api.call("ListPoints", collection="same",
                                                         page_size=1).points[0].id))))
        replies = [api.call("Search", search) for search in searches]
        for search, reply in zip(api.call("SearchBatch", searches=searches[:20]).responses, replies):
            self.assertEqual(self.bytes_of(search.hits), self.bytes_of(reply.hits))
        lists = [self.bytes_of(reply.hits) for reply in replies]
        lists.append(self.bytes_of(data.list_all(api, "same", page_size=700)))
        self.assertGreater(sum(len(reply.hits) for reply in replies), 10000)
        return [hashlib.sha256(item).hexdigest() for item in lists]

    @staticmethod
    def bytes_of(hits):
        parts = []
        for hit in hits:
            hit.ClearField("version")  # of a shard: not part of the result list
            parts.append(hit.SerializeToString(deterministic=True))
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)

    def test_shards_kernels_and_restarts_change_nothing(self):
        expected, names = None, kernels()
        self.assertIn("scalar", names)
        print("kernels:", *names)
        for shards in (1, 2, 4, 8):
            server = self.server("--shards", shards)
            self.load(server)
            # Every kernel after a restart, every other one after a kill.
            for i, kernel in enumerate([None] + names + names[:1]):
                with self.subTest(shards=shards, kernel=kernel):
                    if kernel is not None:
                        (server.stop, server.kill)[i % 2]()
                        server.start("--kernel", kernel)
                    answers = self.answers(server, kernel)
                    expected = expected or answers
                    self.assertEqual(answers, expected)
            server.close()


if __name__ == "__main__":
    lathe_case.main()
