"""10,000 real vectors under each metric, searched through reflection alone: the ids and scores of
numpy's brute force, and everything that comes back with them."""
import uuid

import lathe_case
import numpy

import lathe_data as data

ROWS, QUERIES = 10000, 50
METRICS = list(data.METRICS)


class ConformanceTest(lathe_case.LatheCase):
    @classmethod
    def setUpClass(cls):
        rng = numpy.random.default_rng(lathe_case.SEED)
        _, vectors, payloads = data.sample()
        vectors = data.grow(vectors, ROWS, rng)
        # Lengths that differ, so that dot, cosine and Euclidean give different orders; and equal
        # rows under ids of all kinds, so that ties are broken by id.
        vectors *= numpy.exp(rng.normal(0, 0.2, (ROWS, 1))).astype(numpy.float32)
        twins = rng.choice(ROWS, 200, replace=False)
        vectors[twins[100:]] = vectors[twins[:100]]
        cls.vectors = vectors
        cls.keys = [int(n) for n in rng.choice(1 << 62, ROWS, replace=False)]
        for i in rng.choice(ROWS, 2000, replace=False):
            cls.keys[i] = uuid.UUID(int=int.from_bytes(rng.bytes(16), "big")) if i % 2 else f"row-{i}"
        cls.rank = numpy.empty(ROWS, numpy.int64)  # of each row in id order
        cls.rank[sorted(range(ROWS), key=lambda i: data.id_order(cls.keys[i]))] = range(ROWS)
        cls.row_of = {key: i for i, key in enumerate(cls.keys)}
        cls.payloads = [payloads[i % len(payloads)] | {"row": i} for i in range(ROWS)]
        cls.queries = vectors[rng.choice(ROWS, QUERIES, replace=False)].copy()
        half = QUERIES // 2
        cls.queries[:half] += rng.normal(0, 0.02, (half, vectors.shape[1])).astype(numpy.float32)
        cls.queries[half:half + 18] = data.questions()

        cls.shared = lathe_case.lathe_server.Server(options=["--shards", "2"])
        cls.addClassCleanup(cls.shared.close)
        cls.api = lathe_case.Api(cls.shared.start().address)
        cls.addClassCleanup(cls.api.close)
        for metric in METRICS:
            data.create_collection(cls.api, metric, {"": (vectors.shape[1], metric)})
            data.write_all(cls.api, metric, [
                data.upsert(cls.api, cls.keys[i], vectors[i], cls.payloads[i])
                for i in range(ROWS)])

    def query(self, vector):
        return self.api.schema.Vector(data=vector.tobytes())

    def search(self, metric, vector, **more):
        return self.api.call("Search", collection=metric, vector=self.query(vector), **more)

    def expected(self, metric, vector, without=()):
        """Rows best first by the definition, ties by id, and their float32 scores."""
        scores = data.defined_scores(metric, self.vectors, vector)
        order = numpy.lexsort((self.rank, data.better_first(metric, scores)))
        return [i for i in order if i not in without], scores

    def assert_hits(self, metric, vector, hits, k, offset=0, without=()):
        """The hits are the definition's, bit for bit, and numpy's to a unit in the last place."""
        order, scores = self.expected(metric, vector, without)
        wanted = order[offset:offset + k]
        rows = [self.row_of[data.from_id(hit.id)] for hit in hits]
        self.assertEqual(rows, [int(i) for i in wanted])
        got = numpy.array([hit.score for hit in hits], numpy.float32)
        self.assertEqual(got.tobytes(), scores[wanted].tobytes())

        brute = data.brute_force(metric, self.vectors, vector)
        if without:
            brute[list(without)] = numpy.inf if metric == "METRIC_EUCLIDEAN" else -numpy.inf
        best = numpy.argsort(data.better_first(metric, brute), kind="stable")[offset:offset + k]
        brute = brute.astype(numpy.float32)
        self.assertLessEqual(data.ulps(got, brute[rows]).max(initial=0), 1)
        self.assertLessEqual(data.ulps(got, brute[best]).max(initial=0), 1)
        # Where numpy puts another row, the two must be that close.
        for here, there in zip(rows, best):
            if here != there:
                self.assertLessEqual(data.ulps(brute[here], brute[there]), 1)

    def assert_report(self, report, found, rows=ROWS):
        levels = self.api.schema.enum("GuaranteeLevel")
        self.assertEqual(report.guarantee, levels["GUARANTEE_LEVEL_CERTIFIED"])
        self.assertEqual(report.estimated_recall, 1.0)
        self.assertEqual((report.coverage.shards_asked, report.coverage.shards_answered), (2, 2))
        self.assertEqual([shard.shard for shard in report.coverage.shards], [0, 1])
        self.assertTrue(all(shard.answered and shard.applied_seq > 0
                            for shard in report.coverage.shards))
        self.assertEqual(sum(shard.rows for shard in report.coverage.shards), rows)
        step, = report.plan.steps
        self.assertEqual((step.name, step.rows_in, step.rows_out), ("originals", rows, found))
        self.assertGreater(step.bytes_read, 0)
        self.assertTrue(found <= report.originals_read <= rows, report.originals_read)
        self.assertGreater(report.shard_us, 0)
        self.assertGreaterEqual(report.shard_us, report.scan_us)
        self.assertGreaterEqual(report.total_us, report.shard_us)
        self.assertEqual(report.kernel, self.api.call("GetInfo").kernel)

    def test_the_ten_nearest_are_numpys_for_every_metric(self):
        for metric in METRICS:
            with self.subTest(metric=metric):
                for query in self.queries:
                    reply = self.search(metric, query)
                    self.assert_hits(metric, query, reply.hits, 10)
                    self.assert_report(reply.report, 10)

    def test_any_number_of_results(self):
        for metric in METRICS:
            for k in (1, 100, 1000, ROWS, 16384):
                with self.subTest(metric=metric, k=k):
                    query = self.queries[k % QUERIES]
                    reply = self.search(metric, query, limit=k)
                    self.assert_hits(metric, query, reply.hits, k)
                    self.assert_report(reply.report, min(k, ROWS))

    def test_an_offset_leaves_out_the_first(self):
        for metric in METRICS:
            for offset, limit in ((1, 10), (95, 10), (9995, 100), (ROWS, 10), (16383, 1)):
                with self.subTest(metric=metric, offset=offset):
                    reply = self.search(metric, self.queries[3], limit=limit, offset=offset)
                    self.assert_hits(metric, self.queries[3], reply.hits, limit, offset)

    def test_a_threshold_keeps_what_reaches_it(self):
        for metric in METRICS:
            query = self.queries[5]
            order, scores = self.expected(metric, query)
            for place in (0, 7, 499):
                with self.subTest(metric=metric, place=place):
                    threshold = scores[order[place]]  # the score itself is good enough
                    turned = data.better_first(metric, scores)
                    count = int((turned <= data.better_first(metric, threshold)).sum())
                    reply = self.search(metric, query, limit=1000, score_threshold=threshold)
                    self.assertEqual(len(reply.hits), count)
                    self.assert_hits(metric, query, reply.hits, count)
            nothing = numpy.float32(0 if metric == "METRIC_EUCLIDEAN" else 1e6)
            reply = self.search(metric, query * numpy.float32(1.5), score_threshold=nothing)
            self.assertEqual(len(reply.hits), 0)

    def test_like_searches_with_the_stored_vector_and_leaves_the_point_out(self):
        for metric in METRICS:
            for row in (0, 1, 4321, ROWS - 1):
                with self.subTest(metric=metric, row=row):
                    reply = self.api.call("Search", collection=metric, limit=20,
                                          like=data.to_id(self.api, self.keys[row]))
                    self.assert_hits(metric, self.vectors[row], reply.hits, 20, without={row})

    def test_a_batch_answers_as_single_searches_do(self):
        m = self.api.schema
        for metric in METRICS:
            searches = [m.SearchRequest(vector=self.query(q), limit=1 + i, offset=i % 3)
                        for i, q in enumerate(self.queries)]
            searches.append(m.SearchRequest(like=data.to_id(self.api, self.keys[9]), limit=5))
            for search in searches:
                search.collection = metric
            with self.subTest(metric=metric):
                replies = self.api.call("SearchBatch", searches=searches).responses
                self.assertEqual(len(replies), len(searches))
                for search, reply in zip(searches, replies):
                    single = self.api.call("Search", search)
                    self.assertEqual([(h.id, h.score) for h in reply.hits],
                                     [(h.id, h.score) for h in single.hits])
                    self.assert_report(reply.report, search.limit + search.offset)

    def test_every_guarantee_that_is_served_is_certified(self):
        m, levels = self.api.schema, self.api.schema.enum("GuaranteeLevel")
        for name, more in (("GUARANTEE_LEVEL_UNSPECIFIED", {}), ("GUARANTEE_LEVEL_EXACT", {}),
                           ("GUARANTEE_LEVEL_CERTIFIED", {}),
                           ("GUARANTEE_LEVEL_TARGET_RECALL", {"recall": 0.5})):
            with self.subTest(level=name):
                reply = self.search(METRICS[0], self.queries[0],
                                    guarantee=m.Guarantee(level=levels[name], **more))
                self.assert_hits(METRICS[0], self.queries[0], reply.hits, 10)
                self.assert_report(reply.report, 10)

    def test_payload_and_vectors_come_on_demand_bit_for_bit(self):
        m = self.api.schema
        for payload, vectors in ((False, False), (True, False), (False, True), (True, True)):
            with self.subTest(payload=payload, vectors=vectors):
                reply = self.search(METRICS[2], self.queries[1], limit=200,
                                    selection=m.Selection(payload=payload, vectors=vectors))
                self.assert_hits(METRICS[2], self.queries[1], reply.hits, 200)
                for hit in reply.hits:
                    row = self.row_of[data.from_id(hit.id)]
                    self.assertEqual(hit.HasField("payload"), payload)
                    self.assertEqual(len(hit.vectors), int(vectors))
                    if payload:
                        self.assertEqual(data.from_object(hit.payload), self.payloads[row])
                    if vectors:
                        self.assertEqual(data.vector_of(hit.vectors[0]).tobytes(),
                                         self.vectors[row].tobytes())
                    if payload or vectors:
                        self.assertGreater(hit.version, 0)

    def test_points_are_read_in_the_order_asked_and_missing_ones_are_named(self):
        m = self.api.schema
        asked = [self.keys[5], 12345, self.keys[9999], "nobody", self.keys[5]]
        reply = self.api.call("GetPoints", collection=METRICS[0],
                              ids=[data.to_id(self.api, key) for key in asked],
                              selection=m.Selection(payload=True, vectors=True))
        self.assertEqual([data.from_id(p.id) for p in reply.points],
                         [self.keys[5], self.keys[9999], self.keys[5]])
        self.assertEqual([data.from_id(i) for i in reply.missing], [12345, "nobody"])
        for point in reply.points:
            row = self.row_of[data.from_id(point.id)]
            self.assertEqual(data.vector_of(point.vectors[0]).tobytes(),
                             self.vectors[row].tobytes())
            self.assertEqual(data.from_object(point.payload), self.payloads[row])

    def test_counts_and_statistics_are_exact(self):
        for metric in METRICS:
            reply = self.api.call("CountPoints", collection=metric)
            self.assertEqual(reply.count, ROWS)
            self.assertEqual(sum(shard.rows for shard in reply.coverage.shards), ROWS)
            stats = self.api.call("GetCollection", name=metric).stats
            self.assertEqual(stats.points, ROWS)
            self.assertEqual([(f.name, f.rows) for f in stats.fields], [("", ROWS)])
            self.assertGreaterEqual(stats.fields[0].memory_bytes, self.vectors.nbytes)


