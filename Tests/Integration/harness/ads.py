"""ADS clients on grpcio and xds-protos: state of the world and delta, both as scripts drive them.

A client acknowledges by itself unless `acknowledge` is False. Responses are kept in the order they came;
the waiting methods look at what came after a mark, so a test cannot be fooled by an old response.
"""

import os
import queue
import threading
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.rpc import status_pb2

from . import bodies
from .trust import DNS_NAME
from .waiting import eventually

_END = object()
INVALID_ARGUMENT = 3


def channel(address, svid, bundle, **options):
    """A gRPC channel with mutual TLS; `svid` None presents no certificate."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=bundle.read_bytes(),
        private_key=svid.key.read_bytes() if svid else None,
        certificate_chain=svid.certificate.read_bytes() if svid else None)
    settings = {
        "grpc.ssl_target_name_override": DNS_NAME,
        "grpc.max_receive_message_length": -1,
        "grpc.use_local_subchannel_pool": 1,
        "grpc.enable_retries": 0,
        **options,
    }
    return grpc.secure_channel(address, credentials, options=list(settings.items()))


class Client:
    """One stream: requests go out of a queue, responses come into a list."""

    SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

    def __init__(self, address, svid, bundle, *, acknowledge=True, node="test-client", **options):
        self.acknowledge = acknowledge
        self.responses = []
        self.error = None
        self._node = base_pb2.Node(id=node)
        self._requests = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._channel = channel(address, svid, bundle, **options)
        call = self._channel.stream_stream(
            self.SERVICE + self.METHOD, request_serializer=self.REQUEST.SerializeToString,
            response_deserializer=self.decode)
        self._call = call(iter(self._requests.get, _END))
        threading.Thread(target=self._receive, daemon=True).start()

    def decode(self, data):
        return self.RESPONSE.FromString(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._requests.put(_END)
        self._call.cancel()
        self._channel.close()

    def half_close(self):
        self._requests.put(_END)

    def send(self, **fields):
        request = self.REQUEST(node=self._node, **fields)
        self._requests.put(request)
        return request

    def _receive(self):
        try:
            for response in self._call:
                with self._changed:
                    self.responses.append(response)
                    self._changed.notify_all()
                if self.acknowledge:
                    self.ack(response)
            self._end(None)
        except grpc.RpcError as error:
            self._end(error)

    def _end(self, error):
        with self._changed:
            self.error = error or self._call
            self._changed.notify_all()

    @property
    def mark(self):
        """How many responses came so far."""
        return len(self.responses)

    def of_type(self, type_url, since=0):
        return [response for response in self.responses[since:] if self.type_of(response) == type_url]

    def type_of(self, response):
        return response.type_url

    def wait_for(self, type_url, until=lambda response: True, since=0, timeout=15):
        """The first response of a type after `since` that satisfies `until`."""
        def found():
            return next((r for r in self.of_type(type_url, since) if until(r)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self.error is not None, timeout)
        response = found()
        if response is None:
            came = [(self.type_of(r), len(r.resources)) for r in self.responses[since:]]
            raise AssertionError(f"no such {type_url} within {timeout} s; came: {came}; ended: {self.end_state}")
        return response

    def expect_silence(self, seconds, since=0):
        """Fails when any response comes within the time."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.responses) > since or self.error is not None, seconds)
        assert len(self.responses) == since, [self.type_of(r) for r in self.responses[since:]]
        assert self.error is None, self.end_state

    @property
    def end_state(self):
        """(code, details) when the stream has ended; None while it is open."""
        return None if self.error is None else (self.error.code(), self.error.details())

    def wait_for_end(self, timeout=15):
        with self._changed:
            self._changed.wait_for(lambda: self.error is not None, timeout)
        assert self.error is not None, f"the stream is still open after {timeout} s"
        return self.end_state


