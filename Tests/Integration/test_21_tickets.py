"""Coming back with a session ticket: a short handshake, and never a way around authorization.

Method: Python's TLS with one ticket and every change that must make it worthless; gRPC frames show what policy says of
who came back; server CPU is measured and printed, not asserted.
"""

import os
import socket
import ssl
import subprocess
import time

import pytest
from harness.http2 import Connection, subscription
from harness.relay import Relay, free_port
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import DNS_NAME, TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL

SECONDS = 1 / 3600
SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


@pytest.fixture
def trust(folder):
    return TrustDomain(folder / "trust")


@pytest.fixture
def relay(folder, trust):
    relay = Relay(
        folder, "edge", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy())
    relay.second_port = free_port()
    relay.configuration["listen"].append({"address": f"127.0.0.1:{relay.second_port}"})
    partner = TrustDomain(folder / "partner", "partner.example")
    policy = edge_policy()
    policy["clusters"].append({"name": "partner", "identities": ["spiffe://partner.example/*"]})
    relay.write_policy(policy)
    relay.configuration["identity"]["bundles"]["partner.example"] = str(partner.bundle)
    relay.partner = partner
    relay.write_configuration()
    return relay.start()


def context_of(trust, svid):
    context = ssl.create_default_context(cafile=trust.bundle)
    context.load_cert_chain(svid.certificate, svid.key)
    context.set_alpn_protocols(["h2"])
    return context


def visit(context, port, session=None, speak=True):
    """One handshake; (a ticket for the next, whether this one was resumed)."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=DNS_NAME, session=session) as tls:
            if speak:
                tls.sendall(SETTINGS)
                assert tls.recv(9)[3:4] == b"\x04", "the server's SETTINGS"
            return tls.session, tls.session_reused


def first_ticket(relay, context):
    """Keys of tickets are there from the relay's first second on."""
    def look():
        ticket, _ = visit(context, relay.port)
        return ticket if ticket.has_ticket and visit(context, relay.port, ticket)[1] else None

    return eventually(look, lambda ticket: ticket is not None, 10, "a ticket that counts")


def test_a_ticket_makes_the_handshake_short(relay, trust):
    context = context_of(trust, trust.issue("cluster/all/istiod"))
    ticket = first_ticket(relay, context)
    before = relay.metric("meshrelay_resumed_handshakes_total")
    for _ in range(3):
        ticket, resumed = visit(context, relay.port, ticket)
        assert resumed
    eventually(
        lambda: relay.metric("meshrelay_resumed_handshakes_total"), lambda now: now == before + 3, 5, "the counter")


def test_who_comes_back_is_served_as_who_he_is(relay, trust):
    """Streams over a resumed connection; policy decides anew, by the identity that the ticket was given to."""
    context = context_of(trust, trust.issue("cluster/shop/istiod"))
    ticket = first_ticket(relay, context)

    def ask():
        plain = socket.create_connection(("127.0.0.1", relay.port), timeout=10)
        tls = context.wrap_socket(plain, server_hostname=DNS_NAME, session=ticket)
        assert tls.session_reused
        connection = Connection.over(tls)
        stream = connection.call(subscription(TYPE_URL))
        connection.receive(8, lambda: len(connection.data.get(stream, b"")) > 5)
        return connection, stream

    connection, stream = ask()
    with connection:
        assert b"shop/catalogue" in connection.data[stream]
    policy = edge_policy()
    policy["blocked"].append(trust.id("cluster/shop/istiod"))
    policy["clusters"] = [each for each in policy["clusters"] if each["name"] != "shop"]
    # The trust domains that policy names are part of what a ticket is given under: they stay.
    policy["clusters"].append({"name": "partner", "identities": ["spiffe://partner.example/*"]})
    relay.write_policy(policy)
    relay.reload()
    eventually(lambda: "policy loaded" in relay.log, bool, 5, "the policy")
    connection, stream = ask()
    with connection:
        assert stream not in connection.data
        connection.receive(8, lambda: "grpc-status" in connection.headers.get(stream, {}))
        assert connection.headers[stream]["grpc-status"] == "7"