class FieldsTest(lathe_case.LatheCase):
    """Several named fields, and what payloads keep apart."""

    @classmethod
    def setUpClass(cls):
        cls.shared = lathe_case.lathe_server.Server(options=["--shards", "2"])
        cls.addClassCleanup(cls.shared.close)
        cls.api = lathe_case.Api(cls.shared.start().address)
        cls.addClassCleanup(cls.api.close)

    def test_each_field_is_searched_by_itself(self):
        rng = numpy.random.default_rng(lathe_case.SEED)
        fields = {"title": (32, "METRIC_COSINE"), "body/text": (7, "METRIC_EUCLIDEAN"),
                  "": (1, "METRIC_DOT")}
        data.create_collection(self.api, "fields", fields)
        rows = {name: rng.normal(0, 1, (300, dims)).astype(numpy.float32)
                for name, (dims, _) in fields.items()}
        has = {name: rng.random(300) < 0.7 for name in fields}
        data.write_all(self.api, "fields", [
            data.upsert(self.api, i, {n: rows[n][i] for n in fields if has[n][i]})
            for i in range(300)])
        m = self.api.schema
        for name, (dims, metric) in fields.items():
            with self.subTest(field=name):
                query = rng.normal(0, 1, dims).astype(numpy.float32)
                scores = data.defined_scores(metric, rows[name], query)
                order = [int(i) for i in numpy.lexsort((numpy.arange(300),
                                                        data.better_first(metric, scores)))
                         if has[name][i]]
                reply = self.api.call("Search", collection="fields", field=name, limit=300,
                                      vector=m.Vector(values=query.tolist()),
                                      selection=m.Selection(vectors=True, fields=["title"]))
                self.assertEqual([hit.id.number for hit in reply.hits], order)
                self.assertEqual(sum(s.rows for s in reply.report.coverage.shards), len(order))
                for hit in reply.hits:
                    self.assertEqual([v.field for v in hit.vectors],
                                     ["title"] if has["title"][hit.id.number] else [])
        stats = self.api.call("GetCollection", name="fields").stats
        self.assertEqual({f.name: f.rows for f in stats.fields},
                         {name: int(has[name].sum()) for name in fields})
        row = next(i for i in range(300) if not has["title"][i])
        self.assert_fails(self.api, "NOT_FOUND", lambda: self.api.call(
            "Search", collection="fields", field="title", like=m.PointId(number=row)), "like")

    def test_payloads_keep_types_and_the_ways_to_be_empty(self):
        payload = {
            "max": (1 << 63) - 1, "min": -(1 << 63), "above_double": (1 << 53) + 1, "zero": 0,
            "third": 1 / 3, "tiny": 5e-324, "huge": 1.7976931348623157e308, "whole": 1.0,
            "minus_zero": -0.0, "true": True, "false": False, "null": None, "list": [],
            "object": {}, "text": "", "unicode": "\u00e9\U0001f40d\u2028", "": "the empty key",
            "nested": {"b": [1, 1.0, "1", None, [], {}, [[[]]]], "a": {"z": 1, "y": 2}},
            "deep": [[[[[[[[[[1]]]]]]]]]],
        }
        data.create_collection(self.api, "payloads", {"": (1, "METRIC_DOT")})
        message = data.to_object(self.api, payload)
        m = self.api.schema
        data.write_all(self.api, "payloads", [
            data.upsert(self.api, 1, [1], payload),
            data.upsert(self.api, 2, [1], {}),
            data.upsert(self.api, 3, [1]),
        ])
        selection = m.Selection(payload=True)
        got = {p.id.number: p for p in self.api.call(
            "GetPoints", collection="payloads", selection=selection,
            ids=[m.PointId(number=i) for i in (1, 2, 3)]).points}
        # The message itself: Python alone would take 1, 1.0 and True for the same, and so -0.0.
        self.assertEqual(got[1].payload.SerializeToString(deterministic=True),
                         message.SerializeToString(deterministic=True))
        self.assertEqual([entry.key for entry in got[1].payload.entries], list(payload))
        for number in (2, 3):  # a point without payload has an empty one
            self.assertTrue(got[number].HasField("payload"))
            self.assertEqual(len(got[number].payload.entries), 0)
        hit = self.api.call("Search", collection="payloads", vector=m.Vector(values=[1]), limit=1,
                            selection=selection).hits[0]
        self.assertEqual(hit.payload, message)

    def test_vectors_come_back_bit_for_bit(self):
        rng = numpy.random.default_rng(lathe_case.SEED)
        bits = rng.integers(0, 1 << 32, 4096, dtype=numpy.uint32).view(numpy.float32)
        odd = bits[numpy.isfinite(bits) & (numpy.abs(bits) < 1e12)][:1024]
        odd = numpy.concatenate([odd, numpy.array([0.0, -0.0, 1e-45, -1e-45], numpy.float32)])
        data.create_collection(self.api, "bits", {"": (len(odd), "METRIC_EUCLIDEAN")})
        m = self.api.schema
        operations = [data.upsert(self.api, 1, odd), data.upsert(self.api, 2)]
        operations[1].upsert.vectors.append(data.dense(self.api, odd, floats=True))
        data.write_all(self.api, "bits", operations)
        for point in data.list_all(self.api, "bits"):
            self.assertEqual(data.vector_of(point.vectors[0]).tobytes(), odd.tobytes())
        self.assertEqual(m.PointId(number=1), data.list_all(self.api, "bits")[0].id)


if __name__ == "__main__":
    lathe_case.main()
