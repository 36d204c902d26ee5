"""Server reflection in both versions gives a client everything; health checks are standard too."""
import lathe_case
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from lathe_data import create_collection
from lathe_reflection import Api, Reflection, Schema, open_channel

SERVICES = ["lathe.v1.CollectionService", "lathe.v1.PointService", "lathe.v1.SearchService",
            "lathe.v1.ServerService"]


class ReflectionTest(lathe_case.LatheCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = lathe_case.lathe_server.Server().start()
        cls.addClassCleanup(cls.shared.close)

    def channel(self):
        channel = open_channel(self.shared.address)
        self.addCleanup(channel.close)
        return channel

    def test_both_versions_list_every_service(self):
        for version in ("v1", "v1alpha"):
            with self.subTest(version=version):
                services = Reflection(self.channel(), version).services()
                for name in SERVICES + ["grpc.health.v1.Health",
                                        "grpc.reflection.v1.ServerReflection",
                                        "grpc.reflection.v1alpha.ServerReflection"]:
                    self.assertIn(name, services)

    def test_a_client_of_either_version_creates_writes_and_searches(self):
        for version in ("v1", "v1alpha"):
            with self.subTest(version=version), Api(self.shared.address, version) as api:
                m = api.schema
                create_collection(api, version, {"": (2, "METRIC_DOT")})
                operation = m.WriteOperation(upsert=m.UpsertPoint(
                    id=m.PointId(number=7),
                    vectors=[m.NamedVector(dense=m.Vector(values=[1, 2]))]))
                reply = api.call("WritePoints", collection=version, operations=[operation])
                self.assertEqual(reply.results[0].outcome, m.enum("Outcome")["OUTCOME_APPLIED"])
                reply = api.call("Search", collection=version, vector=m.Vector(values=[3, 4]))
                self.assertEqual([(hit.id.number, hit.score) for hit in reply.hits], [(7, 11.0)])

    def test_both_versions_describe_the_same(self):
        schemas = [Schema(Reflection(self.channel(), version)) for version in ("v1", "v1alpha")]
        self.assertEqual(schemas[0].services, schemas[1].services)
        self.assertEqual(sorted(schemas[0].methods), sorted(schemas[1].methods))

    def test_symbols_of_every_kind_are_found(self):
        reflection = Reflection(self.channel())
        for symbol, file in (("lathe.v1.SearchService", "lathe/v1/search.proto"),
                             ("lathe.v1.SearchService.Search", "lathe/v1/search.proto"),
                             ("lathe.v1.PointId", "lathe/v1/common.proto"),
                             ("lathe.v1.PointId.uuid", "lathe/v1/common.proto"),
                             ("lathe.v1.Metric", "lathe/v1/collections.proto"),
                             ("lathe.v1.METRIC_DOT", "lathe/v1/collections.proto"),
                             ("google.rpc.BadRequest.FieldViolation",
                              "google/rpc/error_details.proto")):
            with self.subTest(symbol=symbol):
                self.assertIn(file, reflection.files(file_containing_symbol=symbol))

    def test_what_is_not_there_is_an_error_and_the_stream_goes_on(self):
        request = reflection_pb2.ServerReflectionRequest
        answers = Reflection(self.channel()).ask(
            request(file_containing_symbol="lathe.v1.Nothing"),
            request(file_containing_symbol="lathe.v1"),
            request(file_by_filename="no/such.proto"),
            request(file_containing_extension=reflection_pb2.ExtensionRequest(
                containing_type="lathe.v1.PointId", extension_number=1)),
            request(all_extension_numbers_of_type="lathe.v1.PointId"),
            request(),
            request(list_services=""))
        codes = [answer.error_response.error_code for answer in answers[:-1]]
        self.assertEqual(codes, [grpc.StatusCode.NOT_FOUND.value[0]] * 4 +
                         [grpc.StatusCode.UNIMPLEMENTED.value[0],
                          grpc.StatusCode.INVALID_ARGUMENT.value[0]])
        self.assertGreater(len(answers[-1].list_services_response.service), 5)

    def test_health_knows_every_service_and_no_other(self):
        stub = health_pb2_grpc.HealthStub(self.channel())
        for name in [""] + SERVICES:
            with self.subTest(service=name):
                reply = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
                self.assertEqual(reply.status, health_pb2.HealthCheckResponse.SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"), timeout=10)
        self.assertEqual(next(watch).status, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        watch.cancel()


if __name__ == "__main__":
    lathe_case.main()
