"""The gRPC server against grpcio, a client that was not written here.

Knows no .proto of ours: everything is learnt through reflection.

    grpc_conformance.py --address HOST:PORT     a running Lathe server
    grpc_conformance.py --server PROGRAM        grpc_test_server, whose methods /test.T/* are tried too
"""

import argparse
import concurrent.futures
import subprocess
import sys
import threading

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

LIMIT = 64 * 1024 * 1024
OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]
TIMEOUT = 30


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


def expect_code(code, call):
    """Runs call() and returns its error, which must have this code."""
    try:
        result = call()
    except grpc.RpcError as error:
        expect(error.code() == code, f"{error.code()}: {error.details()}, not {code}")
        return error
    raise AssertionError(f"success ({str(result)[:80]!r}), not {code}")


def raw(channel, path, kind="unary_unary"):
    return getattr(channel, kind)(path, lambda b: b, lambda b: b)


# --- Reflection ---


def reflect(channel, version, requests):
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(call(iter(requests), timeout=TIMEOUT))


def services_of(channel, version):
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (response,) = reflect(channel, version, [request])
    return [service.name for service in response.list_services_response.service]


def load_files(channel, version, services):
    """A descriptor pool of everything the services need."""
    request = reflection_pb2.ServerReflectionRequest
    files = {}
    described = [name for name in services if not name.startswith("test.")]
    for response in reflect(
        channel, version, [request(file_containing_symbol=name) for name in described]
    ):
        expect(response.HasField("file_descriptor_response"), str(response))
        for encoded in response.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
            files[file.name] = file
    pool = descriptor_pool.DescriptorPool()

    def add(name):
        file = files.pop(name, None)
        if file is not None:
            for needed in file.dependency:
                add(needed)
            pool.Add(file)

    for name in list(files):
        add(name)
    for name in described:
        service = pool.FindServiceByName(name)
        expect(len(service.methods) > 0, f"{name} has no methods")
        for method in service.methods:
            message_factory.GetMessageClass(method.input_type)()
            message_factory.GetMessageClass(method.output_type)()
    return pool


def test_reflection(channel):
    for version in ("v1", "v1alpha"):
        services = services_of(channel, version)
        for name in (
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ):
            expect(name in services, f"{name} is not listed")
        load_files(channel, version, services)
        request = reflection_pb2.ServerReflectionRequest(file_by_filename="no/such.proto")
        (response,) = reflect(channel, version, [request])
        expect(response.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0], response)


# --- Health ---


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest
    serving = health_pb2.HealthCheckResponse.SERVING
    expect(stub.Check(request(), timeout=TIMEOUT).status == serving, "not serving")
    expect_code(
        grpc.StatusCode.NOT_FOUND, lambda: stub.Check(request(service="x.Y"), timeout=TIMEOUT)
    )
    watch = stub.Watch(request(), timeout=TIMEOUT)
    expect(next(watch).status == serving, "not serving")
    watch.cancel()
    watch = stub.Watch(request(service="x.Y"), timeout=TIMEOUT)
    expect(next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, "known")
    watch.cancel()


# --- Anything ---


def test_unknown_method(channel):
    error = expect_code(
        grpc.StatusCode.UNIMPLEMENTED, lambda: raw(channel, "/no.Such/Method")(b"x", timeout=TIMEOUT)
    )
    expect("/no.Such/Method" in error.details(), error.details())


def test_compressed_requests_are_refused(channel):
    call = raw(channel, "/grpc.health.v1.Health/Check")
    expect_code(
        grpc.StatusCode.UNIMPLEMENTED,
        lambda: call(b"\n" + b"\0" * 100000, compression=grpc.Compression.Gzip, timeout=TIMEOUT),
    )


# --- /test.T/* ---


def test_echo(channel):
    echo = raw(channel, "/test.T/Echo")
    for size in (0, 1, 16384, 16385, 1 << 20, LIMIT):
        data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        expect(echo(data, timeout=TIMEOUT) == data, f"an echo of {size} bytes differs")
    expect_code(
        grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: echo(b"x" * (LIMIT + 1), timeout=TIMEOUT)
    )


def test_oversize_reply(channel):
    size = raw(channel, "/test.T/Size")
    expect(len(size(str(LIMIT).encode(), timeout=TIMEOUT)) == LIMIT, "wrong size")
    error = expect_code(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        lambda: size(str(LIMIT + 1).encode(), timeout=TIMEOUT),
    )
    expect(str(LIMIT) in error.details(), error.details())


