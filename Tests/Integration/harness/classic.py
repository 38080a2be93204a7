"""Classic MCP on grpcio: sinks that dial (Pilot until Istio 1.8), and one that waits for its source to call.

Messages are compiled from the tests' own mcp.proto. What the ADS clients have in common with these is theirs.
"""

import queue
import threading
from concurrent import futures

import grpc

from . import bodies
from .ads import INVALID_ARGUMENT, Client
from .relay import free_port
from .waiting import eventually

VIRTUAL_SERVICES = "istio/networking/v1alpha3/virtualservices"
VIRTUAL_SERVICES_BY_TYPE = "type.googleapis.com/istio.networking.v1alpha3.VirtualService"
UNIMPLEMENTED = 12

_PACKAGE = "istio.mcp.v1alpha1."
SinkNode, RequestResources, Resources = (
    bodies.message_class(_PACKAGE + name) for name in ("SinkNode", "RequestResources", "Resources"))


def apply(held, response, is_whole):
    """What a sink holds after a response: {name: (version, body type)}."""
    resources = {
        resource.metadata.name: (resource.metadata.version, resource.body.type_url) for resource in response.resources}
    assert len(resources) == len(response.resources), "a name occurs twice in one response"
    if is_whole:
        return resources
    kept = {name: value for name, value in held.items() if name not in set(response.removed_resources)}
    return {**kept, **resources}


class _Classic(Client):
    """What the three methods that sinks dial have in common; `FIELD` is the request's name for the collection."""

    FIELD = "type_url"

    def send(self, **fields):
        # Pilot names itself in every message, with nothing in it.
        request = self.REQUEST(sink_node=SinkNode(), **fields)
        self._requests.put(request)
        return request

    def subscribe(self, *collections, **fields):
        for collection in collections:
            self.send(**{self.FIELD: collection}, **fields)
        return self

    def ack(self, response):
        self.send(**{self.FIELD: self.type_of(response)}, response_nonce=response.nonce)

    def nack(self, response, message):
        self.send(
            **{self.FIELD: self.type_of(response)}, response_nonce=response.nonce,
            error_detail={"code": INVALID_ARGUMENT, "message": message})

    def is_whole(self, response):
        return True

    def state(self, collection, since=0):
        held = {}
        for response in self.of_type(collection, since):
            held = apply(held, response, self.is_whole(response))
        return held

    def wait_for_state(self, collection, names, since=0, timeout=15):
        return eventually(
            lambda: self.state(collection, since), lambda held: set(held) == set(names), timeout,
            f"{collection} at the sink ({self.end_state})")


class ResourceSource(_Classic):
    SERVICE = "/istio.mcp.v1alpha1.ResourceSource/"
    METHOD = "EstablishResourceStream"
    REQUEST, RESPONSE = RequestResources, Resources
    FIELD = "collection"
    INCREMENTAL = False

    def send(self, **fields):
        return super().send(incremental=self.INCREMENTAL, **fields)

    def type_of(self, response):
        return response.collection

    def is_whole(self, response):
        return not response.incremental


class IncrementalResourceSource(ResourceSource):
    INCREMENTAL = True


class Aggregated(_Classic):
    SERVICE = "/istio.mcp.v1alpha1.AggregatedMeshConfigService/"
    METHOD = "StreamAggregatedResources"
    REQUEST = bodies.message_class(_PACKAGE + "MeshConfigRequest")
    RESPONSE = bodies.message_class(_PACKAGE + "MeshConfigResponse")


class IncrementalAggregated(Aggregated):
    """Its responses do not say what they are about: one collection a stream here."""

    METHOD = "IncrementalAggregatedResources"
    REQUEST = bodies.message_class(_PACKAGE + "IncrementalMeshConfigRequest")
    RESPONSE = bodies.message_class(_PACKAGE + "IncrementalMeshConfigResponse")
    collection = None

    def subscribe(self, collection, **fields):
        self.collection = collection
        return super().subscribe(collection, **fields)

    def type_of(self, response):
        return self.collection

    def is_whole(self, response):
        return False


DIALECTS = [ResourceSource, IncrementalResourceSource, Aggregated, IncrementalAggregated]


class SinkServer:
    """A Pilot that waits for its source to call: `ResourceSink` over mutual TLS."""

    def __init__(self, svid, bundle, collections=(VIRTUAL_SERVICES,), *, incremental=False, port=None):
        self.collections = collections
        self.incremental = incremental
        self.port = port or free_port()
        self.streams = 0
        self.triggers = 0
        self.held = {}
        self.ended = 0
        self._open = []
        credentials = grpc.ssl_server_credentials(
            [(svid.key.read_bytes(), svid.certificate.read_bytes())], bundle.read_bytes(), require_client_auth=True)
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        handler = grpc.stream_stream_rpc_method_handler(
            self._serve, request_deserializer=Resources.FromString,
            response_serializer=RequestResources.SerializeToString)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            "istio.mcp.v1alpha1.ResourceSink", {"EstablishResourceStream": handler}),))
        assert self._server.add_secure_port(self.address, credentials)
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def close(self):
        for requests in self._open:
            requests.put(None)
        self._server.stop(0).wait()

    def _serve(self, resources, context):
        self.streams += 1
        requests = queue.SimpleQueue()
        self._open.append(requests)
        for collection in self.collections:
            requests.put(RequestResources(
                sink_node=SinkNode(id="pilot"), collection=collection, incremental=self.incremental))
        threading.Thread(target=self._receive, args=(resources, requests), daemon=True).start()
        yield from iter(requests.get, None)

    def _receive(self, resources, requests):
        try:
            for response in resources:
                answer = RequestResources(
                    sink_node=SinkNode(id="pilot"), collection=response.collection, response_nonce=response.nonce)
                if response.collection not in self.collections:
                    self.triggers += 1
                    answer.error_detail.code = UNIMPLEMENTED
                    answer.error_detail.message = f"unsupported collection {response.collection}"
                else:
                    self.held[response.collection] = apply(
                        self.held.get(response.collection, {}), response, not response.incremental)
                requests.put(answer)
        except Exception:  # how grpcio tells that the source has gone
            pass
        self.ended += 1
        requests.put(None)

    def wait_for(self, names, collection=VIRTUAL_SERVICES, timeout=15):
        return eventually(
            lambda: self.held.get(collection), lambda held: held is not None and set(held) == set(names), timeout,
            f"{collection} at the sink that was dialled")
