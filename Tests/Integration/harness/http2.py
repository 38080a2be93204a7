"""A raw HTTP/2 connection over mutual TLS: python-h2's frames, our own bad manners.

For what a gRPC library will not do: read nothing, open windows of nothing, reset, flood, send garbage.
"""

import socket
import ssl
import struct
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

from .ads import StateOfTheWorld
from .trust import DNS_NAME

GRPC_HEADERS = [
    (":method", "POST"), (":scheme", "https"), (":authority", DNS_NAME),
    (":path", "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"),
    ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "test"),
]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def tls_socket(address, svid, bundle, receive_buffer=None):
    """A connected TLS socket that speaks nothing yet."""
    context = ssl.create_default_context(cafile=bundle)
    context.load_cert_chain(svid.certificate, svid.key)
    context.set_alpn_protocols(["h2"])
    host, port = address.split(":")
    plain = socket.socket()
    if receive_buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.settimeout(10)
    plain.connect((host, int(port)))
    return context.wrap_socket(plain, server_hostname=DNS_NAME)


def grpc_message(message):
    body = message.SerializeToString()
    return b"\0" + struct.pack("!I", len(body)) + body


def subscription(type_url):
    return grpc_message(StateOfTheWorld.REQUEST(type_url=type_url))


class Connection:
    """A well-formed client whose reading and windows the test controls."""

    @classmethod
    def over(cls, tls):
        """On a TLS socket that speaks nothing yet."""
        return cls(None, None, None, socket=tls)

    def __init__(self, address, svid, bundle, *, initial_window=65535, receive_buffer=None, socket=None):
        self.socket = socket or tls_socket(address, svid, bundle, receive_buffer)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(
            client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: initial_window})
        self.h2.initiate_connection()
        self.data = {}
        self.headers = {}
        self.ended = None
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def call(self, data=b"", end_stream=False, headers=GRPC_HEADERS):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, headers)
        if data or end_stream:
            self.h2.send_data(stream, data, end_stream=end_stream)
        self.flush()
        return stream

    def receive(self, seconds, until=lambda: False, acknowledge_data=False):
        """Reads for a while; fills `data` and `headers` by stream; notes how the connection ended."""
        deadline = time.monotonic() + seconds
        while not until() and self.ended is None and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                bytes_in = self.socket.recv(65536)
            except TimeoutError:
                return
            except (ssl.SSLError, ConnectionError) as problem:
                self.ended = str(problem)
                return
            if not bytes_in:
                self.ended = self.ended or "closed"
                return
            for event in self.h2.receive_data(bytes_in):
                self._note(event, acknowledge_data)
            self.flush()

    def _note(self, event, acknowledge_data):
        if isinstance(event, h2.events.DataReceived):
            self.data.setdefault(event.stream_id, bytearray()).extend(event.data)
            if acknowledge_data:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
            self.headers.setdefault(event.stream_id, {}).update(dict(event.headers))
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.ended = f"GOAWAY {event.error_code}"
