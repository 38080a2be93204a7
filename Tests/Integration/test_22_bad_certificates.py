"""Bad certificates in both directions, each refused with its reason.

Method: every kind of bad certificate, shown by OpenSSL: as a client to a relay, and as an upstream that a relay dials.
Named are the label of the metric, and the words in the log or in the source's status.
"""

import socket
import subprocess
import threading

import pytest
from harness.relay import Relay, free_port
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually

PEER = "mcp/central"


def bad_certificates(trust, folder):
    """Name → (SVID, result, words)."""
    stranger = TrustDomain(folder / "stranger", "example.org")
    foreign = TrustDomain(folder / "foreign", "foreign.example")
    good = trust.id(PEER)
    return {
        "wrong CA": (stranger.issue(PEER), "untrusted", "No valid path"),
        "foreign": (foreign.issue(PEER), "untrusted", "no bundle for the trust domain foreign.example"),
        "foreign by our CA": (trust.issue("f", uris=["spiffe://foreign.example/x"]), "untrusted", "no bundle"),
        "expired": (trust.issue(PEER, from_hours=-3, to_hours=-1), "expired", "has expired"),
        "not yet valid": (trust.issue(PEER, from_hours=1, to_hours=2), "expired", "not yet valid"),
        "two URIs": (trust.issue("two", uris=[good, good + "/x"]), "bad_id", "has 2 URI names"),
        "no URI": (trust.issue("none", uris=[]), "bad_id", "has no URI name"),
        "https URI": (trust.issue("http", uris=["https://example.org/x"]), "bad_id", "no SPIFFE ID"),
        "upper case": (trust.issue("upper", uris=["spiffe://Example.org/x"]), "bad_id", "no SPIFFE ID"),
        "no path": (trust.issue("root", uris=["spiffe://example.org"]), "bad_id", "names a trust domain"),
        "an authority": (trust.issue(PEER, is_ca=True), "bad_id", "marked as a certificate authority"),
        "no signature": (trust.issue(PEER, signs=False), "bad_id", "does not allow digitalSignature"),
        "another purpose": (trust.issue(PEER, purposes=["code_signing"]), "bad_id", "extended key usage"),
    }


@pytest.fixture
def trust(folder):
    return TrustDomain(folder / "trust")


def test_as_a_client(folder, trust):
    relay = Relay(
        folder, "edge", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy()).start()

    def count(result):
        return relay.metric("meshrelay_handshakes_total", result=result) or 0

    for name, (svid, result, words) in bad_certificates(trust, folder).items():
        before, lines = count(result), relay.log.count("handshake")
        client = subprocess.run(
            ["openssl", "s_client", "-connect", relay.address, "-CAfile", trust.bundle, "-cert", svid.certificate,
             "-key", svid.key, "-alpn", "h2", "-quiet", "-no_ign_eof"],
            input=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", capture_output=True, timeout=10)
        assert client.stdout == b"", f"{name}: {client.stdout[:40]}"
        eventually(lambda: count(result), lambda now: now == before + 1, 5, f"{name}: handshakes_total {result}")
        eventually(lambda: relay.log, lambda log: words in log.splitlines()[-1] or words in "".join(log.splitlines()[-3:]), 5,
                   f"{name}: the reason in the log")
        assert relay.log.count("handshake") > lines, name


class Server:
    """`openssl s_server` with one certificate."""

    def __init__(self, svid, trust):
        self.port = free_port()
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", "-cert",
             svid.certificate, "-key", svid.key, "-CAfile", trust.bundle, "-Verify", "1", "-alpn", "h2", "-quiet"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        self._process.kill()
        self._process.wait()


def test_as_an_upstream(folder, trust):
    """One relay, one source for each bad server; and one that is good, but somebody else."""
    kinds = bad_certificates(trust, folder)
    kinds["somebody else"] = (trust.issue("mcp/other"), None, f"must be {trust.id(PEER)}")
    servers = {name: Server(svid, trust) for name, (svid, _, _) in kinds.items()}
    try:
        sources = [
            {"name": name.replace(" ", "-"),
             "upstream": {"addresses": [f"127.0.0.1:{servers[name].port}"], "spiffeID": trust.id(PEER)}}
            for name in kinds]
        relay = Relay(folder, "edge", trust, sources=sources, policy=edge_policy()).start(ready=False)

        def errors():
            return {source["name"]: source["lastError"] or "" for source in relay.status["sources"]}

        for name, (_, _, words) in kinds.items():
            found = eventually(
                errors, lambda all, name=name, words=words: words in all[name.replace(" ", "-")], 15, f"{name}: the reason")
            assert found
        assert relay.get("/readyz")[0] == 503
    finally:
        for server in servers.values():
            server.stop()


def test_a_server_that_speaks_no_tls_is_told_from_one_that_does(folder, trust):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer():
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                peer.close()

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        relay = Relay(
            folder, "edge", trust, policy=edge_policy(), sources=[
                {"name": "central", "upstream": {"addresses": [f"127.0.0.1:{port}"], "spiffeID": trust.id(PEER)}}]
        ).start(ready=False)
        eventually(
            lambda: relay.status["sources"][0]["lastError"] or "", lambda text: "plaintext" in text, 10, "the reason")
