"""Concurrent writers with a model of what must be stored, for tests that end the server in bad ways.

Each writer has points of its own, so it can say the outcome of every operation beforehand: the
state of a point is known after each acknowledged request, and after an end without an answer it is
the state after some prefix of the requests that were on the way. Two counters are shared by all
writers and incremented under a condition on the version: no increment may be lost or done twice.

A writer keeps its client id and its request numbers for life, and repeats what was not answered.
"""
import os
import random
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

import lathe_case  # noqa: E402  (sets gRPC's environment)
import grpc  # noqa: E402
import numpy  # noqa: E402

import lathe_data as data  # noqa: E402

COLLECTION, DIMS = "kept", 256
KEYS, MAX_OPERATIONS, WINDOW = 60, 6, 6
COUNTERS = ["counter-0", "counter-1"]
UPSERT, INSERT_ONLY, UPDATE_ONLY = 0, 1, 2
APPLIED, NOT_FOUND, CONDITION_FALSE = 1, 2, 3
NO_SUCH_VERSION = 1 << 60


class Loss(AssertionError):
    """What is stored is not what must be."""


class Refused(Exception):
    """A write was answered with a failure of some shards. It stays on the way: repeat it."""


def check(fine, *what):
    if not fine:
        raise Loss(" ".join(map(str, what)))


def vector_of(number):
    """A vector that no other number has."""
    return ((numpy.arange(DIMS) % 7) * 0.125 + number).astype("<f4")


class State:
    """A point that exists. `version` None: the request that made it was not answered yet."""

    def __init__(self, vector, payload, version=None):
        self.vector = vector  # its number, or None
        self.payload = payload
        self.version = version

    def __repr__(self):
        return f"State(vector={self.vector}, payload={self.payload}, version={self.version})"


class Request:
    """Its operations as (key, kind, ...), what they do, and the message."""

    def __init__(self, number):
        self.number = number
        self.message = None
        self.outcomes = []  # predicted
        self.made = []      # a State, or None, for each operation that is applied
        self.after = {}     # key: the state behind this request


