"""Writes over the API: repeated requests, modes and conditions, payload operations, the stream,
and lists that are complete and in id order."""
import threading
import time
import uuid

import lathe_case
import grpc
import numpy

import lathe_data as data
from lathe_data import client_id
from lathe_server import wait_until

WINDOW = 1024  # results that a shard remembers of each client


class WritesTest(lathe_case.LatheCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = lathe_case.lathe_server.Server(options=["--shards", "2"])
        cls.addClassCleanup(cls.shared.close)
        cls.api = lathe_case.Api(cls.shared.start().address)
        cls.addClassCleanup(cls.api.close)
        cls.outcome = cls.api.schema.enum("Outcome")
        cls.mode = cls.api.schema.enum("WriteMode")

    def setUp(self):
        self.name = self.id().rsplit(".", 1)[1]
        data.create_collection(self.api, self.name, {"": (2, "METRIC_DOT"), "b": (1, "METRIC_DOT")})

    def write(self, *operations, api=None, **more):
        return (api or self.api).call("WritePoints", collection=self.name, operations=operations,
                                      **more)

    def outcomes(self, reply):
        names = {number: name.removeprefix("OUTCOME_") for name, number in self.outcome.items()}
        return [names[result.outcome] for result in reply.results]

    def get(self, *keys):
        reply = self.api.call("GetPoints", collection=self.name,
                              ids=[data.to_id(self.api, key) for key in keys],
                              selection=self.api.schema.Selection(payload=True, vectors=True))
        return {data.from_id(point.id): point for point in reply.points}

    def payload(self, key):
        return data.from_object(self.get(key)[key].payload)

    def count(self):
        return self.api.call("CountPoints", collection=self.name).count

    # ---- Repeats ----------------------------------------------------------------------------------

    def test_a_repeat_gets_the_first_result_and_changes_nothing(self):
        client, up = client_id(), lambda i: data.upsert(self.api, i, [i, 1], {"n": i})
        request = dict(client_id=client, request_number=1)
        first = self.write(*[up(i) for i in range(20)], **request)
        self.assertFalse(first.repeated_request)
        self.write(data.delete(self.api, 3), client_id=client, request_number=2)
        again = self.write(*[up(i) for i in range(20)], **request)
        self.assertTrue(again.repeated_request)
        self.assertEqual(again.request_number, 1)
        self.assertEqual(list(again.results), list(first.results))
        self.assertEqual(self.count(), 19)  # point 3 stays deleted

    def test_a_repeat_of_a_refused_condition_is_refused_again(self):
        client = client_id()
        insert = data.upsert(self.api, 1, [1, 1], mode=self.mode["WRITE_MODE_INSERT_ONLY"])
        self.write(insert)
        first = self.write(insert, client_id=client, request_number=1)
        self.assertEqual(self.outcomes(first), ["CONDITION_FALSE"])
        self.write(data.delete(self.api, 1))
        again = self.write(insert, client_id=client, request_number=1)
        self.assertEqual(list(again.results), list(first.results))
        self.assertEqual(self.count(), 0)

    def test_the_same_number_with_other_content_is_refused(self):
        client = client_id()
        self.write(data.upsert(self.api, 1, [1, 1]), client_id=client, request_number=1)
        for other in (data.upsert(self.api, 1, [1, 2]), data.upsert(self.api, 1, [1, 1], {"a": 1}),
                      data.delete(self.api, 1)):
            self.assert_fails(
                self.api, "INVALID_ARGUMENT",
                lambda: self.write(other, client_id=client, request_number=1), "request_number")
        self.assertEqual(data.vector_of(self.get(1)[1].vectors[0]).tolist(), [1, 1])

    def test_a_number_below_the_window_is_too_old(self):
        client = client_id()
        up = lambda n: data.upsert(self.api, 7, [n, 1])

        def requests():
            for n in range(1, WINDOW + 11):
                yield self.api.request("WritePoints", collection=self.name, client_id=client,
                                       request_number=n, operations=[up(n)])

        replies = list(self.api.stream("StreamWrites", requests()))
        self.assertEqual([r.status for r in replies], [0] * (WINDOW + 10))
        self.assertTrue(self.write(up(WINDOW + 10), client_id=client,
                                   request_number=WINDOW + 10).repeated_request)
        self.assertTrue(self.write(up(11), client_id=client, request_number=11).repeated_request)
        error = self.assert_fails(
            self.api, "FAILED_PRECONDITION",
            lambda: self.write(up(10), client_id=client, request_number=10), "request_number")
        self.assertIn(str(WINDOW), error.details())

    def test_an_old_client_id_that_is_not_known_is_refused(self):
        old = client_id(int(time.time() * 1000) - 25 * 3600 * 1000)
        self.assert_fails(self.api, "FAILED_PRECONDITION", lambda: self.write(
            data.upsert(self.api, 1, [1, 1]), client_id=old, request_number=1), "client_id")
        self.assertEqual(self.count(), 0)

    def test_a_client_id_dated_ahead_is_refused(self):
        ahead = client_id(int(time.time() * 1000) + 11 * 60 * 1000)
        self.assert_fails(self.api, "INVALID_ARGUMENT", lambda: self.write(
            data.upsert(self.api, 1, [1, 1]), client_id=ahead, request_number=1), "client_id")
        self.assertEqual(self.count(), 0)

    def test_without_a_client_id_a_repeat_is_applied_again(self):
        versions = [self.write(data.upsert(self.api, 1, [1, 1]), request_number=5).results[0].version
                    for _ in range(2)]
        self.assertLess(versions[0], versions[1])

    def test_ids_that_the_server_makes_are_the_same_on_a_repeat(self):
        client = client_id()
        operations = [data.upsert(self.api, None, [i, 0], {"i": i}) for i in range(10)]
        first = self.write(*operations, client_id=client, request_number=1)
        made = [data.from_id(result.id) for result in first.results]
        self.assertEqual(len(set(made)), 10)
        self.assertTrue(all(isinstance(key, uuid.UUID) for key in made))
        again = self.write(*operations, client_id=client, request_number=1)
        self.assertEqual([data.from_id(result.id) for result in again.results], made)
        other = self.write(*operations, client_id=client, request_number=2)
        self.assertEqual(len(set(made) | {data.from_id(r.id) for r in other.results}), 20)
        self.assertEqual(self.count(), 20)
        self.assertEqual([self.payload(key)["i"] for key in made], list(range(10)))
        anonymous = [self.write(*operations) for _ in range(2)]
        self.assertEqual(self.count(), 40)
        self.assertTrue(all(r.HasField("id") for reply in anonymous for r in reply.results))

    def test_a_result_names_the_id_only_where_the_server_made_it(self):
        reply = self.write(data.upsert(self.api, 1, [1, 1]), data.upsert(self.api, None, [1, 1]))
        self.assertEqual([r.HasField("id") for r in reply.results], [False, True])

    # ---- Modes, conditions, operations ------------------------------------------------------------

    def test_modes(self):
        insert, update = self.mode["WRITE_MODE_INSERT_ONLY"], self.mode["WRITE_MODE_UPDATE_ONLY"]
        up = lambda n, mode=0: data.upsert(self.api, 1, [n, n], {"n": n}, mode=mode)
        self.assertEqual(self.outcomes(self.write(up(1, update))), ["NOT_FOUND"])
        self.assertEqual(self.count(), 0)
        self.assertEqual(self.outcomes(self.write(up(2, insert))), ["APPLIED"])
        self.assertEqual(self.outcomes(self.write(up(3, insert))), ["CONDITION_FALSE"])
        self.assertEqual(self.payload(1), {"n": 2})
        self.assertEqual(self.outcomes(self.write(up(4, update))), ["APPLIED"])
        self.assertEqual(self.payload(1), {"n": 4})
        self.assertEqual(self.outcomes(self.write(data.delete(self.api, 1))), ["APPLIED"])
        self.assertEqual(self.outcomes(self.write(data.delete(self.api, 1))), ["NOT_FOUND"])

    def test_a_condition_on_the_version(self):
        version = self.write(data.upsert(self.api, 1, [1, 1], {"n": 1})).results[0].version
        self.assertEqual(self.get(1)[1].version, version)
        reply = self.write(data.upsert(self.api, 1, [2, 2], {"n": 2}, if_version=version + 1))
        self.assertEqual(self.outcomes(reply), ["CONDITION_FALSE"])
        self.assertEqual(reply.results[0].version, version)  # of the point as it is
        reply = self.write(data.upsert(self.api, 1, [3, 3], {"n": 3}, if_version=version))
        self.assertEqual(self.outcomes(reply), ["APPLIED"])
        self.assertGreater(reply.results[0].version, version)
        self.assertEqual(self.payload(1), {"n": 3})
        self.assertEqual(self.outcomes(self.write(data.delete(self.api, 1, if_version=version))),
                         ["CONDITION_FALSE"])
        reply = self.write(data.delete(self.api, 1, if_version=reply.results[0].version))
        self.assertEqual(self.outcomes(reply), ["APPLIED"])
        self.assertEqual(reply.results[0].version, 0)
        # There is no point, so no version either.
        reply = self.write(data.upsert(self.api, 1, [1, 1], if_version=version))
        self.assertNotEqual(self.outcomes(reply), ["APPLIED"])
        self.assertEqual(self.count(), 0)

    def test_of_many_writers_with_the_same_condition_one_wins(self):
        version = self.write(data.upsert(self.api, 1, [0, 0], {"n": -1})).results[0].version
        won = []

        def run(n):
            reply = self.write(data.upsert(self.api, 1, [n, n], {"n": n}, if_version=version))
            if self.outcomes(reply) == ["APPLIED"]:
                won.append(n)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(won), 1)
        self.assertEqual(self.payload(1), {"n": won[0]})

    def test_the_same_id_several_times_in_one_request_in_order(self):
        m = self.api.schema
        set_payload = m.WriteOperation()
        set_payload.set_payload.id.number = 1
        set_payload.set_payload.payload.CopyFrom(data.to_object(self.api, {"set": True}))
        reply = self.write(
            data.upsert(self.api, 1, [1, 1], {"n": 1}), data.upsert(self.api, 1, [2, 2], {"n": 2}),
            data.delete(self.api, 1), set_payload,
            data.upsert(self.api, 1, [3, 3], mode=self.mode["WRITE_MODE_INSERT_ONLY"]),
            data.upsert(self.api, 1, [4, 4], {"n": 4}), set_payload,
            data.upsert(self.api, 1, [5, 5], mode=self.mode["WRITE_MODE_INSERT_ONLY"]))
        self.assertEqual(self.outcomes(reply), ["APPLIED"] * 3 + ["NOT_FOUND"] + ["APPLIED"] * 3 +
                         ["CONDITION_FALSE"])
        self.assertEqual(self.payload(1), {"n": 4, "set": True})
        self.assertEqual(data.vector_of(self.get(1)[1].vectors[0]).tolist(), [4, 4])
        hits = self.api.call("Search", collection=self.name, vector=m.Vector(values=[1, 0])).hits
        self.assertEqual([(hit.id.number, hit.score) for hit in hits], [(1, 4.0)])

    def test_every_payload_and_vector_operation(self):
        m = self.api.schema

        def operation(kind, **fields):
            message = m.WriteOperation()
            part = getattr(message, kind)
            part.id.number = 1
            for name, value in fields.items():
                if name == "payload":
                    part.payload.CopyFrom(data.to_object(self.api, value))
                else:
                    getattr(part, name).extend(value)
            return message

        kinds = {"set_payload": {"payload": {"a": 1}}, "overwrite_payload": {"payload": {"b": 2}},
                 "delete_payload_keys": {"keys": ["a"]}, "clear_payload": {},
                 "set_vectors": {"vectors": [data.dense(self.api, [9], "b")]},
                 "delete_vectors": {"fields": [""]}}
        for kind, fields in kinds.items():
            with self.subTest(kind=kind):
                reply = self.write(operation(kind, **fields))
                self.assertEqual(self.outcomes(reply), ["NOT_FOUND"])
        self.write(data.upsert(self.api, 1, {"": [1, 2], "b": [3]}, {"x": 1, "y": [1]}))
        version = self.get(1)[1].version
        steps = (
            (operation("set_payload", payload={"y": None, "z": {}}), {"x": 1, "y": None, "z": {}}),
            (operation("delete_payload_keys", keys=["x", "nothing"]), {"y": None, "z": {}}),
            (operation("overwrite_payload", payload={"only": 1}), {"only": 1}),
            (operation("clear_payload"), {}),
        )
        for step, expected in steps:
            reply = self.write(step)
            self.assertEqual(self.outcomes(reply), ["APPLIED"])
            self.assertGreater(reply.results[0].version, version)
            version = reply.results[0].version
            self.assertEqual(self.payload(1), expected)
            self.assertEqual(self.get(1)[1].version, version)
        vectors = lambda: {v.field: data.vector_of(v).tolist() for v in self.get(1)[1].vectors}
        search = lambda field, dims: [hit.score for hit in self.api.call(
            "Search", collection=self.name, field=field,
            vector=m.Vector(values=[1.0] * dims)).hits]
        self.assertEqual(vectors(), {"": [1, 2], "b": [3]})
        self.write(operation("set_vectors", vectors=[data.dense(self.api, [7], "b")]))
        self.assertEqual((vectors(), search("b", 1)), ({"": [1, 2], "b": [7]}, [7.0]))
        self.write(operation("delete_vectors", fields=[""]))
        self.assertEqual((vectors(), search("", 2), search("b", 1)), ({"b": [7]}, [], [7.0]))
        self.write(operation("delete_vectors", fields=["b"]))
        self.assertEqual((vectors(), self.count()), ({}, 1))
        self.write(operation("set_vectors", vectors=[data.dense(self.api, [5, 5])]))
        self.assertEqual(search("", 2), [10.0])

    def test_an_upsert_replaces_the_whole_point(self):
        self.write(data.upsert(self.api, 1, {"": [1, 2], "b": [3]}, {"x": 1}))
        self.write(data.upsert(self.api, 1, {"b": [4]}))
        point = self.get(1)[1]
        self.assertEqual([(v.field, data.vector_of(v).tolist()) for v in point.vectors],
                         [("b", [4])])
        self.assertEqual(data.from_object(point.payload), {})

    # ---- The stream -------------------------------------------------------------------------------

    def test_a_stream_answers_in_order_with_many_requests_on_the_way(self):
        client, count = client_id(), 2000

        def requests():
            for n in range(1, count + 1):
                yield self.api.request(
                    "WritePoints", collection=self.name, client_id=client, request_number=n,
                    operations=[data.upsert(self.api, n % 97, [n, 0], {"n": n}),
                                data.upsert(self.api, f"s{n}", [n, 1])])

        replies = list(self.api.stream("StreamWrites", requests()))
        self.assertEqual([r.request_number for r in replies], list(range(1, count + 1)))
        self.assertTrue(all(r.status == 0 and self.outcomes(r) == ["APPLIED"] * 2
                            for r in replies))
        self.assertEqual(self.count(), 97 + count)
        for key, point in self.get(*range(97)).items():
            last = max(n for n in range(1, count + 1) if n % 97 == key)
            self.assertEqual(data.from_object(point.payload), {"n": last})

    def test_a_stream_of_nothing_ends_well(self):
        self.assertEqual(list(self.api.stream("StreamWrites", iter([]))), [])

    def test_a_bad_request_in_a_stream_is_answered_and_the_stream_goes_on(self):
        good = lambda n: self.api.request("WritePoints", collection=self.name, request_number=n,
                                          operations=[data.upsert(self.api, n, [1, 1])])
        bad = self.api.request("WritePoints", collection=self.name, request_number=2,
                               operations=[data.upsert(self.api, 2, [1, 1, 1])])
        nowhere = self.api.request("WritePoints", collection="nowhere", request_number=3,
                                   operations=[data.delete(self.api, 1)])
        replies = list(self.api.stream("StreamWrites", iter(
            [m.SerializeToString() for m in (good(1), bad, nowhere)] + [b"\xff\xff"] +
            [good(5).SerializeToString()]), raw=True))
        codes = grpc.StatusCode
        self.assertEqual([r.status for r in replies],
                         [0, codes.INVALID_ARGUMENT.value[0], codes.NOT_FOUND.value[0],
                          codes.INVALID_ARGUMENT.value[0], 0])
        self.assertEqual([r.request_number for r in replies], [1, 2, 3, 0, 5])
        self.assertEqual([r.field for r in replies[1:3]],
                         ["operations[0].upsert.vectors[0].dense.data", "collection"])
        self.assertIn("3 dims", replies[1].message)
        self.assertEqual(sorted(self.get(1, 2, 5)), [1, 5])

    def test_a_stream_resumes_by_repeating_what_was_not_answered(self):
        client, sent = client_id(), threading.Event()
        request = lambda n: self.api.request(
            "WritePoints", collection=self.name, client_id=client, request_number=n,
            operations=[data.upsert(self.api, n, [n, 0])])

        def first():
            for n in range(1, 21):
                yield request(n)
            sent.set()
            threading.Event().wait(30)  # the stream is cut while it is open

        call = self.api.stream("StreamWrites", first())
        answered = [next(call).request_number for _ in range(5)]
        wait_until(sent.is_set, 10, "every request sent")
        call.cancel()
        self.assertEqual(answered, [1, 2, 3, 4, 5])
        replies = list(self.api.stream("StreamWrites", (request(n) for n in range(4, 31))))
        self.assertEqual([r.request_number for r in replies], list(range(4, 31)))
        self.assertTrue(all(r.status == 0 for r in replies))
        self.assertTrue(replies[0].repeated_request and replies[1].repeated_request)
        self.assertEqual(self.count(), 30)

    # ---- Lists ------------------------------------------------------------------------------------

    def test_lists_are_complete_and_in_id_order_for_every_page_size(self):
        rng = numpy.random.default_rng(lathe_case.SEED)
        keys = {int(n) for n in rng.choice(1 << 63, 300)} | {0, 1, 255, 256, (1 << 64) - 1}
        keys |= {uuid.UUID(bytes=rng.bytes(16)) for _ in range(300)} | {uuid.UUID(int=0)}
        keys |= {f"k{n}" for n in range(300)} | {"a", "aa", "b", "\u00e9", "7", "~", "x" * 128}
        keys |= {"00000000-0000-0000-0000-000000000000"}  # a string that reads like a UUID
        order = sorted(keys, key=data.id_order)
        shuffled = [order[i] for i in rng.permutation(len(order))]
        data.write_all(self.api, self.name, [
            data.upsert(self.api, key, [1, 2], {"key": str(key)}) for key in shuffled])
        for size in (1, 7, 100, 0, 10000):
            if size == 1:
                points = data.list_all(self.api, self.name, 1, payload=False, vectors=False)
            else:
                points = data.list_all(self.api, self.name, size)
                self.assertTrue(all(
                    data.from_object(p.payload) == {"key": str(data.from_id(p.id))} and
                    data.vector_of(p.vectors[0]).tolist() == [1, 2] for p in points))
            with self.subTest(page_size=size):
                self.assertEqual([data.from_id(p.id) for p in points], order)
        self.assertEqual(self.count(), len(order))
        gone = [order[i] for i in rng.choice(len(order), 400, replace=False)]
        data.write_all(self.api, self.name, [data.delete(self.api, key) for key in gone])
        left = [key for key in order if key not in set(gone)]
        self.assertEqual([data.from_id(p.id) for p in data.list_all(self.api, self.name, 64)], left)
        self.assertEqual(self.count(), len(left))

    def test_a_page_is_bounded_in_bytes(self):
        big = {"text": "x" * 900_000}
        for i in range(40):
            data.write_all(self.api, self.name, [data.upsert(self.api, i, [1, 1], big)])
        page = self.api.call("ListPoints", collection=self.name, page_size=10000,
                             selection=self.api.schema.Selection(payload=True))
        self.assertTrue(0 < len(page.points) < 40)
        self.assertNotEqual(page.next_page_token, "")
        points = data.list_all(self.api, self.name, 10000)
        self.assertEqual([p.id.number for p in points], list(range(40)))

    def test_a_list_goes_on_behind_points_that_are_deleted_meanwhile(self):
        data.write_all(self.api, self.name, [data.upsert(self.api, i, [1, 1]) for i in range(50)])
        page = self.api.call("ListPoints", collection=self.name, page_size=10)
        data.write_all(self.api, self.name, [data.delete(self.api, i) for i in range(5, 15)])
        rest = self.api.call("ListPoints", collection=self.name, page_size=100,
                             page_token=page.next_page_token)
        self.assertEqual([p.id.number for p in rest.points], list(range(15, 50)))

    def test_any_spelling_of_a_uuid_is_the_same_point(self):
        m, key = self.api.schema, uuid.UUID("0b0e7a4e-8f3c-4c9b-9a57-0123456789ab")
        self.write(data.upsert(self.api, key, [1, 1]))
        for text in (str(key).upper(), key.hex, "{" + str(key) + "}", "urn:uuid:" + str(key)):
            with self.subTest(text=text):
                reply = self.api.call("GetPoints", collection=self.name, ids=[m.PointId(uuid=text)])
                self.assertEqual([p.id.uuid for p in reply.points], [str(key)])

    def test_a_write_is_searchable_when_it_is_acknowledged(self):
        m = self.api.schema
        for i in range(1, 200):
            self.write(data.upsert(self.api, i, [i, 0]))
            hit = self.api.call("Search", collection=self.name, limit=1,
                                vector=m.Vector(values=[1, 0])).hits[0]
            self.assertEqual((hit.id.number, hit.score), (i, float(i)))


if __name__ == "__main__":
    lathe_case.main()
