"""Hostile and broken peers: the relay stays ready, others are served, the offender is cut off.

Method: raw TLS and frames by hand; an ordinary gRPC client is the witness before, during and after.
"""

import gzip
import os
import socket
import time

import hpack
import pytest
from harness.http2 import GRPC_HEADERS, PREFACE, Connection, frame, subscription, tls_socket
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, virtual_service

HEADERS, RST_STREAM, SETTINGS, PING, CONTINUATION, DATA = 1, 3, 4, 6, 9, 0


@pytest.fixture(autouse=True)
def witness(shared_tiers):
    """An ordinary client that must notice nothing, and a change that must arrive during the abuse."""
    with shared_tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        yield client
        mark = client.mark
        path = shared_tiers.manifests / "after-abuse.yaml"
        path.write_text(virtual_service("after-abuse"))
        client.wait_for_names(TYPE_URL, AT_START | {"shop/after-abuse"}, since=mark)
        path.unlink()
        client.wait_for_names(TYPE_URL, AT_START, since=mark)
        assert client.end_state is None
        assert shared_tiers.edge.get("/readyz")[0] == 200
        assert shared_tiers.edge.is_alive


@pytest.fixture
def dial(shared_tiers):
    """A TLS socket of an accepted identity, preface and SETTINGS sent."""
    sockets = []

    def connect(preface=True):
        tls = tls_socket(shared_tiers.edge.address, shared_tiers.identity("all"), shared_tiers.trust.bundle)
        sockets.append(tls)
        if preface:
            tls.sendall(PREFACE + frame(SETTINGS))
        return tls

    yield connect
    for tls in sockets:
        tls.close()


