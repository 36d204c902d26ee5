"""Real vectors, payload values, and scores by two independent ways: numpy's brute force, and the
definition in common/vec/score.h, bit for bit."""
import base64
import json
import os
import struct
import time
import uuid

import numpy

SAMPLES = os.environ.get("LATHE_SAMPLES", "samples")
METRICS = {"METRIC_COSINE": 1, "METRIC_DOT": 2, "METRIC_EUCLIDEAN": 3}


def sample_path(name="wordnet.jsonl"):
    return os.path.join(SAMPLES, "wordnet", name)


def sample(limit=None):
    """(ids, vectors, payloads) of the sample: 4,000 embeddings of 384 dims."""
    ids, vectors, payloads = [], [], []
    with open(sample_path(), encoding="utf-8") as file:
        for line in file:
            if limit is not None and len(ids) == limit:
                break
            row = json.loads(line)
            ids.append(row["id"])
            vectors.append(numpy.frombuffer(base64.b64decode(row["vectors"][""]), "<f4"))
            payloads.append(row["payload"])
    return ids, numpy.stack(vectors), payloads


def questions():
    vectors = []
    with open(sample_path("questions.jsonl"), encoding="utf-8") as file:
        for line in file:
            vectors.append(numpy.frombuffer(base64.b64decode(json.loads(line)["vector"]), "<f4"))
    return numpy.stack(vectors)


def grow(vectors, count, rng):
    """`count` vectors: these, and points between near neighbours with a little noise."""
    more = count - len(vectors)
    if more <= 0:
        return vectors[:count].copy()
    base = rng.integers(0, len(vectors), more)
    near = vectors @ vectors[base].T
    near[base, numpy.arange(more)] = -numpy.inf
    rank = numpy.argpartition(-near, 8, axis=0)[:8]
    other = rank[rng.integers(0, 8, more), numpy.arange(more)]
    t = rng.random((more, 1), dtype=numpy.float32)
    grown = vectors[base] * (1 - t) + vectors[other] * t
    grown += rng.normal(0, 1e-3, grown.shape).astype(numpy.float32)
    return numpy.concatenate([vectors, grown.astype(numpy.float32)])


# ---- Scores ---------------------------------------------------------------------------------------

def brute_force(metric, rows, query):
    """float64 scores of every row, by numpy's own sums."""
    x, q = rows.astype(numpy.float64), query.astype(numpy.float64)
    if metric == "METRIC_DOT":
        return x @ q
    if metric == "METRIC_EUCLIDEAN":
        return numpy.sqrt(((x - q) ** 2).sum(axis=1))
    return (x @ q) / (numpy.linalg.norm(x, axis=1) * numpy.linalg.norm(q))


def _defined_sum(terms_of, rows, query):
    sums = numpy.zeros((len(rows), 16))
    for begin in range(0, len(query), 16):
        x = rows[:, begin:begin + 16].astype(numpy.float64)
        q = query[begin:begin + 16].astype(numpy.float64)
        sums[:, :x.shape[1]] += terms_of(x, q)
    for half in (8, 4, 2, 1):
        sums[:, :half] += sums[:, half:2 * half]
    return sums[:, 0].copy()


def defined_scores(metric, rows, query):
    """float32 scores of every row by the definition, bit for bit."""
    if metric == "METRIC_DOT":
        scores = _defined_sum(lambda x, q: x * q, rows, query)
    elif metric == "METRIC_EUCLIDEAN":
        scores = numpy.sqrt(_defined_sum(lambda x, q: (x - q) * (x - q), rows, query))
    else:
        dots = _defined_sum(lambda x, q: x * q, rows, query)
        norms = numpy.sqrt(_defined_sum(lambda x, q: x * x, rows, query))
        norm = numpy.sqrt(_defined_sum(lambda x, q: x * x, query[None, :], query))[0]
        with numpy.errstate(invalid="ignore", divide="ignore"):
            scores = numpy.where(norms * norm > 0, dots / (norms * norm), 0.0)
    return scores.astype(numpy.float32) + numpy.float32(0)  # -0 becomes 0


def better_first(metric, scores):
    """Scores turned so that smaller is better."""
    return scores if metric == "METRIC_EUCLIDEAN" else -scores


def ulps(a, b):
    """How many float32 values lie between a and b."""
    def place(x):
        bits = numpy.asarray(x, numpy.float32).view(numpy.int32).astype(numpy.int64)
        return numpy.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return numpy.abs(place(a) - place(b))


# ---- Ids ------------------------------------------------------------------------------------------

