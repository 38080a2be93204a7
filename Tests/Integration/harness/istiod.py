"""A double of istiod as an upstream: its "api" generator on port 15012, as far as its clients can tell.

It answers a kind under one version and every other version with an empty, successful list; wants a node of four
parts and an identity of its root namespace; changes its version_info at every push; and pushes only what it deems
to concern the client.
"""

import threading

import grpc
from cryptography import x509
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from .bodies import ENVELOPE
from .galley import GRPCServer, Stream, server_credentials

_ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"


class IstiodServer(GRPCServer):
    """`content`: {type URL as this release lists it: [Resource]}."""

    def __init__(self, trust, svid, content, *, root_namespace="istio-system", waypoint=True, port=None):
        self.content = dict(content)
        self.root_namespace = root_namespace
        self.waypoint = waypoint
        self.streams = []
        self.pushes = 0
        methods = {_ADS: (discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse)}
        # istiod asks for a certificate and does not require one; grpcio for Python asks only when it requires.
        super().__init__(server_credentials(trust, svid), methods, self._converse, port)

    @property
    def stream(self):
        return self.streams[-1]

    def polls(self, type_url):
        """How often everything of a type was asked for on the newest stream."""
        return len([r for r in self.stream.requests if r.type_url == type_url and not r.response_nonce])

    def _converse(self, path, requests, context):
        stream = Stream(path)
        refusal = self._authenticate(context)
        if refusal:
            context.abort(*refusal)
        self.streams.append(stream)
        threading.Thread(target=self._listen, args=(stream, requests), daemon=True).start()
        while True:
            item = stream.out.get()
            if isinstance(item, tuple):
                context.abort(*item)
            if item is None:
                return
            yield item

    def _authenticate(self, context):
        pem = context.auth_context().get("x509_pem_cert")
        if not pem:
            return grpc.StatusCode.UNAUTHENTICATED, "authentication failure"
        names = x509.load_pem_x509_certificate(pem[0]).extensions.get_extension_for_class(
            x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)
        parts = names[0].split("/") if names else []
        if len(parts) != 7 or parts[3] != "ns" or parts[5] != "sa" or parts[4] != self.root_namespace:
            return grpc.StatusCode.PERMISSION_DENIED, f"authorization failed: {names}"
        self._namespace = parts[4]
        return None

    def _listen(self, stream, requests):
        node = None
        try:
            for request in requests:
                stream.requests.append(request)
                if node is None:
                    node = request.node
                    fault = self._judge(node)
                    if fault:
                        stream.out.put((grpc.StatusCode.INVALID_ARGUMENT, fault))
                        return
                if not request.response_nonce:
                    self.say(stream, request.type_url)
        except grpc.RpcError:
            pass
        stream.out.put(None)

    def _judge(self, node):
        parts = node.id.split("~")
        if len(parts) != 4:
            return "missing node information"
        if parts[0] == "waypoint" and not self.waypoint:
            return f"invalid node type (valid types: sidecar, router) in the service node {node.id}"
        if node.metadata["NAMESPACE"] != self._namespace:
            return "namespace of the node and of the identity differ"
        return None

    def say(self, stream, type_url):
        version = f"2026-01-01T00:00:00Z/{self.pushes}"
        wrapped = [
            any_pb2.Any(type_url=ENVELOPE, value=resource.SerializeToString())
            for resource in self.content.get(type_url, [])]
        stream.nonces += 1
        stream.out.put(discovery_pb2.DiscoveryResponse(
            version_info=version, type_url=type_url, resources=wrapped, nonce=f"{version}-{stream.nonces}"))

    def push(self):
        """What istiod does after a change that concerns the client: all types, one new version."""
        self.pushes += 1
        for type_url in {r.type_url for r in self.stream.requests}:
            self.say(self.stream, type_url)

    def end(self, code, details):
        self.stream.out.put((code, details))
