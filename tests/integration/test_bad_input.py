"""Bad input over every RPC: a status that names field and limit, nothing stored, and a server that
lives and does not grow."""
import socket
import struct
import time

import lathe_case
import grpc
import numpy
from google.protobuf.descriptor import FieldDescriptor

import lathe_data as data
from lathe_data import client_id, dense, upsert
from lathe_reflection import path_of
from lathe_server import SANITIZER

DIMS = 4
INVALID, UNSERVED, ABSENT = "INVALID_ARGUMENT", "UNIMPLEMENTED", "NOT_FOUND"
GOOD = [1.0, 2.0, 3.0, 4.0]
VALID_CODES = {"OK", INVALID, UNSERVED, ABSENT, "ALREADY_EXISTS", "FAILED_PRECONDITION",
               "RESOURCE_EXHAUSTED"}


# ---- Bytes on the wire ----------------------------------------------------------------------------

def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def field_bytes(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def nested_value(depth, lists=True):
    """The bytes of a Value with so many lists (or objects) inside each other."""
    content = field_bytes(5, b"x")
    for _ in range(depth):
        if lists:
            content = field_bytes(6, field_bytes(1, content))
        else:
            content = field_bytes(7, field_bytes(1, field_bytes(1, b"k") + field_bytes(2, content)))
    return content


def string_paths(descriptor, depth=5, seen=()):
    """Every path of fields from a message to a string inside it."""
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield (field,)
        elif field.type == FieldDescriptor.TYPE_MESSAGE and depth > 0 and \
                field.message_type not in seen:
            for path in string_paths(field.message_type, depth - 1, seen + (descriptor,)):
                yield (field, *path)


def along(path, content):
    for field in reversed(path):
        content = field_bytes(field.number, content)
    return content


class BadInputTest(lathe_case.LatheCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = lathe_case.lathe_server.Server(options=["--shards", "2"])
        cls.addClassCleanup(cls.shared.close)
        cls.api = lathe_case.Api(cls.shared.start().address)
        cls.addClassCleanup(cls.api.close)
        for metric in data.METRICS:
            data.create_collection(cls.api, metric, {"": (DIMS, metric), "named": (2, metric)})
            data.write_all(cls.api, metric, [upsert(cls.api, 1, GOOD, {"kept": True})])
        cls.kept = cls.everything()
        cls.rss = cls.shared.rss_bytes()

    @classmethod
    def everything(cls):
        """All that is stored, as bytes."""
        m = cls.api.schema
        found = [c.SerializeToString(deterministic=True)
                 for c in cls.api.call("ListCollections").collections]
        for metric in data.METRICS:
            found.append(cls.api.call("ListPoints", collection=metric, selection=m.Selection(
                payload=True, vectors=True)).points[0].SerializeToString(deterministic=True))
            found.append(cls.api.call("CountPoints", collection=metric).count)
        return found

    def tearDown(self):
        self.assertTrue(self.shared.alive())
        self.assertEqual(self.everything(), self.kept)

    # ---- The table --------------------------------------------------------------------------------

    def run_table(self, rows):
        """Each row: what it is, code, field (or None), a part of the text (or None), a function."""
        for what, code, field, text, call in rows:
            with self.subTest(case=what):
                self.assert_fails(self.api, code, call, field, text)

    def write(self, *operations, collection="METRIC_COSINE", **more):
        return lambda: self.api.call("WritePoints", collection=collection,
                                     operations=operations, **more)

    def search(self, collection="METRIC_COSINE", vector=GOOD, **more):
        m = self.api.schema
        if vector is not None:
            more["vector"] = vector if isinstance(vector, m.Vector) else m.Vector(values=vector)
        return lambda: self.api.call("Search", collection=collection, **more)

    def create(self, name="new", fields=None, **more):
        m = self.api.schema
        fields = [m.FieldSchema(dims=2, metric=1)] if fields is None else fields
        return lambda: self.api.call("CreateCollection", name=name,
                                     schema=m.CollectionSchema(fields=fields), **more)

    def test_collections(self):
        m = self.api.schema
        field = lambda **more: [m.FieldSchema(**{"dims": 2, "metric": 1} | more)]
        rows = [
            ("no name", INVALID, "name", "1 to 255", self.create("")),
            ("long name", INVALID, "name", "255", self.create("x" * 256)),
            ("long name in UTF-8", INVALID, "name", "255", self.create("\u00e9" * 128)),
            ("slash", INVALID, "name", "/", self.create("a/b")),
            ("control character", INVALID, "name", "control", self.create("a\nb")),
            ("C1 control", INVALID, "name", "control", self.create("a\u0085b")),
            ("long metadata", INVALID, "metadata", "65536",
             self.create(metadata=b"x" * (64 * 1024 + 1))),
            ("no fields", INVALID, "schema.fields", "1 to 16", self.create(fields=[])),
            ("no schema", INVALID, "schema.fields", "1 to 16",
             lambda: self.api.call("CreateCollection", name="new")),
            ("17 fields", INVALID, "schema.fields", "16", self.create(
                fields=[m.FieldSchema(name=str(i), dims=1, metric=1) for i in range(17)])),
            ("same field twice", INVALID, "schema.fields[1].name", None,
             self.create(fields=field(name="a") * 2)),
            ("long field name", INVALID, "schema.fields[0].name", "255",
             self.create(fields=field(name="x" * 256))),
            ("control in field name", INVALID, "schema.fields[0].name", "control",
             self.create(fields=field(name="\t"))),
            ("no dims", INVALID, "schema.fields[0].dims", "1 to 16384",
             self.create(fields=field(dims=0))),
            ("too many dims", INVALID, "schema.fields[0].dims", "16384",
             self.create(fields=field(dims=16385))),
            ("no metric", INVALID, "schema.fields[0].metric", None,
             self.create(fields=field(metric=0))),
            ("unknown metric", INVALID, "schema.fields[0].metric", "99",
             self.create(fields=field(metric=99))),
            ("negative metric", INVALID, "schema.fields[0].metric", "-1",
             self.create(fields=field(metric=-1))),
            ("Manhattan", UNSERVED, "schema.fields[0].metric", "manhattan",
             self.create(fields=field(metric=4))),
            ("unknown kind", INVALID, "schema.fields[0].kind", "9",
             self.create(fields=field(kind=9))),
            ("sparse", UNSERVED, "schema.fields[0].kind", None, self.create(fields=field(kind=2))),
            ("multi", UNSERVED, "schema.fields[0].kind", None, self.create(fields=field(kind=3))),
            ("unknown element", INVALID, "schema.fields[0].element", "77",
             self.create(fields=field(element=77))),
            ("unknown zero rule", INVALID, "schema.fields[0].zero_vectors", "5",
             self.create(fields=field(zero_vectors=5))),
            ("ladder not ascending", INVALID, "schema.fields[0].ladder[1]", None,
             self.create(fields=field(dims=9, ladder=[4, 4]))),
            ("ladder at dims", INVALID, "schema.fields[0].ladder[0]", None,
             self.create(fields=field(dims=9, ladder=[9]))),
            ("ladder of 0", INVALID, "schema.fields[0].ladder[0]", None,
             self.create(fields=field(dims=9, ladder=[0]))),
            ("name is taken", "ALREADY_EXISTS", "name", "METRIC_DOT", self.create("METRIC_DOT")),
            ("get nothing", INVALID, "name", None, lambda: self.api.call("GetCollection")),
            ("get nowhere", ABSENT, "name", "nowhere",
             lambda: self.api.call("GetCollection", name="nowhere")),
            ("get a name of other letters", ABSENT, "name", "100% Gr\u00f6\u00dfe, \u221e",
             lambda: self.api.call("GetCollection", name="100% Gr\u00f6\u00dfe, \u221e")),
            ("get a long name", INVALID, "name", "255",
             lambda: self.api.call("GetCollection", name="x" * 300)),
            ("drop nowhere", ABSENT, "name", "nowhere",
             lambda: self.api.call("DeleteCollection", name="nowhere")),
            ("drop nothing", INVALID, "name", None, lambda: self.api.call("DeleteCollection")),
        ]
        rows += [(f"element type {n}", UNSERVED, "schema.fields[0].element", None,
                  self.create(fields=field(element=n))) for n in (2, 3, 4, 5, 6)]
        self.run_table(rows)

    def test_vectors_in_writes_and_searches(self):
        m = self.api.schema
        bytes_of = lambda values: numpy.array(values, "<f4").tobytes()
        nan, infinity, big = float("nan"), float("inf"), 2.0 ** 50
        zero = [0.0] * DIMS
        cases = [
            ("too few dims", INVALID, ".values", "3 dims", m.Vector(values=GOOD[:3])),
            ("too many dims", INVALID, ".values", "5 dims", m.Vector(values=GOOD + [1])),
            ("no element", INVALID, ".values", "0 dims", m.Vector()),
            ("NaN", INVALID, ".values", "element 2", m.Vector(values=[1, 2, nan, 4])),
            ("infinity", INVALID, ".values", "element 0", m.Vector(values=[infinity, 2, 3, 4])),
            ("minus infinity", INVALID, ".values", "element 3", m.Vector(values=[1, 2, 3, -infinity])),
            ("a norm above 2^50", INVALID, ".values", "2^100",
             m.Vector(values=[big, big, 0, 0])),
            ("NaN in bytes", INVALID, ".data", "element 2", m.Vector(data=bytes_of([1, 2, nan, 4]))),
            ("too few bytes", INVALID, ".data", "3 dims", m.Vector(data=bytes_of(GOOD[:3]))),
            ("a part of an element", INVALID, ".data", "15 bytes",
             m.Vector(data=bytes_of(GOOD)[:15])),
            ("values and data", INVALID, ".data", None,
             m.Vector(values=GOOD, data=bytes_of(GOOD))),
            ("unknown element", INVALID, ".element", "42",
             m.Vector(data=bytes_of(GOOD), element=42)),
        ]
        cases += [(f"element type {n}", UNSERVED, ".element", None,
                   m.Vector(data=bytes_of(GOOD), element=n)) for n in (2, 3, 4, 5, 6)]
        rows = []
        for metric in data.METRICS:
            for what, code, field, text, vector in cases:
                operation = upsert(self.api, 1)
                operation.upsert.vectors.append(m.NamedVector(dense=vector))
                setting = m.WriteOperation()
                setting.set_vectors.id.number = 1
                setting.set_vectors.vectors.append(m.NamedVector(dense=vector))
                rows += [
                    (f"{metric} upsert: {what}", code, "operations[0].upsert.vectors[0].dense" +
                     field, text, self.write(operation, collection=metric)),
                    (f"{metric} set_vectors: {what}", code,
                     "operations[0].set_vectors.vectors[0].dense" + field, text,
                     self.write(setting, collection=metric))]
                if what == "too few dims" or what == "too few bytes":
                    code, text = UNSERVED, "prefix"
                rows += [
                    (f"{metric} search: {what}", code, "vector" + field, text,
                     self.search(metric, vector)),
                    (f"{metric} batch: {what}", code, "searches[1].vector" + field, text,
                     lambda vector=vector, metric=metric: self.api.call("SearchBatch", searches=[
                         m.SearchRequest(collection=metric, vector=m.Vector(values=GOOD)),
                         m.SearchRequest(collection=metric, vector=vector)]))]
        rows += [
            ("a zero vector under cosine", INVALID, "operations[0].upsert.vectors[0].dense.data",
             "zero", self.write(upsert(self.api, 1, zero))),
            ("a zero query under cosine", INVALID, "vector.values", "zero", self.search(vector=zero)),
        ]
        self.run_table(rows)

    def test_writes(self):
        m = self.api.schema
        good, client = upsert(self.api, 5, GOOD), client_id()

        def operation(kind, part=None, **more):
            message = m.WriteOperation(**more)
            inner = getattr(message, kind)
            inner.SetInParent()
            if part is not None:
                part(inner)
            return message

        def with_id(point_id, **more):
            message = upsert(self.api, None, GOOD, **more)
            message.upsert.id.CopyFrom(point_id)
            return message

        def named(*names):
            message = upsert(self.api, 5)
            for name in names:
                message.upsert.vectors.append(dense(self.api, GOOD, name))
            return message

        def payload(make):
            message = upsert(self.api, 5, GOOD)
            message.upsert.payload.SetInParent()
            make(message.upsert.payload)
            return message

        sparse, multi = upsert(self.api, 5), upsert(self.api, 5)
        sparse.upsert.vectors.append(m.NamedVector(sparse=m.SparseVector(indices=[1], values=[1])))
        multi.upsert.vectors.append(m.NamedVector(multi=m.MultiVector()))
        no_kind = upsert(self.api, 5)
        no_kind.upsert.vectors.append(m.NamedVector())
        one = lambda inner: setattr(inner.id, "number", 5)
        rows = [
            ("no collection", INVALID, "collection", None, self.write(good, collection="")),
            ("unknown collection", ABSENT, "collection", "nowhere",
             self.write(good, collection="nowhere")),
            ("long collection", INVALID, "collection", "255",
             self.write(good, collection="x" * 256)),
            ("no operation", INVALID, "operations", "1 to 65536", self.write()),
            ("too many operations", INVALID, "operations", "65536",
             self.write(*[data.delete(self.api, 9)] * 65537)),
            ("no kind", INVALID, "operations[1]", None, self.write(good, m.WriteOperation())),
            ("short client id", INVALID, "client_id", "16 bytes",
             self.write(good, client_id=b"x" * 15, request_number=1)),
            ("long client id", INVALID, "client_id", "16 bytes",
             self.write(good, client_id=b"x" * 17, request_number=1)),
            ("client id of version 4", INVALID, "client_id", "version 7",
             self.write(good, client_id=bytes(16), request_number=1)),
            ("request number 0", INVALID, "request_number", None,
             self.write(good, client_id=client)),
            ("unknown mode", INVALID, "operations[0].mode", "7",
             self.write(upsert(self.api, 5, GOOD, mode=7))),
            ("negative mode", INVALID, "operations[0].mode", "-1",
             self.write(upsert(self.api, 5, GOOD, mode=-1))),
            ("INSERT_ONLY of a delete", INVALID, "operations[0].mode", "INSERT_ONLY",
             self.write(data.delete(self.api, 1, mode=1))),
            ("empty id", INVALID, "operations[0].upsert.id", None, self.write(with_id(m.PointId()))),
            ("empty string id", INVALID, "operations[0].upsert.id.string", "empty",
             self.write(with_id(m.PointId(string="")))),
            ("long id", INVALID, "operations[0].upsert.id.string", "128",
             self.write(with_id(m.PointId(string="x" * 129)))),
            ("long id in UTF-8", INVALID, "operations[0].upsert.id.string", "128",
             self.write(with_id(m.PointId(string="\u00e9" * 65)))),
            ("unknown field", INVALID, "operations[0].upsert.vectors[0].field", "nothing",
             self.write(named("nothing"))),
            ("long field name", INVALID, "operations[0].upsert.vectors[0].field", "255",
             self.write(named("x" * 300))),
            ("a field twice", INVALID, "operations[0].upsert.vectors[1].field", None,
             self.write(named("", ""))),
            ("the other field's dims", INVALID, "operations[0].upsert.vectors[1].dense.data",
             "4 dims", self.write(named("", "named"))),
            ("sparse", UNSERVED, "operations[0].upsert.vectors[0].sparse", None,
             self.write(sparse)),
            ("multi", UNSERVED, "operations[0].upsert.vectors[0].multi", None, self.write(multi)),
            ("a vector without kind", INVALID, "operations[0].upsert.vectors[0]", None,
             self.write(no_kind)),
            ("delete by filter", UNSERVED, "operations[0].delete_by_filter", None,
             self.write(operation("delete_by_filter"))),
            ("a key twice", INVALID, "operations[0].upsert.payload.entries", "same",
             self.write(payload(lambda p: [p.entries.add(key="same", value=m.Value(int_value=i))
                                           for i in range(2)]))),
            ("a key twice inside", INVALID,
             "operations[0].upsert.payload.entries[0].value.object_value.entries", "in",
             self.write(payload(lambda p: p.entries.add(key="out").value.object_value.entries.extend(
                 [m.Entry(key="in", value=m.Value(int_value=1))] * 2)))),
            ("an entry without value", INVALID, "operations[0].upsert.payload.entries[0].value",
             None, self.write(payload(lambda p: p.entries.add(key="k")))),
            ("a value without kind", INVALID, "operations[0].upsert.payload.entries[0].value", None,
             self.write(payload(lambda p: p.entries.add(key="k", value=m.Value())))),
            ("a payload over the limit", INVALID, "operations[0].upsert.payload", "1048576",
             self.write(upsert(self.api, 5, GOOD, {"k": "x" * (1 << 20)}))),
        ]
        rows += [(f"double {value}", INVALID,
                  "operations[0].upsert.payload.entries[0].value.list_value.values[0].double_value",
                  "finite", self.write(upsert(self.api, 5, GOOD, {"k": [value]})))
                 for value in (float("nan"), float("inf"), -float("inf"))]
        rows += [(f"UUID {text!r}", INVALID, "operations[0].upsert.id.uuid", "UUID",
                  self.write(with_id(m.PointId(uuid=text))))
                 for text in ("", "x", "0b0e7a4e-8f3c-4c9b-9a57-0123456789a",
                              "0b0e7a4e-8f3c-4c9b-9a57-0123456789abc",
                              "0b0e7a4e-8f3c-4c9b-9a57-0123456789ag",
                              "0b0e7a4e8-f3c-4c9b-9a57-0123456789ab",
                              "{0b0e7a4e-8f3c-4c9b-9a57-0123456789ab", "\u00e9" * 18)]
        for kind in ("delete", "set_payload", "overwrite_payload", "delete_payload_keys",
                     "clear_payload", "set_vectors", "delete_vectors"):
            rows.append((f"{kind} without id", INVALID, f"operations[0].{kind}.id", "missing",
                         self.write(operation(kind))))
        rows += [
            ("set_payload without payload", INVALID, "operations[0].set_payload.payload",
             "missing", self.write(operation("set_payload", one))),
            ("overwrite_payload without payload", INVALID,
             "operations[0].overwrite_payload.payload", "missing",
             self.write(operation("overwrite_payload", one))),
            ("no keys", INVALID, "operations[0].delete_payload_keys.keys", None,
             self.write(operation("delete_payload_keys", one))),
            ("no vectors", INVALID, "operations[0].set_vectors.vectors", None,
             self.write(operation("set_vectors", one))),
            ("no fields", INVALID, "operations[0].delete_vectors.fields", None,
             self.write(operation("delete_vectors", one))),
            ("unknown field to delete", INVALID, "operations[0].delete_vectors.fields[0]", "no",
             self.write(operation("delete_vectors", lambda o: (one(o), o.fields.append("no"))))),
        ]
        self.run_table(rows)
        # A malformed operation rejects its whole request: nothing of the others is stored.
        self.assert_fails(self.api, INVALID, self.write(
            *[upsert(self.api, 100 + i, GOOD) for i in range(50)],
            upsert(self.api, 99, [0.0] * DIMS)), "operations[50].upsert.vectors[0].dense.data")
        # A refused number was not used: it serves for the request put right.
        self.assertEqual(self.api.call(
            "WritePoints", collection="METRIC_COSINE", client_id=client, request_number=1,
            operations=[data.delete(self.api, 5)]).results[0].outcome, 2)

    def test_a_payload_that_grows_over_the_limit_is_rejected(self):
        m = self.api.schema
        self.addCleanup(self.api.call, "WritePoints", collection="METRIC_DOT",
                        operations=[data.delete(self.api, 9)])
        data.write_all(self.api, "METRIC_DOT", [
            upsert(self.api, 9, GOOD, {"a": "x" * 700_000})])
        more = m.WriteOperation()
        more.set_payload.id.number = 9
        more.set_payload.payload.CopyFrom(data.to_object(self.api, {"b": "y" * 700_000}))
        reply = self.api.call("WritePoints", collection="METRIC_DOT", operations=[more])
        self.assertEqual(reply.results[0].outcome, m.enum("Outcome")["OUTCOME_REJECTED"])
        point = self.api.call("GetPoints", collection="METRIC_DOT", ids=[m.PointId(number=9)],
                              selection=m.Selection(payload=True)).points[0]
        self.assertEqual([e.key for e in point.payload.entries], ["a"])
        self.doCleanups()

    def test_searches(self):
        m = self.api.schema
        levels = m.enum("GuaranteeLevel")
        like = lambda **more: dict(vector=None, like=m.PointId(**more))
        guarantee = lambda **more: dict(guarantee=m.Guarantee(**more))
        recall = levels["GUARANTEE_LEVEL_TARGET_RECALL"]
        filter_tree = m.Filter(must=[m.Condition(field=m.FieldCondition(path=["a"], exists=True))])
        single = [
            ("no query", INVALID, "vector", None, dict(vector=None)),
            ("unknown field", INVALID, "field", "nothing", dict(field="nothing")),
            ("long field", INVALID, "field", "255", dict(field="x" * 256)),
            ("limit", INVALID, "limit", "16384", dict(limit=16385)),
            ("limit and offset", INVALID, "limit", "16384", dict(limit=16000, offset=385)),
            ("an offset that wraps around", INVALID, "limit", "16384",
             dict(limit=10, offset=(1 << 32) - 5)),
            ("threshold NaN", INVALID, "score_threshold", "finite",
             dict(score_threshold=float("nan"))),
            ("threshold infinity", INVALID, "score_threshold", "finite",
             dict(score_threshold=float("inf"))),
            ("too many dims", INVALID, "dims", "5", dict(dims=5)),
            ("a prefix", UNSERVED, "dims", "first 3", dict(dims=3)),
            ("filter", UNSERVED, "filter", None, dict(filter=filter_tree)),
            ("empty filter", UNSERVED, "filter", None, dict(filter=m.Filter())),
            ("group_by", UNSERVED, "group_by", None, dict(group_by=m.GroupBy(path=["a"]))),
            ("force_plan", UNSERVED, "force_plan", None, dict(force_plan=m.PlanRequest())),
            ("sparse", UNSERVED, "sparse", None, dict(vector=None, sparse=m.SparseVector())),
            ("multi", UNSERVED, "multi", None, dict(vector=None, multi=m.MultiVector())),
            ("fusion", UNSERVED, "fusion", None, dict(vector=None, fusion=m.Fusion())),
            ("BUDGET", UNSERVED, "guarantee.level", "BUDGET",
             guarantee(level=levels["GUARANTEE_LEVEL_BUDGET"], budget_us=5)),
            ("unknown level", INVALID, "guarantee.level", "9", guarantee(level=9)),
            ("recall 0", INVALID, "guarantee.recall", None, guarantee(level=recall)),
            ("recall above 1", INVALID, "guarantee.recall", "1.5",
             guarantee(level=recall, recall=1.5)),
            ("recall NaN", INVALID, "guarantee.recall", None,
             guarantee(level=recall, recall=float("nan"))),
            ("like nobody", ABSENT, "like", "404", like(number=404)),
            ("like a long id", INVALID, "like.string", "128", like(string="x" * 129)),
            ("like a bad UUID", INVALID, "like.uuid", None, like(uuid="x")),
            ("like an empty id", INVALID, "like", None, like()),
            ("like a point without that field", ABSENT, "like", "named",
             like(number=1) | dict(field="named")),
            ("fields without vectors", INVALID, "selection.fields", None,
             dict(selection=m.Selection(fields=["named"]))),
            ("unknown field selected", INVALID, "selection.fields[1]", "nothing",
             dict(selection=m.Selection(vectors=True, fields=["named", "nothing"]))),
        ]
        rows = [("no collection", INVALID, "collection", None, self.search("")),
                ("unknown collection", ABSENT, "collection", "nowhere", self.search("nowhere"))]
        for what, code, field, text, more in single:
            rows.append((what, code, field, text, self.search(**more)))
            message = m.SearchRequest(collection="METRIC_COSINE", **(
                {"vector": m.Vector(values=GOOD)} | more))
            good = m.SearchRequest(collection="METRIC_COSINE", vector=m.Vector(values=GOOD))
            rows.append((f"in a batch: {what}", code, f"searches[2].{field}", text,
                         lambda message=message, good=good: self.api.call(
                             "SearchBatch", searches=[good, good, message])))
        good = lambda **more: m.SearchRequest(**{"collection": "METRIC_COSINE",
                                                 "vector": m.Vector(values=GOOD)} | more)
        batch = lambda *searches: lambda: self.api.call("SearchBatch", searches=searches)
        rows += [
            ("an empty batch", INVALID, "searches", "1 to 1024", batch()),
            ("a long batch", INVALID, "searches", "1024", batch(*[good()] * 1025)),
            ("two collections", INVALID, "searches[1].collection", None,
             batch(good(), good(collection="METRIC_DOT"))),
            ("results in all", INVALID, "searches", "262144",
             batch(*[good(limit=16384)] * 17)),
        ]
        self.run_table(rows)

    def test_reads(self):
        m = self.api.schema
        get = lambda ids, **more: lambda: self.api.call(
            "GetPoints", **{"collection": "METRIC_COSINE", "ids": ids} | more)
        page = lambda **more: lambda: self.api.call(
            "ListPoints", **{"collection": "METRIC_COSINE"} | more)
        one = m.PointId(number=1)
        token = self.token()
        rows = [
            ("get: no collection", INVALID, "collection", None, get([one], collection="")),
            ("get: unknown collection", ABSENT, "collection", "no", get([one], collection="no")),
            ("get: no ids", INVALID, "ids", "1 to 65536", get([])),
            ("get: too many ids", INVALID, "ids", "65536", get([one] * 65537)),
            ("get: empty id", INVALID, "ids[1]", None, get([one, m.PointId()])),
            ("get: long id", INVALID, "ids[0].string", "128", get([m.PointId(string="x" * 129)])),
            ("get: bad UUID", INVALID, "ids[0].uuid", None, get([m.PointId(uuid="?")])),
            ("get: unknown field", INVALID, "selection.fields[0]", "x",
             get([one], selection=m.Selection(vectors=True, fields=["x"]))),
            ("list: unknown collection", ABSENT, "collection", "no", page(collection="no")),
            ("list: page size", INVALID, "page_size", "10000", page(page_size=10001)),
            ("list: filter", UNSERVED, "filter", None, page(filter=m.Filter())),
            ("list: unknown field", INVALID, "selection.fields[0]", "x",
             page(selection=m.Selection(vectors=True, fields=["x"]))),
            ("count: unknown collection", ABSENT, "collection", "no",
             lambda: self.api.call("CountPoints", collection="no")),
            ("count: filter", UNSERVED, "filter", None,
             lambda: self.api.call("CountPoints", collection="METRIC_DOT", filter=m.Filter())),
        ]
        rows += [(f"list: token {text[:20]!r}", INVALID, "page_token", None, page(page_token=text))
                 for text in ("x", "garbage", "=", "\u00e9", token[:-1], token + "A", token[1:],
                              token.swapcase(), "A" * 4000, " " + token)]
        rows.append(("list: a token of another collection", INVALID, "page_token", "METRIC_DOT",
                     page(collection="METRIC_DOT", page_token=token)))
        self.run_table(rows)

    def token(self):
        """A real page token of METRIC_COSINE."""
        data.write_all(self.api, "METRIC_COSINE", [upsert(self.api, 2, GOOD)])
        token = self.api.call("ListPoints", collection="METRIC_COSINE", page_size=1).next_page_token
        data.write_all(self.api, "METRIC_COSINE", [data.delete(self.api, 2)])
        self.assertGreater(len(token), 8)
        return token

    # ---- Bytes ------------------------------------------------------------------------------------

    def call_bytes(self, method, content):
        """The name of the status, and the fields at fault; of a stream's only answer likewise."""
        if self.api.schema.methods[method].name == "StreamWrites":
            try:
                reply, = list(self.api.stream(method, iter([content]), raw=True))
            except grpc.RpcError as error:
                return error.code().name, self.api.fields_at_fault(error)
            codes = {code.value[0]: code.name for code in grpc.StatusCode}
            return codes[reply.status], [reply.field]
        try:
            self.api.call_bytes(method, content)
            return "OK", []
        except grpc.RpcError as error:
            return error.code().name, self.api.fields_at_fault(error)

    def test_strings_that_are_not_utf8_or_hold_nul_in_every_field_of_every_rpc(self):
        count = 0
        for name, method in sorted(self.api.schema.methods.items()):
            for path in string_paths(method.input_type):
                for content in (b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80",
                                b"a\0b"):
                    with self.subTest(method=name, path=".".join(f.name for f in path),
                                      content=content):
                        code, fields = self.call_bytes(name, along(path, content))
                        self.assertEqual(code, INVALID)
                        self.assertEqual(len(fields), 1)
                        self.assertEqual(fields[0].split(".")[-1].split("[")[0], path[-1].name)
                        count += 1
        self.assertGreater(count, 500)

    def test_nesting(self):
        upsert_of = lambda value: field_bytes(1, b"METRIC_COSINE") + field_bytes(4, field_bytes(
            1, field_bytes(1, b"\x08\x05") + field_bytes(3, field_bytes(
                1, field_bytes(1, b"k") + field_bytes(2, value)))))
        for lists in (True, False):
            # The payload itself is the first of 32 levels.
            for depth in (32, 33, 60, 99, 100, 1000, 20_000):
                with self.subTest(lists=lists, depth=depth):
                    with self.assertRaises(grpc.RpcError) as caught:
                        self.api.call_bytes("WritePoints", upsert_of(nested_value(depth, lists)))
                    self.assertEqual(caught.exception.code().name, INVALID)
                    self.assertRegex(caught.exception.details(), "(?i)nest|deep")
                    self.assertRegex(caught.exception.details(), "32|100")
            self.api.call_bytes("WritePoints", upsert_of(nested_value(31, lists)))
            data.write_all(self.api, "METRIC_COSINE", [data.delete(self.api, 5)])
        # Filters and fusions nest as well; no depth may hurt.
        for number, inner in ((11, lambda c: field_bytes(1, field_bytes(1, c))),
                              (7, lambda c: field_bytes(1, field_bytes(7, c)))):
            for depth in (10, 40, 49, 60, 5000):
                content = b""
                for _ in range(depth):
                    content = inner(content)
                with self.subTest(field=number, depth=depth):
                    code, _ = self.call_bytes("Search", field_bytes(1, b"METRIC_COSINE") +
                                              field_bytes(number, content))
                    self.assertIn(code, (INVALID, UNSERVED))

    def test_malformed_bytes_to_every_rpc(self):
        cases = [b"\xff", b"\x0a", b"\x0a\x05abc", b"\x0a\xff\xff\xff\xff\x0f", b"\x00\x00",
                 b"\x0b\x0c", b"\x0b" * 200, b"\x0e\x00", b"\x0f\x00", b"\x80" * 11,
                 b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x08" + b"\x80" * 10 + b"\x01"]
        for name in sorted(self.api.schema.methods):
            for content in cases:
                with self.subTest(method=name, content=content):
                    code, _ = self.call_bytes(name, content)
                    self.assertEqual(code, INVALID)

    def test_fields_of_a_newer_version_are_refused(self):
        """Passed over, the answer would lack what they ask for, and not say so."""
        request = self.api.request("CountPoints", collection="METRIC_DOT").SerializeToString()
        for more in (field_bytes(99, b"later"), b"\x98\x06\x01", b"\xa5\x06abcd", b"\xa1\x06abcdefgh"):
            self.assertEqual(self.call_bytes("CountPoints", request + more)[0], UNSERVED)

    def test_messages_over_64_mib_are_refused(self):
        big = bytes(64 << 20)
        for method, number in (("CreateCollection", 3), ("WritePoints", 2), ("Search", 3)):
            with self.subTest(method=method):
                code, _ = self.call_bytes(method, field_bytes(number, big))
                self.assertEqual(code, "RESOURCE_EXHAUSTED")
        code, _ = self.call_bytes("StreamWrites", field_bytes(2, big))
        self.assertEqual(code, "RESOURCE_EXHAUSTED")

    def test_compressed_messages_are_refused(self):
        request = self.api.request("CountPoints", collection="METRIC_DOT").SerializeToString()
        request += field_bytes(99, bytes(100_000))  # long enough to be compressed
        methods, channel = self.api.schema.methods, self.api.channel
        how = {"timeout": 10, "compression": grpc.Compression.Gzip}
        self.run_table([
            ("a call", UNSERVED, None, None,
             lambda: channel.unary_unary(path_of(methods["CountPoints"]))(request, **how)),
            ("a stream", UNSERVED, None, None,
             lambda: list(channel.stream_stream(path_of(methods["StreamWrites"]))(
                 iter([request]), **how))),
        ])

    def test_many_tiny_messages_are_refused_or_served_within_bounds(self):
        """Two bytes each on the wire, a hundred in memory."""
        content = field_bytes(1, b"METRIC_COSINE") + field_bytes(4, b"") * 10_000_000
        code, _ = self.call_bytes("WritePoints", content)
        self.assertIn(code, ("RESOURCE_EXHAUSTED", INVALID))
        code, _ = self.call_bytes("SearchBatch", field_bytes(1, b"") * 10_000_000)
        self.assertIn(code, ("RESOURCE_EXHAUSTED", INVALID))

    def test_random_bytes_and_broken_requests_hurt_nobody(self):
        rng = numpy.random.default_rng(lathe_case.SEED)
        m = self.api.schema
        samples = {
            "CreateCollection": m.CreateCollectionRequest(
                name="METRIC_COSINE", schema=m.CollectionSchema(fields=[
                    m.FieldSchema(dims=2, metric=1, ladder=[1])]), metadata=b"abc"),
            "GetCollection": m.GetCollectionRequest(name="METRIC_COSINE"),
            "DeleteCollection": m.DeleteCollectionRequest(name="nothing-here"),
            "WritePoints": m.WritePointsRequest(
                collection="nowhere", client_id=client_id(), request_number=1,
                operations=[upsert(self.api, "id", GOOD, {"a": [1, None, {"b": 1.5}]})]),
            "GetPoints": m.GetPointsRequest(collection="METRIC_COSINE",
                                            ids=[m.PointId(number=1), m.PointId(string="x")]),
            "ListPoints": m.ListPointsRequest(collection="METRIC_COSINE", page_size=5),
            "CountPoints": m.CountPointsRequest(collection="METRIC_COSINE"),
            "Search": m.SearchRequest(collection="METRIC_COSINE", vector=m.Vector(values=GOOD),
                                      selection=m.Selection(payload=True)),
        }
        samples["StreamWrites"] = samples["WritePoints"]
        samples["SearchBatch"] = m.SearchBatchRequest(searches=[samples["Search"]] * 2)
        for name in sorted(self.api.schema.methods):
            whole = samples[name].SerializeToString() if name in samples else b""
            # A stream costs more than a call, and its messages are those of WritePoints.
            share = 8 if name == "StreamWrites" else 1
            cases = [whole[:i] for i in range(0, len(whole), share)]
            for _ in range(150 // share):
                broken = bytearray(whole or b"\x0a\x01a")
                for _ in range(int(rng.integers(1, 4))):
                    broken[int(rng.integers(len(broken)))] = int(rng.integers(256))
                cases.append(bytes(broken))
            cases += [rng.bytes(int(rng.integers(1, 300))) for _ in range(50 // share)]
            for content in cases:
                code, _ = self.call_bytes(name, content)
                self.assertIn(code, VALID_CODES, (name, content))
        for collection in self.api.call("ListCollections").collections:
            if collection.name not in data.METRICS:
                self.api.call("DeleteCollection", name=collection.name)

    # ---- What is no gRPC --------------------------------------------------------------------------

    def test_bytes_on_the_port_that_are_no_http2(self):
        rng = numpy.random.default_rng(lathe_case.SEED)
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        frame = lambda kind, flags, stream, content=b"": (
            struct.pack(">I", len(content))[1:] + bytes([kind, flags]) +
            struct.pack(">I", stream) + content)
        cases = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /lathe.v1 HTTP/1.0\r\n\r\n", b"\0",
                 b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", preface[:10], preface,
                 preface + b"garbage" * 100, preface + frame(4, 0, 0) + frame(1, 5, 1, b"\xff" * 50),
                 preface + frame(4, 0, 0) + frame(0, 0, 1, b"x" * 100),
                 preface + frame(4, 0, 0, b"\0" * 5), preface + b"\xff" * 9,
                 preface + frame(4, 0, 0) + frame(9, 4, 3, b"x"),
                 *[rng.bytes(1000) for _ in range(20)]]
        opened = []
        for content in cases:
            with self.subTest(content=content[:40]):
                connection = socket.create_connection(("127.0.0.1", self.shared.port), timeout=10)
                opened.append(connection)
                try:
                    connection.sendall(content)
                except OSError:
                    pass  # closed meanwhile
                self.assertEqual(self.api.call("CountPoints", collection="METRIC_DOT").count, 1)
        for connection in opened:
            connection.close()
        idle = [socket.create_connection(("127.0.0.1", self.shared.port)) for _ in range(200)]
        self.assertEqual(self.api.call("CountPoints", collection="METRIC_DOT").count, 1)
        for connection in idle:
            connection.close()

    def test_methods_that_do_not_exist(self):
        for path in ("/lathe.v1.PointService/Nothing", "/lathe.v2.PointService/WritePoints", "/x",
                     "/", "/lathe.v1.PointService/", "/" + "x" * 5000):
            with self.subTest(path=path[:40]):
                with self.assertRaises(grpc.RpcError) as caught:
                    self.api.channel.unary_unary(path)(b"", timeout=10)
                self.assertEqual(caught.exception.code().name, UNSERVED)
                self.assertIn(path[:40], caught.exception.details())

    def test_calls_of_the_wrong_kind(self):
        path = path_of(self.api.schema.methods["CountPoints"])
        request = self.api.request("CountPoints", collection="METRIC_DOT").SerializeToString()
        for requests in ([], [request] * 3):
            with self.subTest(requests=len(requests)):
                call = self.api.channel.stream_stream(path)(iter(requests), timeout=10)
                try:
                    list(call)
                except grpc.RpcError as error:
                    self.assertIn(error.code().name, (INVALID, UNSERVED, "INTERNAL", "CANCELLED"))

    def test_the_server_did_not_grow(self):
        """Bad requests of every size again and again leave nothing behind."""
        def burst():
            for _ in range(3):
                self.call_bytes("WritePoints", field_bytes(4, b"") * 1_000_000)
                self.call_bytes("WritePoints", field_bytes(1, b"\xff" * (16 << 20)))
            for _ in range(300):
                self.call_bytes("Search", b"\x0a\x01")
                self.call_bytes("WritePoints", field_bytes(1, b"\xff"))

        burst()
        before = self.shared.rss_bytes()
        begin = time.monotonic()
        for _ in range(3):
            burst()
        after = self.shared.rss_bytes()
        print(f"{before >> 20} MiB before, {after >> 20} MiB after, {time.monotonic() - begin:.1f} s")
        if not SANITIZER:
            self.assertLess(after, before + (96 << 20))  # what came in was 150 MiB
        memory = self.api.call("GetInfo").memory
        self.assertLess({part.name: part.used_bytes for part in memory.parts}["requests"], 1 << 20)


class LargeRepliesTest(lathe_case.LatheCase):
    """Replies are sized before they are read."""

    @classmethod
    def setUpClass(cls):
        cls.shared = lathe_case.lathe_server.Server(options=["--shards", "2"])
        cls.addClassCleanup(cls.shared.close)
        cls.api = lathe_case.Api(cls.shared.start().address)
        cls.addClassCleanup(cls.api.close)
        rng = numpy.random.default_rng(lathe_case.SEED)
        cls.rows = 1100  # of 64 KiB: 69 MiB
        data.create_collection(cls.api, "large", {"": (16384, "METRIC_DOT")})
        data.write_all(cls.api, "large", [
            upsert(cls.api, i, rng.normal(0, 1, 16384).astype(numpy.float32), {"i": i})
            for i in range(cls.rows)], 50)
        data.create_collection(cls.api, "payloads", {"": (1, "METRIC_DOT")})
        data.write_all(cls.api, "payloads", [
            upsert(cls.api, i, [i], {"text": "x" * 1_000_000}) for i in range(80)], 10)

    def test_a_search_that_returns_too_much_says_which_limit_fits(self):
        m = self.api.schema
        for name, selection in (("large", m.Selection(vectors=True)),
                                ("payloads", m.Selection(payload=True)),
                                ("large", m.Selection(payload=True, vectors=True))):
            with self.subTest(collection=name, selection=str(selection)):
                ask = lambda limit: self.api.call(
                    "Search", collection=name, like=m.PointId(number=1), limit=limit,
                    selection=selection)
                error = self.assert_fails(self.api, "RESOURCE_EXHAUSTED",
                                          lambda: ask(self.rows), "limit", str(64 << 20))
                fits = int(error.details().split("limit ")[-1].split()[0])
                self.assertEqual(len(ask(fits).hits), fits)
                self.assertGreater(fits, 50)
                self.assertIn("without", error.details())

    def test_a_batch_that_returns_too_much(self):
        m = self.api.schema
        search = m.SearchRequest(collection="large", like=m.PointId(number=1), limit=400,
                                 selection=m.Selection(vectors=True))
        self.assert_fails(self.api, "RESOURCE_EXHAUSTED",
                          lambda: self.api.call("SearchBatch", searches=[search] * 3), "limit")
        self.assertEqual(len(self.api.call("SearchBatch", searches=[search] * 2).responses), 2)

    def test_too_many_points_at_once(self):
        m = self.api.schema
        ids = [m.PointId(number=i) for i in range(self.rows)]
        get = lambda name, ids, **more: self.api.call("GetPoints", collection=name, ids=ids,
                                                      selection=m.Selection(**more))
        self.assert_fails(self.api, "RESOURCE_EXHAUSTED",
                          lambda: get("large", ids, vectors=True), "ids", str(64 << 20))
        self.assert_fails(self.api, "RESOURCE_EXHAUSTED",
                          lambda: get("payloads", ids[:80], payload=True), "ids", str(64 << 20))
        self.assertEqual(len(get("large", ids, payload=True).points), self.rows)
        self.assertEqual(len(get("payloads", ids[:50], payload=True).points), 50)

    def test_a_list_of_large_points_comes_in_pages(self):
        points = data.list_all(self.api, "large", 10000)
        self.assertEqual([p.id.number for p in points], list(range(self.rows)))


if __name__ == "__main__":
    lathe_case.main()