def test_failure_details(channel):
    pool = load_files(channel, "v1", ["grpc.health.v1.Health"])
    for name in ("google/rpc/status.proto", "google/rpc/error_details.proto"):
        request = reflection_pb2.ServerReflectionRequest(file_by_filename=name)
        (response,) = reflect(channel, "v1", [request])
        for encoded in reversed(response.file_descriptor_response.file_descriptor_proto):
            pool.AddSerializedFile(encoded)

    def cls(name):
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))

    error = expect_code(
        grpc.StatusCode.INVALID_ARGUMENT, lambda: raw(channel, "/test.T/Fail")(b"", timeout=TIMEOUT)
    )
    expect(error.details() == "12 dims, 100% wrong: the field has 768 (Größe, ∞)\n", error.details())
    metadata = dict(error.trailing_metadata())
    status = cls("google.rpc.Status").FromString(metadata["grpc-status-details-bin"])
    expect(status.code == 3 and status.message == error.details(), str(status))
    found = {any.type_url.rpartition("/")[2]: any.value for any in status.details}
    bad = cls("google.rpc.BadRequest").FromString(found["google.rpc.BadRequest"])
    expect(bad.field_violations[0].field == "operations[3].vectors[0]", str(bad))
    retry = cls("google.rpc.RetryInfo").FromString(found["google.rpc.RetryInfo"])
    expect((retry.retry_delay.seconds, retry.retry_delay.nanos) == (1, 250000000), str(retry))


def test_deadlines(channel):
    expect_code(
        grpc.StatusCode.DEADLINE_EXCEEDED, lambda: raw(channel, "/test.T/Hold")(b"", timeout=0.2)
    )
    expect_code(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: raw(channel, "/test.T/Timed")(b""))
    expect(raw(channel, "/test.T/Deadline")(b"") == b"none", "a deadline from nowhere")


def test_cancel(channel):
    future = raw(channel, "/test.T/Hold").future(b"", timeout=TIMEOUT)
    future.cancel()
    expect(future.cancelled(), "not cancelled")


def test_concurrent_calls(channel):
    echo = raw(channel, "/test.T/Echo")

    def run(caller):
        for i in range(20):
            data = b"%d-%d" % (caller, i) * 300
            if echo(data, timeout=TIMEOUT) != data:
                return False
        return True

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        expect(all(pool.map(run, range(64))), "an echo differs")


def test_stream(channel):
    stream = raw(channel, "/test.T/Stream", "stream_stream")
    sent = [b"%d" % i * (i % 50) for i in range(3000)]
    expect(list(stream(iter(sent), timeout=TIMEOUT)) == sent, "the answers differ")
    expect(list(stream(iter([]), timeout=TIMEOUT)) == [], "answers to nothing")
    error = expect_code(
        grpc.StatusCode.ABORTED, lambda: list(stream(iter([b"a", b"fail", b"b"]), timeout=TIMEOUT))
    )
    expect(error.details() == "asked to fail", error.details())
    # A client that leaves in the middle harms nobody.
    go_on = threading.Event()

    def endless():
        yield b"one"
        go_on.wait(TIMEOUT)

    call = stream(endless(), timeout=TIMEOUT)
    expect(next(call) == b"one", "no answer")
    call.cancel()
    go_on.set()
    expect(raw(channel, "/test.T/Echo")(b"on", timeout=TIMEOUT) == b"on", "no echo")


def test_stop_under_load(channel, server):
    """The last test: what was answered was right, the rest is told that the server is not there."""
    started = threading.Barrier(9)
    endings = []

    def run(caller):
        with grpc.insecure_channel(server.address, OPTIONS) as own:
            echo = raw(own, "/test.T/Echo")
            data = b"%d" % caller * 500
            echo(data, timeout=TIMEOUT)
            started.wait(TIMEOUT)
            try:
                while echo(data, timeout=TIMEOUT) == data:
                    pass
                endings.append("differs")
            except grpc.RpcError as error:
                endings.append(error.code())

    threads = [threading.Thread(target=run, args=(caller,)) for caller in range(8)]
    for thread in threads:
        thread.start()
    started.wait(TIMEOUT)
    server.stop()
    for thread in threads:
        thread.join()
    expect(endings == [grpc.StatusCode.UNAVAILABLE] * 8, str(endings))


class Server:
    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = self.process.stdout.readline().strip()

    def stop(self):
        self.process.stdin.close()
        expect(self.process.wait(TIMEOUT) == 0, f"the server ended with {self.process.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address")
    parser.add_argument("--server")
    options = parser.parse_args()
    server = Server(options.server) if options.server else None
    tests = [
        test_reflection,
        test_health,
        test_unknown_method,
        test_compressed_requests_are_refused,
    ]
    if server:
        tests += [
            test_echo,
            test_oversize_reply,
            test_failure_details,
            test_deadlines,
            test_cancel,
            test_concurrent_calls,
            test_stream,
        ]
    with grpc.insecure_channel(server.address if server else options.address, OPTIONS) as channel:
        for test in tests:
            test(channel)
            print(f"ok {test.__name__}", flush=True)
        if server:
            test_stop_under_load(channel, server)
            print("ok test_stop_under_load")
    return 0


if __name__ == "__main__":
    sys.exit(main())