class StateOfTheWorld(Client):
    METHOD = "StreamAggregatedResources"
    REQUEST = discovery_pb2.DiscoveryRequest
    RESPONSE = discovery_pb2.DiscoveryResponse

    def subscribe(self, *type_urls, nonce=""):
        """istiod sends a timestamp as its first nonce; tests may do the same."""
        for type_url in type_urls:
            self.send(type_url=type_url, response_nonce=nonce)
        return self

    def ack(self, response):
        self.send(type_url=response.type_url, version_info=response.version_info, response_nonce=response.nonce)

    def nack(self, response, message, last_good=""):
        self.send(
            type_url=response.type_url, version_info=last_good, response_nonce=response.nonce,
            error_detail=status_pb2.Status(code=INVALID_ARGUMENT, message=message))

    def sync(self, type_url, since=0, timeout=15):
        """Resources of the next response of a type, by wire name."""
        return bodies.envelopes(self.wait_for(type_url, since=since, timeout=timeout))

    def wait_for_names(self, type_url, names, since=0, timeout=15):
        """The response whose resources are exactly these."""
        return self.wait_for(
            type_url, lambda response: set(bodies.envelopes(response)) == set(names), since, timeout)


class Delta(Client):
    METHOD = "DeltaAggregatedResources"
    REQUEST = discovery_pb2.DeltaDiscoveryRequest
    RESPONSE = discovery_pb2.DeltaDiscoveryResponse

    def subscribe(self, type_url, held=None):
        """Wildcard subscription; `held` is {wire name: version} of what the client has already."""
        self.send(type_url=type_url, initial_resource_versions=held or {})
        return self

    def ack(self, response):
        self.send(type_url=response.type_url, response_nonce=response.nonce)

    def nack(self, response, message):
        self.send(
            type_url=response.type_url, response_nonce=response.nonce,
            error_detail=status_pb2.Status(code=INVALID_ARGUMENT, message=message))

    def state(self, type_url, since=0):
        """What a client that applied every response after `since` holds: {wire name: version}."""
        held = {}
        for response in self.of_type(type_url, since):
            held.update({resource.name: resource.version for resource in response.resources})
            for name in response.removed_resources:
                held.pop(name, None)
        return held

    def wait_for_state(self, type_url, names, since=0, timeout=15):
        return eventually(
            lambda: self.state(type_url, since), lambda held: set(held) == set(names), timeout,
            f"{type_url} at the delta client")


class Arrivals(Delta):
    """A delta client that notes when each response is there and decodes it only when somebody asks for the state: what
    it measures is what the relay and the wire took, not what Python takes to decode a hundred thousand objects."""

    class Response:
        """One response as it came; `nonce` and `type_url` stand before its resources."""

        def __init__(self, data):
            self.at = time.monotonic()
            self.data = data
            self._decoded = None
            fields = dict(leading_fields(data, 5))
            self.type_url, self.nonce = fields[4].decode(), fields[5].decode()

        @property
        def decoded(self):
            if self._decoded is None:
                self._decoded = discovery_pb2.DeltaDiscoveryResponse.FromString(self.data)
                self.data = None
            return self._decoded

        @property
        def resources(self):
            return self.decoded.resources

        @property
        def removed_resources(self):
            return self.decoded.removed_resources

    def decode(self, data):
        return Arrivals.Response(data)

    @property
    def last_arrival(self):
        """When the last response was there; 0 before the first."""
        return self.responses[-1].at if self.responses else 0

    def wait_for_quiet(self, seconds, since, timeout):
        """Until something has come after `since` and then nothing for so long."""
        eventually(
            lambda: time.monotonic() - self.last_arrival,
            lambda silence: len(self.responses) > since and silence > seconds, timeout, "responses, then silence")


def leading_fields(data, last):
    """(number, content) of the length-delimited fields of a message, up to the first one of number `last`."""
    place = 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while place < len(data):
        tag = varint()
        assert tag & 7 == 2, f"field {tag >> 3} is not length-delimited"
        end = varint() + place
        yield tag >> 3, data[place:end] if tag >> 3 != 2 else b""
        place = end
        if tag >> 3 == last:
            return