class Writer:
    def __init__(self, api, index, seed, stream):
        self.index = index
        self.random = random.Random(f"{seed}-{index}")
        self.stream = stream
        self.client_id = data.client_id()
        self.next_number = 1
        self.unique = index * 1_000_000
        self.keys = [self._key(i) for i in range(KEYS)]
        self.known = dict.fromkeys(self.keys)  # key: its acknowledged state
        self.sent = dict(self.known)           # key: the state behind everything sent
        self.pending = []                      # requests without an answer, in order
        self.counted = dict.fromkeys(COUNTERS, 0)  # increments of this writer that were applied
        self.counter_pending = None            # (counter, request)
        self.api = api
        self.acknowledged = 0

    def _key(self, i):
        number = self.index << 32 | i
        return [number, uuid.UUID(int=number << 40 | 7), f"w{self.index}-{i}"][i % 3]

    # ---- Making requests --------------------------------------------------------------------------

    def _fresh(self):
        self.unique += 1
        return self.unique

    def _condition(self, key):
        """An if_version, or 0 for none."""
        choice = self.random.random()
        if choice > 0.3:
            return 0
        state = self.known[key]
        if choice < 0.2 and state is not None and state.version is not None:
            return state.version
        return NO_SUCH_VERSION

    def _operation(self, key):
        kind = self.random.choices(("upsert", "delete", "set", "clear"), (60, 20, 15, 5))[0]
        mode = self.random.choices((UPSERT, INSERT_ONLY, UPDATE_ONLY), (70, 15, 15))[0]
        if kind != "upsert" and mode == INSERT_ONLY:
            mode = UPSERT
        condition = self._condition(key)
        number = self._fresh()
        payload = {"by": self.index, "unique": number}
        message = self.api.schema.WriteOperation(mode=mode, if_version=condition)
        if kind == "upsert":
            vector = number if self.random.random() < 0.9 else None
            message.upsert.id.CopyFrom(data.to_id(self.api, key))
            if vector is not None:
                message.upsert.vectors.append(data.dense(self.api, vector_of(number)))
            message.upsert.payload.CopyFrom(data.to_object(self.api, payload))
            change = lambda state: State(vector, payload)
        elif kind == "delete":
            message.delete.id.CopyFrom(data.to_id(self.api, key))
            change = lambda state: None
        elif kind == "set":
            message.set_payload.id.CopyFrom(data.to_id(self.api, key))
            message.set_payload.payload.CopyFrom(data.to_object(self.api, {"set": number}))
            change = lambda state: State(state.vector, state.payload | {"set": number})
        else:
            message.clear_payload.id.CopyFrom(data.to_id(self.api, key))
            change = lambda state: State(state.vector, {})
        return message, change, kind, mode, condition

    @staticmethod
    def _predict(state, kind, mode, condition):
        if state is None and (kind != "upsert" or mode == UPDATE_ONLY):
            return NOT_FOUND
        if state is not None and mode == INSERT_ONLY:
            return CONDITION_FALSE
        if condition != 0 and (state is None or state.version != condition):
            return CONDITION_FALSE
        return APPLIED

    def make_request(self):
        request = Request(self.next_number)
        self.next_number += 1
        operations = []
        for _ in range(self.random.randint(1, MAX_OPERATIONS)):
            key = self.random.choice(self.keys)
            message, change, kind, mode, condition = self._operation(key)
            state = self.sent[key]
            outcome = self._predict(state, kind, mode, condition)
            if outcome == APPLIED:
                state = self.sent[key] = change(state)
            operations.append(message)
            request.outcomes.append(outcome)
            request.made.append(state)
            request.after[key] = state
        request.message = self.api.request(
            "WritePoints", collection=COLLECTION, client_id=self.client_id,
            request_number=request.number, operations=operations)
        self.pending.append(request)
        return request

    # ---- Answers ----------------------------------------------------------------------------------

    def acknowledge(self, reply):
        """Takes the answer to the oldest request on the way."""
        request = self.pending[0]
        check(reply.request_number == request.number, "answer to", reply.request_number,
              "where", request.number, "was due")
        if reply.status != 0:
            raise Refused(reply.message)
        outcomes = [result.outcome for result in reply.results]
        check(outcomes == request.outcomes, "writer", self.index, "request", request.number,
              "has outcomes", outcomes, "not", request.outcomes)
        for outcome, state, result in zip(request.outcomes, request.made, reply.results):
            if state is None:
                check(result.version == 0, "a version of a point that is not there")
            elif state.version is None:
                state.version = result.version
            else:
                check(state.version == result.version, "writer", self.index, "request",
                      request.number, "gives version", result.version, "not", state.version)
        self.known.update(request.after)
        self.pending.pop(0)
        self.acknowledged += 1

    def repeat_pending(self):
        """Sends again, under their numbers, the requests that were not answered."""
        while self.pending:
            self.acknowledge(self.api.call("WritePoints", self.pending[0].message))
        if self.counter_pending is not None:
            counter, message = self.counter_pending
            self._count(counter, self.api.call("WritePoints", message))

    # ---- Running ----------------------------------------------------------------------------------

    def _count(self, counter, reply):
        if reply.status != 0:
            raise Refused(reply.message)
        self.counted[counter] += reply.results[0].outcome == APPLIED
        self.counter_pending = None
        self.acknowledged += 1

    def increment(self):
        counter = self.random.choice(COUNTERS)
        value, version = read_counter(self.api, counter)
        operation = data.upsert(self.api, counter, None, {"value": value + 1},
                                mode=UPSERT if version else INSERT_ONLY, if_version=version)
        message = self.api.request("WritePoints", collection=COLLECTION, client_id=self.client_id,
                                   request_number=self.next_number, operations=[operation])
        self.next_number += 1
        self.counter_pending = counter, message
        self._count(counter, self.api.call("WritePoints", message))

    def run_unary(self, stop):
        while not stop.is_set():
            if self.random.random() < 0.2:
                self.increment()
            else:
                request = self.make_request()
                self.acknowledge(self.api.call("WritePoints", request.message))

    def run_stream(self, stop):
        """Several requests on the way. The model is touched by one side at a time."""
        lock, room = threading.Lock(), threading.Semaphore(WINDOW)

        def requests():
            while not stop.is_set():
                if not room.acquire(timeout=0.05):
                    continue
                with lock:
                    request = self.make_request()
                yield request.message

        for reply in self.api.stream("StreamWrites", requests(), timeout=600):
            with lock:
                self.acknowledge(reply)
            room.release()

    def run(self, stop):
        (self.run_stream if self.stream else self.run_unary)(stop)


def read_counter(api, counter):
    """(value, version); (0, 0) if there is none."""
    reply = api.call("GetPoints", collection=COLLECTION, ids=[data.to_id(api, counter)],
                     selection=api.schema.Selection(payload=True))
    if not reply.points:
        return 0, 0
    return data.from_object(reply.points[0].payload)["value"], reply.points[0].version


