"""Who sees what: a verified SPIFFE ID decides, and without one there is not a byte.

Method: the same client with different identities; raw TLS for the identities that must not get in, so that
"not a byte" is seen and not inferred from a library's error.
"""

import socket
import ssl
import time

import grpc
import pytest
from harness import bodies
from harness.ads import StateOfTheWorld
from harness.tiers import MANIFESTS, build_tiers
from harness.trust import DNS_NAME, TrustDomain
from harness.waiting import eventually

EXPECTED = bodies.read_manifests(MANIFESTS)
TYPE_URLS = [bodies.type_urls(kind)[0] for kind in bodies.KINDS]


def everything_seen(tiers, cluster):
    """Every (kind, name) the cluster gets."""
    with tiers.client(cluster) as client:
        client.subscribe(*TYPE_URLS)
        return {(url.rpartition("/")[2], name) for url in TYPE_URLS for name in client.sync(url)}


def label(manifest, key):
    return manifest["metadata"].get("labels", {}).get(key)


GRANTS = {
    "all": lambda kind, manifest: True,
    "shop": lambda kind, manifest: (
        manifest["metadata"]["namespace"] == "shop" and kind not in ("WasmPlugin", "TrafficExtension")),
    "bank": lambda kind, manifest: manifest["metadata"]["namespace"] == "bank",
    "tier": lambda kind, manifest: label(manifest, "tier") == "edge" and label(manifest, "team") != "nobody",
    "nothing": lambda kind, manifest: False,
}


@pytest.mark.parametrize("cluster", GRANTS)
def test_a_cluster_sees_its_grant_and_nothing_else(shared_tiers, cluster):
    granted = {key for key, manifest in EXPECTED.items() if GRANTS[cluster](key[0], manifest)}
    assert everything_seen(shared_tiers, cluster) == granted


@pytest.mark.parametrize("path", ["cluster/unknown/istiod", "cluster/stolen/istiod", "cluster/all/istiod/more"])
def test_an_identity_of_no_cluster_is_refused_after_a_hold(shared_tiers, path):
    begun = time.monotonic()
    with shared_tiers.client(svid=shared_tiers.trust.issue(path)) as client:
        client.subscribe(*TYPE_URLS)
        code, _ = client.wait_for_end(timeout=8)
        held = time.monotonic() - begun
        assert code == grpc.StatusCode.PERMISSION_DENIED
        assert client.responses == []
        assert 1.8 <= held <= 6, f"held for {held:.1f} s; 2-4 s keep a redialling istiod calm"


def test_node_ids_prove_nothing(shared_tiers):
    node = "spiffe://example.org/cluster/all/istiod"
    with shared_tiers.client("shop", node=node) as client:
        client.subscribe("security.istio.io/v1/AuthorizationPolicy")
        assert client.sync("security.istio.io/v1/AuthorizationPolicy") == {}


def bad_identities(trust, folder):
    """Name → (SVID or None, expected handshake result)."""
    stranger = TrustDomain(folder / "stranger", "example.org")
    foreign = TrustDomain(folder / "foreign", "foreign.example")
    good = trust.id("cluster/all/istiod")
    return {
        "no certificate": (None, "no_certificate"),
        "wrong CA": (stranger.issue("cluster/all/istiod"), "untrusted"),
        "foreign trust domain": (foreign.issue("cluster/all/istiod"), "untrusted"),
        "foreign trust domain by our CA": (
            trust.issue("f", uris=["spiffe://foreign.example/cluster/all/istiod"]), "untrusted"),
        "expired": (trust.issue("cluster/all/istiod", from_hours=-3, to_hours=-1), "expired"),
        "not yet valid": (trust.issue("cluster/all/istiod", from_hours=1, to_hours=2), "expired"),
        "two URIs": (trust.issue("two", uris=[good, trust.id("cluster/other")]), "bad_id"),
        "no URI": (trust.issue("none", uris=[]), "bad_id"),
        "not a SPIFFE ID": (trust.issue("http", uris=["https://example.org/cluster/all/istiod"]), "bad_id"),
        "upper case trust domain": (trust.issue("upper", uris=["spiffe://Example.org/cluster/all/istiod"]), "bad_id"),
        "no path": (trust.issue("root", uris=["spiffe://example.org"]), "bad_id"),
        "a signing certificate": (trust.issue("cluster/all/istiod", is_ca=True), None),
    }


