"""One `meshrelay connect` process, and a double of the istiod that it stands beside."""

import datetime
import os
import pathlib
import queue
import threading

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import message

from . import bodies
from .relay import Relay, free_port

MESH_CONFIG = "core/v1alpha1/MeshConfig"


class Companion(Relay):
    """Configuration and life of a companion; what operators can ask of it is the same as of a relay."""

    COMMAND = "connect"

    def __init__(self, folder, trust, svid, relays, *, name="companion", spiffe_id=None, **settings):
        """`svid` is who it is; `relays` whom it follows, in order of preference."""
        self.name = name
        self.trust = trust
        self.folder = pathlib.Path(folder) / name
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.svid = svid
        self.process = None
        self.configuration = {
            "node": name,
            "identity": {
                "files": {"svid": str(svid.certificate), "key": str(svid.key)},
                "bundles": {trust.name: str(trust.bundle)},
            },
            "relay": {
                "addresses": [relay.address for relay in relays],
                "spiffeID": spiffe_id or relays[0].svid.uri,
            },
            "listen": self.address,
            "admin": f"unix://{self.admin_path}",
            **settings,
        }
        self.write_configuration()

    def wait_alive(self, timeout=10):
        """Returns when /healthz says 200: whoever connects from then on is held, identity or not."""
        self._wait_for("/healthz", timeout)


class Istiod:
    """What istiod's config source client does, from the dial to the store, as its code is (1.24 and later).

    It dials again for ever, forgets nothing, and takes away whatever a response does not have.
    """

    TYPES = [
        MESH_CONFIG,
        "security.istio.io/v1/AuthorizationPolicy",
        "networking.istio.io/v1/DestinationRule",
        "networking.istio.io/v1alpha3/EnvoyFilter",
        "networking.istio.io/v1/Gateway",
        "security.istio.io/v1/PeerAuthentication",
        "networking.istio.io/v1beta1/ProxyConfig",
        "security.istio.io/v1/RequestAuthentication",
        "networking.istio.io/v1/ServiceEntry",
        "networking.istio.io/v1/Sidecar",
        "telemetry.istio.io/v1/Telemetry",
        "extensions.istio.io/v1alpha1/TrafficExtension",
        "networking.istio.io/v1/VirtualService",
        "extensions.istio.io/v1alpha1/WasmPlugin",
        "networking.istio.io/v1/WorkloadEntry",
        "networking.istio.io/v1/WorkloadGroup",
    ]
    # Its back-off starts at half a second and is reset whenever a stream could be made.
    PAUSE = 0.5

    def __init__(self, address):
        self.held = {type_url: {} for type_url in self.TYPES}
        self.synced = set()
        self.responses = 0
        self.acknowledged = []
        # ("create" | "update" | "delete", type URL, name), in order.
        self.events = []
        self.ended = []
        self._stopped = threading.Event()
        self._node = base_pb2.Node(id="sidecar~10.0.0.7~istiod-0.istio-system~istio-system.svc.cluster.local")
        self._node.metadata.update({"GENERATOR": "api", "ISTIO_VERSION": "65536.65536.65536"})
        mebibyte = 1024 * 1024
        self._channel = grpc.insecure_channel(address, options=[
            ("grpc.max_receive_message_length", 2**31 - 1),
            ("grpc.http2.lookahead_bytes", mebibyte),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.initial_reconnect_backoff_ms", 500),
        ])
        threading.Thread(target=self._live, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._channel.close()

    @property
    def is_ready(self):
        """Every type was answered once, however; istiod opens its own ports only then."""
        return self.synced >= set(self.TYPES[1:])

    @property
    def names(self):
        """What it would configure the mesh with: {kind: names}, kinds without objects left out."""
        return {type_url.rpartition("/")[2]: set(held) for type_url, held in self.held.items() if held}

    def _live(self):
        while not self._stopped.is_set():
            requests = queue.SimpleQueue()
            stream = self._channel.stream_stream(
                "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
                request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DiscoveryResponse.FromString)
            call = stream(iter(requests.get, None))
            # A nonce that was never given out: the wall clock as text.
            nonce = f"{datetime.datetime.now(datetime.timezone.utc)} m=+3.1"
            for type_url in self.TYPES:
                node = self._node if type_url == MESH_CONFIG else None
                requests.put(discovery_pb2.DiscoveryRequest(type_url=type_url, response_nonce=nonce, node=node))
            try:
                for response in call:
                    self._take(response, requests)
            except grpc.RpcError as error:
                self.ended.append((error.code(), error.details()))
            except ValueError:
                return  # the channel was closed here
            requests.put(None)
            self._stopped.wait(self.PAUSE)

    def _take(self, response, requests):
        self.responses += 1
        if response.type_url == MESH_CONFIG and response.resources:
            return  # kept, never looked at, and not acknowledged
        if response.type_url != MESH_CONFIG:
            self._apply(response)
            self.synced.add(response.type_url)
        self.acknowledged.append(response.type_url)
        requests.put(discovery_pb2.DiscoveryRequest(
            type_url=response.type_url, version_info=response.version_info, response_nonce=response.nonce,
            node=self._node))

    def _apply(self, response):
        held = self.held[response.type_url]
        present = set()
        for wrapped in response.resources:
            try:
                resource = bodies.decode_envelope(wrapped)
                bodies.decode_any(resource.body)
            except (AssertionError, KeyError, message.DecodeError):
                continue
            name, version = resource.metadata.name, resource.metadata.version
            if name.count("/") != 1:
                continue
            present.add(name)
            if name not in held:
                self.events.append(("create", response.type_url, name))
                held[name] = resource
            elif not version or held[name].metadata.version != version:
                self.events.append(("update", response.type_url, name))
                held[name] = resource
        for name in set(held) - present:
            self.events.append(("delete", response.type_url, name))
            del held[name]