class World:
    """The writers and everything that is checked about them."""

    def __init__(self, seed, unary=4, streams=2):
        self.seed = seed
        self.random = random.Random(f"{seed}-world")
        self.layout = [False] * unary + [True] * streams
        self.writers = []
        self.rounds = 0

    def connect(self, server):
        api = lathe_case.Api(server.address, schema=self.writers[0].api.schema
                             if self.writers else None)
        if not self.writers:
            data.create_collection(api, COLLECTION, {"": (DIMS, "METRIC_EUCLIDEAN")})
            self.writers = [Writer(api, i + 1, self.seed, stream)
                            for i, stream in enumerate(self.layout)]
        for writer in self.writers:
            writer.api = api
        return api

    # ---- Writing until the end --------------------------------------------------------------------

    def write_until(self, acknowledgements, end, expect_failures=False):
        """Runs every writer; calls end() once so many requests are acknowledged, from this thread.
        Failed calls are expected from then on, or always; they end their writer, not the run. What
        they said is returned."""
        stop, ending, troubles, refusals = threading.Event(), threading.Event(), [], []
        before = sum(writer.acknowledged for writer in self.writers)

        def run(writer):
            try:
                writer.run(stop)
            except (grpc.RpcError, Refused) as error:
                refusals.append(error.details() if isinstance(error, grpc.RpcError) else str(error))
                if not ending.is_set() and not expect_failures:
                    troubles.append(error)
            except BaseException as error:  # the main thread raises it
                troubles.append(error)

        threads = [threading.Thread(target=run, args=(writer,)) for writer in self.writers]
        for thread in threads:
            thread.start()
        while (sum(w.acknowledged for w in self.writers) - before < acknowledgements and
               any(thread.is_alive() for thread in threads) and not troubles):
            time.sleep(0.001)
        ending.set()
        if not troubles:
            end()
        stop.set()
        for thread in threads:
            thread.join(60)
            check(not thread.is_alive(), "a writer hangs")
        if troubles:
            raise troubles[0]
        return refusals

    # ---- What must be there -----------------------------------------------------------------------

    def _allowed(self):
        """{key: states that it may be in}, the oldest first."""
        allowed = {}
        for writer in self.writers:
            for key in writer.keys:
                allowed[key] = [writer.known[key]]
                allowed[key] += [request.after[key] for request in writer.pending
                                 if key in request.after]
        return allowed

    @staticmethod
    def _same(point, state):
        if point is None or state is None:
            return point is None and state is None
        vector = [data.vector_of(v).tobytes() for v in point.vectors]
        expected = [] if state.vector is None else [vector_of(state.vector).tobytes()]
        return (vector == expected and data.from_object(point.payload) == state.payload and
                state.version in (None, point.version))

    def verify(self, api):
        """Compares everything stored with the model. Raises Loss."""
        points = {data.from_id(point.id): point for point in data.list_all(api, COLLECTION)}
        allowed = self._allowed()
        strangers = set(points) - set(allowed) - set(COUNTERS)
        check(not strangers, "points that nobody wrote:", sorted(map(str, strangers)))
        for key, states in allowed.items():
            check(any(self._same(points.get(key), state) for state in states),
                  "point", key, "is", points.get(key) and data.from_object(points[key].payload),
                  "version", points.get(key) and points[key].version,
                  "and may be one of", states)
        for counter in COUNTERS:
            value = read_counter(api, counter)[0]
            least = sum(writer.counted[counter] for writer in self.writers)
            most = least + sum(writer.counter_pending is not None and
                               writer.counter_pending[0] == counter for writer in self.writers)
            check(least <= value <= most, counter, "is", value, "not", least, "to", most)
        self._verify_searches(api, points)

    def _verify_searches(self, api, points):
        """Counts and searches show the points that the list shows."""
        check(api.call("CountPoints", collection=COLLECTION).count == len(points),
              "the count is not that of the list")
        rows = {key: data.vector_of(point.vectors[0]) for key, point in points.items()
                if point.vectors}
        stats = api.call("GetCollection", name=COLLECTION).stats
        check(stats.points == len(points) and stats.fields[0].rows == len(rows),
              "the statistics are not those of the list:", stats.points, stats.fields[0].rows)
        query = vector_of(self.random.randrange(1, 7_000_000))
        hits = api.call("Search", collection=COLLECTION, limit=16384,
                        vector=api.schema.Vector(data=query.tobytes())).hits
        check(len(hits) == len(rows), "a search finds", len(hits), "of", len(rows), "rows")
        if not rows:
            return
        keys = sorted(rows, key=data.id_order)
        scores = data.defined_scores("METRIC_EUCLIDEAN", numpy.stack([rows[k] for k in keys]), query)
        order = numpy.argsort(scores, kind="stable")
        check([(data.from_id(hit.id), hit.score) for hit in hits] ==
              [(keys[i], float(scores[i])) for i in order], "a search gives other rows or scores")

    def settle(self, api):
        """After a restart: what is stored is allowed; then unanswered requests are repeated, and
        what is stored is what was promised."""
        self.verify(api)
        for writer in self.writers:
            writer.repeat_pending()
        if self.rounds % 10 == 0:
            self.verify(api)
        self.rounds += 1

    def summary(self):
        return (f"{sum(w.acknowledged for w in self.writers)} requests acknowledged, "
                f"{sum(sum(w.counted.values()) for w in self.writers)} increments")
