"""A client of Lathe made only from server reflection: no generated code, no .proto file.

Api(address) asks the server for its descriptors and builds message classes and methods from them:

    api = Api("127.0.0.1:7770")
    api.call("GetInfo")
    api.call("CountPoints", collection="words")

Methods are named by their last part, which is unique in lathe.v1.
"""
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Servers come and go: no connection, and no waiting time after a failed one, is shared.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 500),
]


def open_channel(address):
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)


def _identity(data):
    return data


class Reflection:
    """The reflection service itself. Its messages have the same bytes in both versions."""

    def __init__(self, channel, version="v1"):
        self.path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        self.channel = channel

    def ask(self, *requests, timeout=10):
        """One stream with these requests; the list of answers."""
        method = self.channel.stream_stream(
            self.path,
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
        return list(method(iter(requests), timeout=timeout))

    def services(self):
        answer, = self.ask(reflection_pb2.ServerReflectionRequest(list_services="*"))
        return sorted(service.name for service in answer.list_services_response.service)

    def files(self, **what):
        """The files that answer file_containing_symbol=... or file_by_filename=..., by name."""
        answer, = self.ask(reflection_pb2.ServerReflectionRequest(**what))
        if answer.HasField("error_response"):
            raise KeyError(answer.error_response.error_message)
        found = {}
        for data in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            found[file.name] = file
        return found

    def closure(self, services):
        """Every file that these services and the details of errors need, by name."""
        found = {}
        for service in services:
            found.update(self.files(file_containing_symbol=service))
        found.update(self.files(file_by_filename="google/rpc/status.proto"))
        found.update(self.files(file_by_filename="google/rpc/error_details.proto"))
        missing = [True]
        while missing:
            missing = [name for file in found.values() for name in file.dependency
                       if name not in found]
            for name in missing:
                found.update(self.files(file_by_filename=name))
        return found


class Schema:
    """Message classes and methods, made of descriptors alone."""

    def __init__(self, reflection):
        self.services = reflection.services()
        self.pool = descriptor_pool.DescriptorPool()
        files = reflection.closure(self.services)
        added = set()

        def add(name):
            if name in added:
                return
            added.add(name)
            for dependency in files[name].dependency:
                add(dependency)
            self.pool.Add(files[name])

        for name in files:
            add(name)
        self.methods = {}
        for service in self.services:
            descriptor = self.pool.FindServiceByName(service)
            for method in descriptor.methods:
                if service.startswith("lathe."):
                    self.methods[method.name] = method

    def message(self, name):
        """The class of a message: "SearchRequest", or a full name with its package."""
        full = name if "." in name else "lathe.v1." + name
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(full))

    def enum(self, name):
        """The numbers of an enum by the names of its values."""
        return {value.name: value.number
                for value in self.pool.FindEnumTypeByName("lathe.v1." + name).values}

    def __getattr__(self, name):
        if name[0].isupper():
            return self.message(name)
        raise AttributeError(name)


def path_of(method):
    return f"/{method.containing_service.full_name}/{method.name}"


class Api:
    """A connection. `schema` of an earlier one saves asking again."""

    def __init__(self, address, version="v1", schema=None):
        self.address = address
        self.channel = open_channel(address)
        self.schema = schema or Schema(Reflection(self.channel, version))

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def request(self, method, **fields):
        return message_factory.GetMessageClass(
            self.schema.methods[method].input_type)(**fields)

    def _reply_type(self, method):
        return message_factory.GetMessageClass(self.schema.methods[method].output_type)

    def _unary(self, method, raw=False):
        return self.channel.unary_unary(
            path_of(self.schema.methods[method]),
            request_serializer=None if raw else lambda message: message.SerializeToString(),
            response_deserializer=_identity if raw else self._reply_type(method).FromString)

    def call(self, method, request=None, timeout=30, **fields):
        """A unary call with a message, or with the fields of one."""
        if request is None:
            request = self.request(method, **fields)
        return self._unary(method)(request, timeout=timeout)

    def start(self, method, request=None, timeout=30, **fields):
        """The same without waiting: a grpc future."""
        if request is None:
            request = self.request(method, **fields)
        return self._unary(method).future(request, timeout=timeout)

    def call_bytes(self, method, data, timeout=30):
        """A unary call with any bytes; the reply's bytes."""
        return self._unary(method, raw=True)(data, timeout=timeout)

    def stream(self, method, requests, timeout=60, raw=False):
        """A bidirectional stream over an iterator of messages (or bytes)."""
        call = self.channel.stream_stream(
            path_of(self.schema.methods[method]),
            request_serializer=None if raw else lambda message: message.SerializeToString(),
            response_deserializer=self._reply_type(method).FromString)
        return call(requests, timeout=timeout)

    def details(self, error):
        """The details of a failed call: [(type name, message)]."""
        for key, value in error.trailing_metadata() or ():
            if key != "grpc-status-details-bin":
                continue
            status = self.schema.message("google.rpc.Status").FromString(value)
            found = []
            for any_message in status.details:
                name = any_message.type_url.rsplit("/", 1)[-1]
                found.append((name, self.schema.message(name).FromString(any_message.value)))
            return found
        return []

    def fields_at_fault(self, error):
        return [violation.field for name, detail in self.details(error)
                if name == "google.rpc.BadRequest" for violation in detail.field_violations]

    def retry_ms(self, error):
        """The server's hint on when to try again, or None."""
        for name, detail in self.details(error):
            if name == "google.rpc.RetryInfo":
                return detail.retry_delay.seconds * 1000 + detail.retry_delay.nanos // 1000000
        return None