def drain_until_end(tls, seconds):
    """Reads until the peer ends the connection; False when it did not."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        tls.settimeout(left)
        try:
            if not tls.recv(65536):
                return True
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


def flood(tls, chunks):
    """Sends until done or cut off; True when cut off."""
    tls.settimeout(5)
    try:
        for chunk in chunks:
            tls.sendall(chunk)
    except OSError:
        return True
    return drain_until_end(tls, 10)


def encoded_headers(extra=()):

    # Without Huffman: python-hpack's coder takes minutes for a mebibyte.
    return hpack.Encoder().encode([*GRPC_HEADERS, *extra], huffman=False)


def test_rapid_reset(dial):
    block = encoded_headers()

    def chunks():
        for index in range(20):
            yield b"".join(
                frame(HEADERS, 4, stream, block) + frame(RST_STREAM, 0, stream, b"\0\0\0\x08")
                for stream in range(index * 2000 + 1, index * 2000 + 2001, 2))

    assert flood(dial(), chunks()), "20,000 resets were all accepted"


def test_ping_flood(dial):
    ping = frame(PING, 0, 0, bytes(8))
    assert flood(dial(), (ping * 2000 for _ in range(100))), "200,000 unread pings were all accepted"


def test_settings_flood(dial):
    assert flood(dial(), (frame(SETTINGS) * 2000 for _ in range(100))), "200,000 SETTINGS were all accepted"


def test_continuation_flood(dial):
    def chunks():
        yield frame(HEADERS, 0, 1, encoded_headers())
        for _ in range(2000):
            yield frame(CONTINUATION, 0, 1, bytes([0x40, 1, ord("a"), 100]) + b"x" * 100) * 10

    assert flood(dial(), chunks()), "an endless header block was accepted"


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 64, os.urandom(4096), b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n"],
    ids=["http/1.1", "zeros", "random", "almost"])
def test_a_garbage_preface_is_cut_off(dial, garbage):
    tls = dial(preface=False)
    tls.sendall(garbage)
    assert drain_until_end(tls, 10)


@pytest.mark.parametrize("name, bytes_in", {
    "oversized frame": frame(DATA, 0, 1, bytes(70000)),
    "data on stream 0": frame(DATA, 0, 0, b"x"),
    "even stream": frame(HEADERS, 4, 2, b"\x82"),
    "bad HPACK": frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff"),
    "short window update": frame(8, 0, 0, b"\0"),
    "window of zero": frame(8, 0, 0, bytes(4)),
    "settings with a length": frame(SETTINGS, 0, 0, b"\0\0\0"),
    "push promise from a client": frame(5, 4, 1, bytes(4)),
}.items(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_protocol_error_ends_the_connection(dial, name, bytes_in):
    tls = dial()
    tls.sendall(bytes_in)
    assert drain_until_end(tls, 10), name


def test_an_oversized_header_is_refused(dial):
    """1 MiB of header list: over any limit that makes sense."""
    block = encoded_headers([("x-filler", "y" * (1 << 20))])
    parts = [block[i:i + 16384] for i in range(0, len(block), 16384)]

    def chunks():
        yield frame(HEADERS, 0, 1, parts[0])
        for part in parts[1:-1]:
            yield frame(CONTINUATION, 0, 1, part)
        yield frame(CONTINUATION, 4, 1, parts[-1])

    tls = dial()
    tls.settimeout(5)
    received = b""
    try:
        for chunk in chunks():
            tls.sendall(chunk)
        tls.settimeout(3)
        while part := tls.recv(65536):
            received += part
    except OSError:
        pass
    # Either the stream or the connection ends; what must not come is a gRPC answer.
    assert b"application/grpc" not in received


def test_plain_text_on_the_tls_port(shared_tiers):
    host, port = shared_tiers.edge.address.split(":")
    for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", PREFACE + frame(SETTINGS), os.urandom(512)):
        with socket.create_connection((host, int(port)), timeout=10) as plain:
            plain.sendall(text)
            answer = b""
            try:
                while part := plain.recv(4096):
                    answer += part
            except ConnectionError:
                pass
            assert b"HTTP" not in answer and not answer.startswith(b"\0\0"), "at most a TLS alert"


@pytest.mark.slow
def test_connections_that_say_nothing_are_closed(shared_tiers):
    host, port = shared_tiers.edge.address.split(":")
    silent = [socket.create_connection((host, int(port)), timeout=30) for _ in range(20)]
    try:
        with shared_tiers.client("all") as client:
            client.subscribe(TYPE_URL)
            client.wait_for(TYPE_URL)
        begun = time.monotonic()
        for plain in silent:
            try:
                assert plain.recv(1) == b""
            except ConnectionError:
                pass
        assert time.monotonic() - begun < 25
    finally:
        for plain in silent:
            plain.close()


def message(content, flag=0):
    return bytes([flag]) + len(content).to_bytes(4, "big") + content


@pytest.mark.parametrize("extra, content, expected", [
    ([("grpc-encoding", "gzip")], message(gzip.compress(b"x"), 1), {"grpc-status": "12", "grpc-accept-encoding": "identity"}),
    ([], message(b"x", 1), {"grpc-status": "13"}),
    ([], message(b"x", 2), {"grpc-status": "13"}),
    ([], message(b"\x0a\x7f"), {"grpc-status": "13"}),
    ([], message(b""), {"grpc-status": "3"}),
    ([("grpc-timeout", "soon")], b"", {"grpc-status": "13"}),
    ([("grpc-timeout", "99999999H")], message(b""), {"grpc-status": "3"}),
    ([("grpc-timeout", "200m")], b"", {"grpc-status": "4"}),
], ids=["gzip", "flag without coding", "unknown flag", "no protobuf", "no type", "no time", "long", "deadline"])
def test_a_call_ends_as_grpc_says(shared_tiers, extra, content, expected):
    with Connection(
            shared_tiers.edge.address, shared_tiers.identity("all"), shared_tiers.trust.bundle) as connection:
        stream = connection.call(content, headers=GRPC_HEADERS + extra)
        connection.receive(5, until=lambda: "grpc-status" in connection.headers.get(stream, {}))
        heard = connection.headers[stream]
        assert {name: heard.get(name) for name in expected} == expected and connection.ended is None


def test_a_request_above_the_limit_is_refused_before_it_is_held(shared_tiers):
    """A length prefix of 1 GiB is answered at once, not after a gigabyte."""
    with Connection(
            shared_tiers.edge.address, shared_tiers.identity("all"), shared_tiers.trust.bundle) as connection:
        stream = connection.call(b"\0\x40\0\0\0" + b"x" * 100)
        connection.receive(5, until=lambda: "grpc-status" in connection.headers.get(stream, {}))
        assert connection.headers[stream]["grpc-status"] == "8", connection.headers


@pytest.mark.parametrize("change, expected", [
    ({":path": "/envoy.service.discovery.v3.AggregatedDiscoveryService/Nothing"}, ("grpc-status", "12")),
    ({":path": "/nothing.Here/AtAll"}, ("grpc-status", "12")),
    ({"content-type": "application/json"}, (":status", "415")),
    ({":method": "GET"}, (":status", "405")),
])
def test_calls_that_are_not_ours_are_answered_as_grpc_says(shared_tiers, change, expected):
    headers = [(name, change.get(name, value)) for name, value in GRPC_HEADERS]
    name, value = expected
    with Connection(
            shared_tiers.edge.address, shared_tiers.identity("all"), shared_tiers.trust.bundle) as connection:
        stream = connection.call(end_stream=True, headers=headers)
        connection.receive(5, until=lambda: name in connection.headers.get(stream, {}))
        assert connection.headers[stream].get(name) == value, connection.headers


def test_a_ping_is_answered(dial):
    tls = dial()
    payload = b"12345678"
    tls.sendall(frame(PING, 0, 0, payload))
    tls.settimeout(5)
    received = b""
    while frame(PING, 1, 0, payload) not in received:
        part = tls.recv(4096)
        assert part, received
        received += part


def test_many_streams_on_one_connection_are_bounded(shared_tiers):
    with Connection(
            shared_tiers.edge.address, shared_tiers.identity("all"), shared_tiers.trust.bundle) as connection:
        connection.receive(2, until=lambda: connection.h2.remote_settings.max_concurrent_streams < 2**20)
        assert connection.h2.remote_settings.max_concurrent_streams <= 1000


def test_hundreds_of_handshakes_that_never_finish(shared_tiers):
    """Half-open connections cost memory, never the service."""
    host, port = shared_tiers.edge.address.split(":")
    hello = bytes.fromhex("1603010200010001fc0303") + os.urandom(200)
    half_open = []
    try:
        for _ in range(500):
            plain = socket.create_connection((host, int(port)), timeout=5)
            plain.sendall(hello)
            half_open.append(plain)
        with shared_tiers.client("all") as client:
            client.subscribe(TYPE_URL)
            client.wait_for(TYPE_URL, timeout=20)
    finally:
        for plain in half_open:
            plain.close()
    eventually(lambda: shared_tiers.edge.get("/readyz")[0], lambda status: status == 200, 10, "the edge is ready")


def test_subscriptions_in_pieces_of_one_byte(shared_tiers):
    """A request that arrives a byte at a time is still one request."""
    with Connection(
            shared_tiers.edge.address, shared_tiers.identity("all"), shared_tiers.trust.bundle) as connection:
        stream = connection.call()
        for byte in subscription(TYPE_URL):
            connection.h2.send_data(stream, bytes([byte]))
            connection.flush()
        connection.receive(10, until=lambda: connection.data.get(stream))
        assert connection.data[stream]
