"""Bad certificates in both directions, each refused with its reason.

Method: every kind of bad certificate, shown by OpenSSL: as a client to a relay, and as an upstream that a relay dials.
Named are the label of the metric, and the words in the log, in the audit log, and in the source's status.
"""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from harness.ads import StateOfTheWorld
from harness.relay import Relay, free_port
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import DNS_NAME, TrustDomain
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, virtual_service

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


def audited(folder, trust, sources):
    """A relay that records, not yet started."""
    return Relay(
        folder, "edge", trust, sources=sources, policy=edge_policy(),
        audit={"path": str(folder / "audit.jsonl")})


def records(folder, event):
    """What the audit log holds of one event, by a reader that is not ours."""
    lines = (folder / "audit.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


def show(relay, trust, svid):
    """One handshake of OpenSSL's client and a preface behind it; what it heard beyond TLS."""
    return subprocess.run(
        ["openssl", "s_client", "-connect", relay.address, "-CAfile", trust.bundle, "-cert", svid.certificate,
         "-key", svid.key, "-alpn", "h2", "-quiet", "-no_ign_eof"],
        input=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", capture_output=True, timeout=10).stdout


def handshakes(relay, result):
    return relay.metric("meshrelay_handshakes_total", result=result) or 0


def test_as_a_client(folder, trust):
    """Each is refused with its reason in the log, the audit log and the metric, and nobody else notices."""
    relay = audited(
        folder, trust, [{"name": "files", "directory": {"path": str(MANIFESTS)}}]).start()
    with StateOfTheWorld(relay.address, trust.issue("cluster/all/istiod"), trust.bundle) as witness:
        witness.subscribe(TYPE_URL)
        assert set(witness.sync(TYPE_URL)) == AT_START
        for name, (svid, result, words) in bad_certificates(trust, folder).items():
            before = handshakes(relay, result)
            lines, recorded = told(relay, words), len(matching(folder, words))
            assert show(relay, trust, svid) == b"", name
            eventually(
                lambda: handshakes(relay, result), lambda now: now == before + 1, 5, f"{name}: handshakes_total {result}")
            eventually(lambda: told(relay, words), lambda now: now == lines + 1, 5, f"{name}: the reason in the log")
            eventually(
                lambda: len(matching(folder, words)), lambda now: now == recorded + 1, 5, f"{name}: the reason in the audit")
        assert witness.end_state is None
    assert all(record["address"].startswith("127.0.0.1:") for record in records(folder, "refuse"))


def told(relay, words):
    """Lines of the log about failed handshakes with these words."""
    return sum("handshake failed" in line and words in line for line in relay.log.splitlines())


def matching(folder, words):
    return [record for record in records(folder, "refuse") if words in record["reason"]]


@pytest.mark.slow
def test_a_flood_of_bad_certificates(folder, trust):
    """Hundreds at once: counted one by one, told a few times with the rest as a number, and a change passes by them."""
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    relay = audited(folder, trust, [{"name": "files", "directory": {"path": str(manifests)}}]).start()
    kinds = [svid for svid, _, _ in bad_certificates(trust, folder).values()][:4]
    count, attackers = 400, 8
    contexts = []
    for svid in kinds:
        context = ssl.create_default_context(cafile=trust.bundle)
        context.load_cert_chain(svid.certificate, svid.key)
        context.set_alpn_protocols(["h2"])
        contexts.append(context)

    def attack(number):
        for turn in range(count // attackers):
            try:
                with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as plain:
                    with contexts[(number + turn) % len(contexts)].wrap_socket(plain, server_hostname=DNS_NAME) as tls:
                        tls.recv(1)
            except OSError:
                pass

    def failures():
        return sum(handshakes(relay, result) for result in ("untrusted", "expired", "bad_id"))

    begun = time.monotonic()
    with StateOfTheWorld(relay.address, trust.issue("cluster/all/istiod"), trust.bundle) as witness:
        witness.subscribe(TYPE_URL)
        witness.wait_for(TYPE_URL)
        threads = [threading.Thread(target=attack, args=(number,), daemon=True) for number in range(attackers)]
        for thread in threads:
            thread.start()
        turn = 0
        while any(thread.is_alive() for thread in threads):
            mark = witness.mark
            (manifests / "during.yaml").write_text(virtual_service(f"turn-{turn}"))
            witness.wait_for_names(TYPE_URL, AT_START | {f"shop/turn-{turn}"}, since=mark, timeout=20)
            # And who comes now is let in.
            with StateOfTheWorld(relay.address, trust.issue("cluster/shop/istiod"), trust.bundle) as late:
                late.subscribe(TYPE_URL)
                late.wait_for(TYPE_URL, timeout=20)
            turn += 1
        assert turn > 0 and witness.end_state is None
    eventually(failures, lambda now: now == count, 10, "each is counted")
    lines = relay.log.count("handshake failed")
    # Three of a kind a minute, and one more that says how many were left out.
    minutes = 1 + int((time.monotonic() - begun) / 60)
    assert 4 <= lines <= 4 * len(kinds) * minutes, f"{lines} lines of {count} failures"
    eventually(lambda: len(records(folder, "refuse")), lambda written: written == lines, 5, "as many records as lines")
    # The end says how many were left out; while it runs, a minute does.
    relay.terminate()
    refused = records(folder, "refuse")
    told = [record for record in refused if "omitted" not in record]
    assert len(told) + sum(record["omitted"] for record in refused if "omitted" in record) == count


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
    kinds["somebody else"] = (trust.issue("mcp/other"), "wrong_id", f"must be {trust.id(PEER)}")
    servers = {name: Server(svid, trust) for name, (svid, _, _) in kinds.items()}
    try:
        sources = [
            {"name": name.replace(" ", "-"),
             "upstream": {"addresses": [f"127.0.0.1:{servers[name].port}"], "spiffeID": trust.id(PEER)}}
            for name in kinds]
        relay = audited(folder, trust, sources).start(ready=False)

        def errors():
            return {source["name"]: source["lastError"] or "" for source in relay.status["sources"]}

        for name, (_, _, words) in kinds.items():
            found = eventually(
                errors, lambda all, name=name, words=words: words in all[name.replace(" ", "-")], 15, f"{name}: the reason")
            assert found
            source = name.replace(" ", "-")
            eventually(
                lambda source=source, words=words: [
                    record for record in records(folder, "source") if record["source"] == source and words in record["reason"]],
                bool, 5, f"{name}: the reason in the audit")
            assert any(f"source={source}" in line and words in line for line in relay.log.splitlines()), name
        for result in {result for _, result, _ in kinds.values()}:
            least = sum(each == result for _, each, _ in kinds.values())
            eventually(
                lambda result=result: handshakes(relay, result), lambda now, least=least: now >= least, 10,
                f"handshakes_total {result}")
        assert handshakes(relay, "ok") == 0
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