def id_order(key):
    """Sort key of an id as tests write them: an int, a uuid.UUID, or a str."""
    if isinstance(key, int):
        return 0, key.to_bytes(8, "big")
    if isinstance(key, uuid.UUID):
        return 1, key.bytes
    return 2, key.encode()


def to_id(api, key):
    point_id = api.schema.PointId()
    if isinstance(key, int):
        point_id.number = key
    elif isinstance(key, uuid.UUID):
        point_id.uuid = str(key)
    else:
        point_id.string = key
    return point_id


def from_id(point_id):
    kind = point_id.WhichOneof("id")
    value = getattr(point_id, kind)
    return uuid.UUID(value) if kind == "uuid" else value


# ---- Payloads -------------------------------------------------------------------------------------

def to_value(api, value):
    """A Python value as a Value: bool, int, float, str, list, dict or None."""
    message = api.schema.Value()
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        message.int_value = value
    elif isinstance(value, float):
        message.double_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, list):
        message.list_value.SetInParent()
        message.list_value.values.extend(to_value(api, item) for item in value)
    else:
        message.object_value.CopyFrom(to_object(api, value))
    return message


def to_object(api, payload):
    message = api.schema.Object()
    for key, value in payload.items():
        message.entries.add(key=key, value=to_value(api, value))
    return message


def from_value(message):
    kind = message.WhichOneof("kind")
    if kind == "null_value":
        return None
    if kind == "list_value":
        return [from_value(item) for item in message.list_value.values]
    if kind == "object_value":
        return from_object(message.object_value)
    return getattr(message, kind)


def from_object(message):
    return {entry.key: from_value(entry.value) for entry in message.entries}


# ---- Requests -------------------------------------------------------------------------------------

def client_id(wall_ms=None):
    """A random UUID of version 7, as clients make them."""
    wall_ms = int(time.time() * 1000) if wall_ms is None else wall_ms
    rest = bytearray(os.urandom(10))
    rest[0] = rest[0] & 0x0F | 0x70
    rest[2] = rest[2] & 0x3F | 0x80
    return struct.pack(">Q", wall_ms)[2:] + bytes(rest)


def dense(api, vector, field="", floats=False):
    """A NamedVector; `floats`: as packed floats rather than bytes."""
    vector = numpy.asarray(vector, "<f4")
    if floats:
        inner = api.schema.Vector(values=vector.tolist())
    else:
        inner = api.schema.Vector(data=vector.tobytes())
    return api.schema.NamedVector(field=field, dense=inner)


def upsert(api, key, vectors=None, payload=None, mode=0, if_version=0):
    """A WriteOperation. `key` None: the server makes the id. `vectors`: one array, or {field: array}."""
    operation = api.schema.WriteOperation(mode=mode, if_version=if_version)
    operation.upsert.SetInParent()
    if key is not None:
        operation.upsert.id.CopyFrom(to_id(api, key))
    if vectors is not None and not isinstance(vectors, dict):
        vectors = {"": vectors}
    for field, vector in (vectors or {}).items():
        operation.upsert.vectors.append(dense(api, vector, field))
    if payload is not None:
        operation.upsert.payload.CopyFrom(to_object(api, payload))
    return operation


def delete(api, key, **more):
    operation = api.schema.WriteOperation(**more)
    operation.delete.id.CopyFrom(to_id(api, key))
    return operation


def create_collection(api, name, fields, metadata=b""):
    """`fields`: {name: (dims, metric)}."""
    schema = api.schema.CollectionSchema()
    for field, (dims, metric) in fields.items():
        schema.fields.add(name=field, dims=dims, metric=METRICS[metric])
    return api.call("CreateCollection", name=name, schema=schema, metadata=metadata)


def write_all(api, collection, operations, batch=500):
    """Writes operations in batches; every result must be APPLIED."""
    for begin in range(0, len(operations), batch):
        reply = api.call("WritePoints", collection=collection,
                         operations=operations[begin:begin + batch])
        bad = [result.outcome for result in reply.results if result.outcome != 1]
        if bad or reply.status != 0:
            raise AssertionError(f"not applied: {bad[:5]} {reply.status} {reply.message}")


def list_all(api, collection, page_size=1000, payload=True, vectors=True):
    """Every point of a collection, page by page."""
    points, token = [], ""
    while True:
        page = api.call("ListPoints", collection=collection, page_size=page_size, page_token=token,
                        selection=api.schema.Selection(payload=payload, vectors=vectors))
        points.extend(page.points)
        token = page.next_page_token
        if not token:
            return points


def vector_of(message):
    """The array of a NamedVector as it was read back."""
    inner = message.dense
    return numpy.frombuffer(inner.data, "<f4") if inner.data else numpy.array(inner.values, "<f4")
