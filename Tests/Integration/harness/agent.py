"""A SPIFFE agent for tests: the Workload API on a Unix socket, on grpcio and py-spiffe's generated messages.

It rotates, falls silent, refuses, lies and dies as a test tells it. It knows nothing of the program under test; a
second client (py-spiffe's) shows that what it says is the Workload API.
"""

import concurrent.futures
import os
import threading

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from spiffe._proto import workload_pb2

_END = object()


def der_chain(svid):
    """Concatenated DER of an SVID's certificates, leaf first."""
    certificates = x509.load_pem_x509_certificates(svid.certificate.read_bytes())
    return b"".join(each.public_bytes(serialization.Encoding.DER) for each in certificates)


def der_key(svid):
    key = serialization.load_pem_private_key(svid.key.read_bytes(), None)
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def der_bundle(*trust_domains):
    """Concatenated DER of the authorities of one or more generations of a trust domain."""
    return b"".join(
        each.public_bytes(serialization.Encoding.DER)
        for trust in trust_domains for each in x509.load_pem_x509_certificates(trust.bundle.read_bytes()))


def entry(svid, *bundle, hint=""):
    """One SVID of an answer; `bundle` are its trust domain's authorities."""
    return workload_pb2.X509SVID(
        spiffe_id=svid.uri, x509_svid=der_chain(svid), x509_svid_key=der_key(svid), bundle=der_bundle(*bundle),
        hint=hint)


class Agent:
    """Streams answers to everybody who asks; every new one goes to all of them at once."""

    def __init__(self, folder, name="agent.sock"):
        self.socket = folder / name
        self.address = f"unix://{self.socket}"
        self.calls = 0
        # Answers that went out, on whatever stream.
        self.said = 0
        self.metadata = []
        self.peers = 0
        self._answer = None
        self._status = None
        self._silent = False
        self._changed = threading.Condition()
        self._revision = 0
        self._server = None

    def start(self):
        self.socket.unlink(missing_ok=True)
        # A stream holds a thread for as long as it lives.
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers([self._handlers()])
        assert self._server.add_insecure_port(self.address)
        self._server.start()
        return self

    def stop(self):
        """The agent is gone, and its socket with it."""
        if self._server:
            server, self._server = self._server, None
            with self._changed:
                self._revision = -1
                self._changed.notify_all()
            server.stop(0).wait()
            with self._changed:
                self._revision = 0
        self.socket.unlink(missing_ok=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # What it says from now on.

    def offer(self, *entries, federated=None, revocations=()):
        """The full state: SVIDs, bundles of other trust domains by their SPIFFE ID, and revocation lists."""
        self.say(workload_pb2.X509SVIDResponse(
            svids=entries, crl=revocations,
            federated_bundles={f"spiffe://{name}": bundle for name, bundle in (federated or {}).items()}))

    def say(self, message):
        """Any message, or bytes that are none."""
        bytes_out = message if isinstance(message, bytes) else message.SerializeToString()
        self._become(answer=bytes_out)

    def refuse(self, code, details):
        """Ends every stream with this status, new ones too."""
        self._become(status=(code, details))

    def fall_silent(self):
        """Accepts calls and answers nothing."""
        self._become(silent=True)

    def _become(self, answer=None, status=None, silent=False):
        with self._changed:
            self._answer, self._status, self._silent = answer, status, silent
            self._revision += 1
            self._changed.notify_all()

    def _handlers(self):
        same = lambda value: value
        return grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {
            "FetchX509SVID": grpc.unary_stream_rpc_method_handler(
                self._fetch, request_deserializer=same, response_serializer=same),
        })

    def _fetch(self, request, context):
        self.calls += 1
        metadata = [(key, value) for key, value in context.invocation_metadata()]
        self.metadata.append(metadata)
        if [value for key, value in metadata if key == "workload.spiffe.io"] != ["true"]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        seen = 0
        while context.is_active():
            with self._changed:
                self._changed.wait_for(lambda: self._revision != seen, timeout=0.2)
                if self._revision == -1:
                    return
                if self._revision == seen:
                    continue
                seen, answer, status, silent = self._revision, self._answer, self._status, self._silent
            if status:
                context.abort(*status)
            if answer is not None and not silent:
                self.said += 1
                yield answer
