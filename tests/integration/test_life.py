"""The life of a server: ends under load, deadlines, cancelling, limits, health, and collections
that come and go while it is killed."""
import random
import signal
import threading
import time

import lathe_case
import grpc
import numpy
from grpc_health.v1 import health_pb2, health_pb2_grpc

import lathe_data as data
from lathe_data import client_id
from lathe_server import PATIENCE, SANITIZER, wait_until

DIMS = 64


class LifeTest(lathe_case.LatheCase):
    def rng(self):
        return numpy.random.default_rng(lathe_case.SEED)

    def filled(self, server, rows, dims=DIMS, name="rows"):
        api = self.api(server)
        data.create_collection(api, name, {"": (dims, "METRIC_DOT")})
        vectors = self.rng().normal(0, 1, (rows, dims)).astype(numpy.float32)
        data.write_all(api, name, [data.upsert(api, i, v) for i, v in enumerate(vectors)], 2000)
        return api, vectors

    # ---- SIGTERM ----------------------------------------------------------------------------------

    def test_sigterm_under_load_fails_no_call_that_was_accepted(self):
        server = self.server("--shards", 2)
        api, vectors = self.filled(server, 2000)
        m = api.schema
        acknowledged, failures, refused, calls = set(), [], [], [0] * 20
        asked_to_stop = threading.Event()
        busy = threading.Barrier(21)

        def client(n):
            own = lathe_case.Api(server.address, schema=m)
            key = n * 1_000_000 + 10_000
            for i in range(1_000_000):
                begun_before = not asked_to_stop.is_set()
                try:
                    if i % 2 == 0:
                        reply = own.call("Search", collection="rows", limit=3,
                                         vector=m.Vector(data=vectors[(n + i) % 2000].tobytes()))
                        if len(reply.hits) != 3:
                            failures.append(("hits", len(reply.hits)))
                    else:
                        reply = own.call("WritePoints", collection="rows",
                                         operations=[data.upsert(own, key + i, vectors[n])])
                        if reply.status != 0 or reply.results[0].outcome != 1:
                            failures.append(("write", reply.status, reply.message))
                        acknowledged.add(key + i)
                    calls[n] += 1
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.UNAVAILABLE:
                        failures.append((error.code().name, error.details()))
                    elif begun_before and not asked_to_stop.is_set():
                        failures.append(("before the signal", error.details()))
                    refused.append(error.details())
                    break
                if i == 5:
                    busy.wait(60)
            own.close()

        threads = [threading.Thread(target=client, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        busy.wait(60)
        begin = sum(calls)
        wait_until(lambda: sum(calls) > begin + 300, 60, "300 calls of 20 clients")
        asked_to_stop.set()
        begin = time.monotonic()
        code = server.stop(10)
        took = time.monotonic() - begin
        for thread in threads:
            thread.join(30)
        self.assertEqual((code, failures), (0, []))
        self.assertLess(took, 10 * PATIENCE)
        self.assertEqual(len(refused), 20)
        print(f"{sum(calls)} calls answered, 20 refused, ended in {took:.2f} s")
        # What was answered is stored, and what was refused is not.
        api = self.api(server.start())
        stored = {point.id.number for point in data.list_all(api, "rows", 10000, False, False)}
        self.assertEqual(stored, acknowledged | set(range(2000)))

    def test_sigterm_lets_an_idle_stream_and_a_watch_end(self):
        server = self.server("--shards", 1)
        api, vectors = self.filled(server, 10)
        ended = threading.Event()

        def requests():
            yield api.request("WritePoints", collection="rows",
                              operations=[data.upsert(api, 99, vectors[0])])
            ended.wait(60)

        call = api.stream("StreamWrites", requests())
        self.assertEqual(next(call).status, 0)
        watch = health_pb2_grpc.HealthStub(api.channel).Watch(health_pb2.HealthCheckRequest())
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVING)
        begin = time.monotonic()
        self.assertEqual(server.stop(10), 0)
        self.assertLess(time.monotonic() - begin, 10 * PATIENCE)
        states = []
        try:
            for state in watch:
                states.append(state.status)
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(states, [health_pb2.HealthCheckResponse.NOT_SERVING])
        try:
            self.assertEqual(list(call), [])
        except grpc.RpcError as error:
            self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
        ended.set()

    def test_sigint_ends_it_as_well(self):
        server = self.server()
        server.process.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(10), 0)

    # ---- Deadlines and cancelling -----------------------------------------------------------------

    def heavy(self, api, vectors, searches=512):
        m = api.schema
        return api.request("SearchBatch", searches=[
            m.SearchRequest(collection="rows", limit=50,
                            vector=m.Vector(data=vectors[i].tobytes())) for i in range(searches)])

    def memory_of_requests(self, api):
        return {part.name: part.used_bytes
                for part in api.call("GetInfo").memory.parts}["requests"]

    def assert_idle(self, server, api, what):
        """No request is left, and no thread scans."""
        def quiet():
            before = server.cpu_seconds()
            time.sleep(0.2)  # the time over which work is measured
            return server.cpu_seconds() - before <= 0.06 and self.memory_of_requests(api) < 1 << 20

        wait_until(quiet, 10, f"an idle server {what}")

    def test_a_deadline_ends_the_call_and_the_work(self):
        server = self.server("--shards", 2)
        api, vectors = self.filled(server, 20000)
        heavy = self.heavy(api, vectors)
        begin = server.cpu_seconds()
        api.call("SearchBatch", heavy, timeout=60)
        full = server.cpu_seconds() - begin
        for timeout in (0.001, 0.01, 0.03):
            begin = server.cpu_seconds()
            for _ in range(5):
                self.assert_fails(api, "DEADLINE_EXCEEDED",
                                  lambda: api.call("SearchBatch", heavy, timeout=timeout))
            self.assert_idle(server, api, "after deadlines")
            if full > 0.3:  # else there is nothing to measure
                self.assertLess(server.cpu_seconds() - begin, 5 * full * 0.7)
        for _ in range(50):
            try:
                api.call("Search", heavy.searches[0], timeout=0.001)
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        reply = api.call("Search", heavy.searches[0])
        self.assertEqual(len(reply.hits), 50)

    def test_a_write_with_a_short_deadline_is_known_or_unknown_and_can_be_repeated(self):
        server = self.server("--shards", 2)
        api, vectors = self.filled(server, 10)
        client = client_id()
        for n in range(1, 60):
            request = api.request("WritePoints", collection="rows", client_id=client,
                                  request_number=n,
                                  operations=[data.upsert(api, 1000 + n, vectors[0])])
            try:
                api.call("WritePoints", request, timeout=0.0005 * (n % 8 + 1))
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
            reply = api.call("WritePoints", request)
            self.assertEqual([result.outcome for result in reply.results], [1])
        self.assertEqual(api.call("CountPoints", collection="rows").count, 10 + 59)

    def test_a_cancelled_search_stops_its_scan(self):
        server = self.server("--shards", 2)
        api, vectors = self.filled(server, 20000)
        heavy = self.heavy(api, vectors, 1024)
        begin = server.cpu_seconds()
        api.call("SearchBatch", heavy, timeout=60)
        full = server.cpu_seconds() - begin
        begin = server.cpu_seconds()
        for _ in range(5):
            call = api.start("SearchBatch", heavy)
            time.sleep(0.02)  # some of the work is done
            call.cancel()
        self.assert_idle(server, api, "after cancelled calls")
        spent = server.cpu_seconds() - begin
        print(f"a whole batch takes {full:.2f} s of CPU, five cancelled ones {spent:.2f} s")
        if full > 0.3:
            self.assertLess(spent, 5 * full * 0.7)
        self.assertEqual(len(api.call("Search", heavy.searches[0]).hits), 50)

    def test_a_cancelled_stream_leaves_nothing_behind(self):
        server = self.server("--shards", 2)
        api, vectors = self.filled(server, 10)

        def requests():
            for n in range(100_000):
                yield api.request("WritePoints", collection="rows",
                                  operations=[data.upsert(api, 100 + n, vectors[0])])

        for _ in range(10):
            call = api.stream("StreamWrites", requests())
            next(call)
            call.cancel()
        self.assert_idle(server, api, "after cancelled streams")
        points = data.list_all(api, "rows", 10000)
        self.assertEqual(api.call("CountPoints", collection="rows").count, len(points))

    # ---- Limits -----------------------------------------------------------------------------------

    def test_inserts_stop_at_the_memory_limit_and_reads_and_deletes_go_on(self):
        limit, dims = 192 << 20, 2048
        server = self.server("--shards", 2, "--memory-limit", limit)
        api = self.api(server)
        data.create_collection(api, "rows", {"": (dims, "METRIC_DOT")})
        vectors = self.rng().normal(0, 1, (64, dims)).astype(numpy.float32)
        peak, count = server.rss_bytes(), 0
        error = None
        while error is None:
            self.assertLess(count * dims * 4, limit, "more than the limit was taken")
            try:
                reply = api.call("WritePoints", collection="rows", operations=[
                    data.upsert(api, count + i, vectors[i]) for i in range(64)])
                if reply.status != 0:
                    error = reply.message
                    self.assertEqual(reply.status, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
                    break
                count += 64
            except grpc.RpcError as caught:
                self.assertEqual(caught.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                self.assertGreater(api.retry_ms(caught), 0)
                error = caught.details()
            peak = max(peak, server.rss_bytes())
        self.assertIn("memory", error)
        self.assertIn("--memory-limit", error)
        memory = api.call("GetInfo").memory
        self.assertEqual(memory.limit_bytes, limit)
        self.assertLessEqual(memory.used_bytes, limit)
        self.assertEqual(memory.used_bytes, sum(part.used_bytes for part in memory.parts))
        print(f"limit {limit >> 20} MiB, {count} rows of {dims * 4} bytes, peak "
              f"{peak >> 20} MiB, counted {memory.used_bytes >> 20} MiB")
        if not SANITIZER:
            self.assertLess(peak, limit * 1.15 + (64 << 20))
        # At least half of the limit is rows: the rest is caches and write buffers.
        self.assertGreater(count * dims * 4, limit * 0.25)
        query = api.schema.Vector(data=vectors[0].tobytes())
        self.assertEqual(len(api.call("Search", collection="rows", vector=query, limit=64).hits), 64)
        left = api.call("CountPoints", collection="rows").count
        for begin in range(0, left - left // 4, 256):
            api.call("WritePoints", collection="rows", operations=[
                data.delete(api, begin + i) for i in range(256)])

        def inserts_again():
            try:
                return api.call("WritePoints", collection="rows", operations=[
                    data.upsert(api, 1 << 40, vectors[0])]).status == 0
            except grpc.RpcError as caught:
                self.assertEqual(caught.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                return False

        wait_until(inserts_again, 20, "inserts after deletes made room")
        if not SANITIZER:
            self.assertLess(server.rss_bytes(), limit * 1.15 + (64 << 20))

    def test_more_calls_than_the_limit_are_refused_with_a_hint_or_served(self):
        server = self.server("--shards", 1)
        api, vectors = self.filled(server, 20000)
        heavy = self.heavy(api, vectors, 64)
        channels = [self.api(server, schema=api.schema) for _ in range(8)]
        calls = [channels[i % 8].start("SearchBatch", heavy, timeout=60 * PATIENCE) for i in range(1500)]
        served, refused = 0, 0
        for i, call in enumerate(calls):
            if i >= 1200:
                call.cancel()
                continue
            error = call.exception()
            if error is None:
                served += 1
            else:
                self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, error.details())
                self.assertGreater(api.retry_ms(error) or 0, 0, error.details())
                refused += 1
        print(f"{served} served, {refused} refused")
        self.assertGreater(served, 0)
        self.assert_idle(server, api, "after too many calls")

    # ---- Collections that come and go -------------------------------------------------------------

    def test_a_name_made_again_shows_no_old_row(self):
        server = self.server("--shards", 2)
        api = self.api(server)
        last_id = 0
        for generation in range(10):
            made = data.create_collection(api, "again", {"": (2, "METRIC_DOT")})
            self.assertGreater(made.id, last_id)
            last_id = made.id
            self.assert_empty(api, "again")
            data.write_all(api, "again", [data.upsert(api, i, [i, generation], {"g": generation})
                                          for i in range(50)])
            self.assert_only(api, "again", generation, 50)
            api.call("DeleteCollection", name="again")
            self.assert_fails(api, "NOT_FOUND", lambda: api.call("CountPoints", collection="again"))
        self.assertEqual(len(api.call("ListCollections").collections), 0)
        self.assert_fails(api, "NOT_FOUND", lambda: api.call("DeleteCollection", name="again"))

    def assert_empty(self, api, name):
        self.assertEqual(api.call("CountPoints", collection=name).count, 0)
        self.assertEqual(data.list_all(api, name), [])
        self.assertEqual(len(api.call("Search", collection=name, limit=100,
                                      vector=api.schema.Vector(values=[1, 1])).hits), 0)

    def assert_only(self, api, name, generation, least):
        """Every row is of this generation, and at least so many are there."""
        points = data.list_all(api, name)
        self.assertEqual({data.from_object(point.payload)["g"] for point in points} -
                         {generation}, set())
        hits = api.call("Search", collection=name, limit=1000,
                        vector=api.schema.Vector(values=[0, 1])).hits
        self.assertEqual(len(hits), len(points))
        self.assertEqual({hit.score for hit in hits} - {float(generation)}, set())
        self.assertEqual(api.call("CountPoints", collection=name).count, len(points))
        self.assertGreaterEqual(len(points), least)

    def test_create_and_drop_survive_kills_between_every_two_steps(self):
        rng = random.Random(lathe_case.SEED)
        server = self.server("--shards", 4)
        state = {"generation": 0, "step": "dropped", "rows": 0, "id": 0}

        def work(api):
            """create, write, drop, again and again; `state` says what is known."""
            while True:
                if state["step"] in ("dropped", "creating"):
                    if state["step"] == "dropped":
                        state["generation"] += 1
                    state["step"] = "creating"
                    made = data.create_collection(api, "killed", {"": (2, "METRIC_DOT")})
                    self.assertGreater(made.id, state["id"])
                    state.update(step="created", rows=0, id=made.id)
                while state["step"] == "created" and state["rows"] < 20:
                    data.write_all(api, "killed", [data.upsert(
                        api, state["rows"], [0, state["generation"]], {"g": state["generation"]})])
                    state["rows"] += 1
                state["step"] = "dropping"
                api.call("DeleteCollection", name="killed")
                state["step"] = "dropped"

        def run(api, troubles):
            try:
                work(api)
            except grpc.RpcError as error:
                if server.alive() and not killing.is_set():
                    troubles.append(error)
            except BaseException as error:
                troubles.append(error)

        for _ in range(25):
            api, troubles, killing = lathe_case.Api(server.address), [], threading.Event()
            thread = threading.Thread(target=run, args=(api, troubles))
            thread.start()
            time.sleep(rng.random() * 0.2)  # when the kill comes is what is varied
            killing.set()
            server.kill()
            thread.join(60)
            api.close()
            if troubles:
                raise troubles[0]
            server.start()
            with lathe_case.Api(server.address) as api:
                self.check_after_kill(api, state)

    def check_after_kill(self, api, state):
        names = [c.name for c in api.call("ListCollections").collections]
        self.assertIn(names, ([], ["killed"]))
        if state["step"] == "created":
            self.assertEqual(names, ["killed"])
        elif state["step"] == "dropped":
            self.assertEqual(names, [])
        if names:
            self.assert_only(api, "killed", state["generation"],
                             state["rows"] if state["step"] != "creating" else 0)
            found = api.call("GetCollection", name="killed")
            self.assertGreaterEqual(found.id, state["id"])
            state.update(step="created", id=found.id,
                         rows=state["rows"] if state["step"] != "creating" else 0)
        elif state["step"] == "dropping":
            state["step"] = "dropped"

    # ---- Health -----------------------------------------------------------------------------------

    def test_info_shows_the_limits_and_the_state(self):
        server = self.server("--shards", 3, "--memory-limit", "512MiB", "--max-payload", "64KiB")
        api, _ = self.filled(server, 100)
        info = api.call("GetInfo")
        self.assertEqual((info.shards, info.memory.limit_bytes, info.limits.payload_bytes),
                         (3, 512 << 20, 64 << 10))
        limits = info.limits
        self.assertEqual(
            (limits.collections, limits.fields, limits.dims, limits.results, limits.id_bytes,
             limits.message_bytes, limits.value_depth, limits.metadata_bytes),
            (1024, 16, 16384, 16384, 128, 64 << 20, 32, 64 << 10))
        self.assertRegex(info.version, r"^\d+\.\d+\.\d+$")
        parts = {part.name: part.used_bytes for part in info.memory.parts}
        self.assertGreaterEqual(parts["rows"], 100 * DIMS * 4)
        self.assertGreater(info.disk.used_bytes, 0)
        self.assertGreater(info.disk.free_bytes, 0)


if __name__ == "__main__":
    lathe_case.main()