def test_what_makes_a_ticket_worthless(relay, trust):
    context = context_of(trust, trust.issue("cluster/all/istiod"))
    ticket = first_ticket(relay, context)
    assert visit(context, relay.port, ticket)[1]
    assert not visit(context, relay.second_port, ticket)[1], "another listener"
    # A bundle changes, anybody's: a full handshake, and then a ticket that counts again.
    TrustDomain(relay.folder / "successor", "partner.example").bundle.rename(relay.partner.bundle)
    eventually(lambda: visit(context, relay.port, ticket)[1], lambda resumed: not resumed, 5, "a full handshake")
    assert visit(context, relay.port, first_ticket(relay, context))[1]
    # Keys live in the process alone.
    ticket = first_ticket(relay, context)
    relay.kill()
    relay.start()
    assert not visit(context, relay.port, ticket)[1]


def test_a_ticket_allows_no_early_data_and_lasts_an_hour(relay, trust, folder):
    """What OpenSSL's own tool reads in the ticket it was given."""
    svid = trust.issue("cluster/all/istiod")
    first_ticket(relay, context_of(trust, svid))
    session = folder / "session.pem"
    # A moment to read what comes behind the handshake.
    subprocess.run(
        f"(sleep 1; echo Q) | openssl s_client -connect {relay.address} -CAfile {trust.bundle} -cert {svid.certificate} "
        f"-key {svid.key} -alpn h2 -sess_out {session}", shell=True, check=True, capture_output=True, timeout=20)
    text = subprocess.run(
        ["openssl", "sess_id", "-in", session, "-noout", "-text"], check=True, capture_output=True, text=True).stdout
    assert "TLS session ticket:" in text
    assert "Max Early Data: 0" in text
    assert "TLS session ticket lifetime hint: 3600 (seconds)" in text


@pytest.mark.slow
def test_a_ticket_does_not_outlive_the_certificate(relay, trust):
    svid = trust.issue("cluster/all/istiod", to_hours=6 * SECONDS)
    end = time.monotonic() + 6
    context = context_of(trust, svid)
    ticket = first_ticket(relay, context)
    time.sleep(max(0, end - time.monotonic()) + 1.5)
    expired = relay.metric("meshrelay_handshakes_total", result="expired") or 0
    with pytest.raises((ssl.SSLError, ConnectionError)):
        visit(context, relay.port, ticket)
    eventually(
        lambda: relay.metric("meshrelay_handshakes_total", result="expired"), lambda now: now == expired + 1, 5,
        "the refusal")


def test_a_forged_ticket_is_no_ticket(relay, trust, folder):
    """A ticket of another relay with other keys."""
    other = Relay(
        folder, "other", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy()).start()
    context = context_of(trust, trust.issue("cluster/all/istiod"))
    ticket = first_ticket(other, context)
    assert not visit(context, relay.port, ticket)[1]


def _cpu(relay):
    fields = open(f"/proc/{relay.process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_a_handshake_costs(relay, trust, capsys):
    """Printed for people; asserted is only that both kinds went as meant."""
    context = context_of(trust, trust.issue("cluster/all/istiod"))
    ticket = first_ticket(relay, context)
    count = 150
    begun = _cpu(relay)
    for _ in range(count):
        assert not visit(context, relay.port)[1]
    full = _cpu(relay) - begun
    begun = _cpu(relay)
    for _ in range(count):
        ticket, resumed = visit(context, relay.port, ticket)
        assert resumed
    short = _cpu(relay) - begun
    with capsys.disabled():
        print(f"\n  server CPU per handshake: full {full / count * 1000:.2f} ms, resumed {short / count * 1000:.2f} ms")
