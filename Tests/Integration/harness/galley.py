"""Servers on grpcio that a relay may have as its upstream and that are not ours: both services of the classic
protocol, with the habits that Galley was seen to have, and some that nobody should have.
"""

import concurrent.futures
import os
import queue
import threading

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc

from . import bodies
from .relay import free_port
from .waiting import eventually

_NETWORKING = "istio/networking/v1alpha3/"
SERVICES = _NETWORKING + "virtualservices"
GATEWAYS = _NETWORKING + "gateways"
RULES = _NETWORKING + "destinationrules"
POLICIES = "istio/authentication/v1alpha1/policies"
SYNTHETIC = _NETWORKING + "synthetic/serviceentries"
# What a Galley 1.2 with its default flags has.
GALLEY_1_2 = {
    *(_NETWORKING + plural for plural in (
        "virtualservices", "gateways", "serviceentries", "destinationrules", "envoyfilters", "sidecars")),
    *("istio/config/v1alpha2/" + plural for plural in ("httpapispecs", "httpapispecbindings")),
    *("istio/mixer/v1/config/client/" + plural for plural in ("quotaspecs", "quotaspecbindings")),
    *("istio/authentication/v1alpha1/" + plural for plural in ("policies", "meshpolicies")),
    *("istio/rbac/v1alpha1/" + plural for plural in (
        "serviceroles", "servicerolebindings", "authorizationpolicies", "rbacconfigs", "clusterrbacconfigs")),
    *("istio/policy/v1beta1/" + plural for plural in ("attributemanifests", "instances", "handlers", "rules")),
    "istio/mesh/v1alpha1/MeshConfig",
}


def _message(name):
    return bodies.message_class(f"istio.mcp.v1alpha1.{name}")


Resource = _message("Resource")


def resource(name, message, body=b"", version="v0", annotations=None):
    """An object as a server sends it; `message` is the name of the body's type."""
    made = Resource()
    made.metadata.name = name
    made.metadata.version = version
    # What Galley writes where it knows no time: the year 1.
    made.metadata.create_time.seconds = -62135596800
    made.metadata.annotations.update(annotations or {})
    made.body.type_url = "type.googleapis.com/" + message
    made.body.value = body if isinstance(body, bytes) else body.SerializeToString(deterministic=True)
    return made


def server_credentials(trust, svid):
    """Mutual TLS as a server that is not ours does it."""
    return grpc.ssl_server_credentials(
        [(svid.key.read_bytes(), svid.certificate.read_bytes())], root_certificates=trust.bundle.read_bytes(),
        require_client_auth=True)


class GRPCServer:
    """A server with one stream method; `converse(requests, context)` is a generator of responses."""

    def __init__(self, credentials, methods, converse, port=None):
        self.port = port or free_port()
        self._server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(max_workers=16),
            options=[("grpc.so_reuseport", 0), ("grpc.max_send_message_length", -1)])
        for path, (request, response) in methods.items():
            service, _, method = path.rpartition("/")
            handler = grpc.stream_stream_rpc_method_handler(
                lambda requests, context, path=path: converse(path, requests, context),
                request_deserializer=request.FromString, response_serializer=response.SerializeToString)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        assert self._server.add_secure_port(f"127.0.0.1:{self.port}", credentials), "the port is in use"
        self._server.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._server.stop(0).wait(5)


class Stream:
    """One stream of a server: what was asked, and a queue of what to say."""

    def __init__(self, path):
        self.path = path
        self.requests = []
        self.out = queue.SimpleQueue()
        self.nonces = 0


_SOURCE = "istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream"
_AGGREGATED = "istio.mcp.v1alpha1.AggregatedMeshConfigService/StreamAggregatedResources"


class Galley(GRPCServer):
    """Serves `content` ({collection: [Resource]}); `has`: collections it knows, others end the stream; `silent`:
    collections it accepts and never answers. `update` pushes a collection to every stream that asked for it."""

    def __init__(self, trust, svid, content=None, *, has=None, silent=(), incremental=False, port=None):
        self.content = dict(content or {})
        self.has = has
        self.silent = set(silent)
        self.incremental = incremental
        self.streams = []
        self.versions = 0
        self._lock = threading.Lock()
        methods = {
            _SOURCE: (_message("RequestResources"), _message("Resources")),
            _AGGREGATED: (_message("MeshConfigRequest"), _message("MeshConfigResponse")),
        }
        super().__init__(server_credentials(trust, svid), methods, self._converse, port)

    @property
    def stream(self):
        return self.streams[-1]

    def _name(self, request):
        return request.type_url if hasattr(request, "type_url") else request.collection

    def asked(self, stream=None):
        """Collections that were asked for on a stream, answers to responses left out."""
        return [self._name(r) for r in (stream or self.stream).requests if not r.response_nonce]

    def refusals(self):
        """(collection, code, message) of every response that was refused, on all streams."""
        return [
            (self._name(r), r.error_detail.code, r.error_detail.message)
            for stream in self.streams for r in stream.requests if r.HasField("error_detail")]

    def _converse(self, path, requests, context):
        stream = Stream(path)
        self.streams.append(stream)
        threading.Thread(target=self._listen, args=(stream, requests), daemon=True).start()
        while True:
            item = stream.out.get()
            if isinstance(item, tuple):
                context.abort(*item)
            if item is None:
                return
            yield item

    def _listen(self, stream, requests):
        try:
            for request in requests:
                stream.requests.append(request)
                name = self._name(request)
                if request.response_nonce:
                    continue
                if self.has is not None and name not in self.has:
                    stream.out.put((grpc.StatusCode.INVALID_ARGUMENT, f'unsupported collection "{name}"'))
                    return
                if name not in self.silent:
                    self.say(stream, name, self.content.get(name, []))
        except grpc.RpcError:
            pass
        stream.out.put(None)

    def say(self, stream, name, resources, removed=(), *, incremental=False, nonce=None, version=None):
        with self._lock:
            stream.nonces += 1
            nonce = nonce or str(stream.nonces)
            version = version or str(self.versions)
            if stream.path == _SOURCE:
                stream.out.put(_message("Resources")(
                    system_version_info=version, collection=name, resources=resources, nonce=nonce,
                    removed_resources=removed, incremental=incremental))
            else:
                stream.out.put(_message("MeshConfigResponse")(
                    version_info=version, type_url=name, resources=resources, nonce=nonce))

    def update(self, name, resources):
        self.content[name] = resources
        self.versions += 1
        self.say(self.stream, name, resources)

    def end(self, code, details):
        self.stream.out.put((code, details))

    def wait_for_stream(self, number=1, timeout=15):
        eventually(lambda: len(self.streams), lambda count: count >= number, timeout, "streams at the server")