BAD = [
    "no certificate", "wrong CA", "foreign trust domain", "foreign trust domain by our CA", "expired", "not yet valid",
    "two URIs", "no URI", "not a SPIFFE ID", "upper case trust domain", "no path", "a signing certificate",
]


def bytes_before_refusal(address, svid, bundle, maximum):
    """Dials with TLS, speaks first, and returns what came back before the connection failed."""
    context = ssl.create_default_context(cafile=bundle)
    context.set_alpn_protocols(["h2"])
    context.maximum_version = maximum
    if svid:
        context.load_cert_chain(svid.certificate, svid.key)
    host, port = address.split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=DNS_NAME) as tls:
                tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
                while chunk := tls.recv(4096):
                    received += chunk
        except TimeoutError:
            raise AssertionError("the connection was left open") from None
        except (ssl.SSLError, ConnectionError) as refusal:
            return received, str(refusal)
    return received, "closed"


@pytest.mark.parametrize("name", BAD)
def test_without_an_acceptable_svid_there_is_not_a_byte(shared_tiers, folder, name):
    svid, result = bad_identities(shared_tiers.trust, folder)[name]
    edge = shared_tiers.edge

    def count():
        return edge.metric("meshrelay_handshakes_total", result=result) or 0

    before = count() if result else 0
    received, how = bytes_before_refusal(
        edge.address, svid, shared_tiers.trust.bundle, ssl.TLSVersion.TLSv1_3)
    assert received == b"", f"{len(received)} bytes before the refusal ({how})"
    if result:
        eventually(count, lambda now: now == before + 1, 5, f"handshakes_total result={result}")


@pytest.mark.parametrize("name", ["wrong CA", "no certificate", "expired"])
def test_grpc_gets_nothing_either(shared_tiers, folder, name):
    svid, _ = bad_identities(shared_tiers.trust, folder)[name]
    with shared_tiers.client(svid=svid) if svid else _without_certificate(shared_tiers) as client:
        client.subscribe(*TYPE_URLS)
        code, _ = client.wait_for_end(timeout=10)
        assert code == grpc.StatusCode.UNAVAILABLE
        assert client.responses == []


def _without_certificate(tiers):
    return StateOfTheWorld(tiers.edge.address, None, tiers.trust.bundle)


def test_a_good_svid_is_accepted_without_alpn(shared_tiers):
    """SPIFFE tunnels negotiate none; the server then speaks HTTP/2 all the same."""
    svid = shared_tiers.identity("all")
    context = ssl.create_default_context(cafile=shared_tiers.trust.bundle)
    context.load_cert_chain(svid.certificate, svid.key)
    host, port = shared_tiers.edge.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=DNS_NAME) as tls:
            tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
            assert tls.recv(9)[3:4] == b"\x04", "the server's SETTINGS"


def test_a_client_that_offers_only_other_protocols_is_told_so(shared_tiers):
    svid = shared_tiers.identity("all")
    context = ssl.create_default_context(cafile=shared_tiers.trust.bundle)
    context.load_cert_chain(svid.certificate, svid.key)
    context.set_alpn_protocols(["http/1.1"])
    host, port = shared_tiers.edge.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            context.wrap_socket(plain, server_hostname=DNS_NAME)


def test_a_relay_refuses_an_upstream_that_is_somebody_else(folder):
    """The server's SVID must be the one the configuration names, however good it is."""
    tiers = build_tiers(folder)
    tiers.origin.start()
    tiers.region.configuration["sources"][0]["upstream"]["spiffeID"] = tiers.trust.id("relay/somebody-else")
    tiers.region.write_configuration()
    tiers.region.start(ready=False)
    source = eventually(
        lambda: tiers.region.status["sources"][0], lambda source: source["lastError"], 10, "a reported error")
    assert source["state"] in ("connecting", "failed")
    assert "relay/origin" in str(source["lastError"]), source
    assert tiers.region.get("/readyz")[0] == 503
