"""Bad certificates in both directions, each refused with its reason.

Method: every kind of bad certificate, shown by OpenSSL: as a client to a relay, and as an upstream that a relay dials.
Named are the label of the metric, and the words in the log, in the audit log, and in the source's status. Then the whole
table of vectors for X.509-SVID validation (TrustTests/Vectors), made for now, in both directions.
"""

import base64
import datetime
import importlib.util
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from harness.ads import StateOfTheWorld
from harness.relay import ROOT, Relay, free_port
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import DNS_NAME, SVID, TrustDomain
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
def test_a_flood_of_bad_certificates(folder, trust, capsys):
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
        turn, took = 0, []
        while any(thread.is_alive() for thread in threads):
            mark, written = witness.mark, time.monotonic()
            (manifests / "during.yaml").write_text(virtual_service(f"turn-{turn}"))
            witness.wait_for_names(TYPE_URL, AT_START | {f"shop/turn-{turn}"}, since=mark, timeout=20)
            took.append(time.monotonic() - written)
            # And who comes now is let in.
            with StateOfTheWorld(relay.address, trust.issue("cluster/shop/istiod"), trust.bundle) as late:
                late.subscribe(TYPE_URL)
                late.wait_for(TYPE_URL, timeout=20)
            turn += 1
        flood = time.monotonic() - begun
        assert turn > 0 and witness.end_state is None
    with capsys.disabled():
        print(
            f"\n  {count / flood:.0f} bad handshakes/s from {attackers} clients; a change took "
            f"{sorted(took)[len(took) // 2] * 1000:.0f} ms to a client, {max(took) * 1000:.0f} ms at most")
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


@pytest.mark.parametrize("version", ["-tls1_3", "-tls1_2"])
def test_good_ones_are_taken_in_both_directions(folder, trust, version):
    """OpenSSL's two programs, each with a verifier of its own, at either end of one relay."""
    port, upstream = free_port(), trust.issue(PEER)
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert",
         upstream.certificate, "-key", upstream.key, "-CAfile", trust.bundle, "-Verify", "3", "-verify_return_error",
         "-alpn", "h2", "-quiet", version], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        relay = audited(folder, trust, [
            {"name": "central", "upstream": {"addresses": [f"127.0.0.1:{port}"], "spiffeID": upstream.uri}}])
        relay.configuration["tls"] = {"minimum": "1.2"}
        relay.write_configuration()
        relay.start(ready=False)
        # s_server prints what it decrypted, which it does only for a client whose certificate it took.
        heard = b""
        while b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" not in heard:
            piece = server.stdout.read1()
            assert piece, f"the server ended: {heard}"
            heard += piece
        eventually(lambda: handshakes(relay, "ok"), lambda count: count == 1, 5, "the handshake of our own dial")
        client = trust.issue("cluster/all/istiod")
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "openssl", "s_client", "-connect", relay.address, "-CAfile", trust.bundle,
             "-verify_return_error", "-cert", client.certificate, "-key", client.key, "-alpn", "h2", "-quiet", version],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            process.stdin.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
            process.stdin.flush()
            assert process.stdout.read1()[3:4] == b"\x04", "the relay's SETTINGS"
        finally:
            process.kill()
            process.wait()
        eventually(lambda: handshakes(relay, "ok"), lambda count: count == 2, 5, "the handshake of the client")
    finally:
        server.kill()
        server.wait()


class Table:
    """The vectors as files that OpenSSL can show, and a relay that trusts what they are judged by."""

    name = "td.example"
    # Judged by other bundles than the rest, at another time, or no certificate that OpenSSL would load: rooms' tests.
    LEFT_OUT = {
        "no DER", "bytes after the certificate", "an empty bundle", "an expired anchor", "none of three anchors of one name",
        "a second after the last", "a second before the first"}

    def __init__(self, folder):
        path = ROOT / "Tests" / "TrustTests" / "Vectors" / "make.py"
        specification = importlib.util.spec_from_file_location("vectors", path)
        self._make = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(self._make)
        self.folder = folder / "vectors"
        self.folder.mkdir()
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        vectors, self._root, self._other = self._make.table(now)
        self.bundle = self._write("bundle.pem", self._pem(self._root.certificate))
        self.other = self._write("other.pem", self._pem(self._other.certificate))
        self.bad, left_out = [], set()
        for number, vector in enumerate(vectors):
            # Lists come from an agent, and this relay has none.
            if "result" not in vector["expect"] or "revocations" in vector:
                continue
            if vector["title"] in Table.LEFT_OUT:
                left_out.add(vector["title"])
            else:
                self.bad.append((number, vector, self._files(number, vector)))
        assert left_out == Table.LEFT_OUT, "a title has changed"

    def issue(self, path, folder=None):
        """A good SVID, for the relay and its clients."""
        uri = f"spiffe://{self.name}/{path}"
        leaf = self._root.issue([uri], dns=[DNS_NAME])
        name = path.replace("/", "-")
        return SVID(uri, self._write(f"{name}.pem", self._pem(leaf), folder), self._key(name, leaf, folder))

    def id(self, path):
        return f"spiffe://{self.name}/{path}"

    def _files(self, number, vector):
        """None: no certificate at all."""
        if not vector["chain"]:
            return None
        chain = [base64.b64decode(each) for each in vector["chain"]]
        # The certificates behind the leaf go into their own file; s_client and s_server send them as they are.
        rest = [x509.load_der_x509_certificate(each) for each in chain[1:]]
        files = [self._write(f"{number}.pem", self._der_to_pem(chain[0])), None, None]
        if rest:
            files[1] = self._write(f"{number}-rest.pem", b"".join(map(self._pem, rest)))
        # Where the first is an authority, its key is what shows it.
        files[2] = self._key(str(number), x509.load_der_x509_certificate(chain[0]))
        return files

    def _key(self, name, leaf, folder=None):
        key = self._make.KEYS[self._make.public(leaf)]
        path = self._write(f"{name}.key", key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()), folder)
        path.chmod(0o600)
        return path

    def _write(self, name, content, folder=None):
        path = (folder or self.folder) / name
        path.write_bytes(content)
        return path

    @staticmethod
    def _pem(certificate):
        return certificate.public_bytes(serialization.Encoding.PEM)

    @staticmethod
    def _der_to_pem(der):
        # As bytes, because some signatures do not fit and some names are none.
        return (b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n")


@pytest.fixture
def table(folder):
    return Table(folder)


def relay_of_table(folder, table, sources):
    policy = {"clusters": [
        {"name": "all", "identities": ["spiffe://td.example/cluster/*"], "allow": [{}]},
        {"name": "other", "identities": ["spiffe://other.example/*", "spiffe://unknown.example/*"], "allow": [{}]}]}
    relay = Relay(
        folder, "edge", table, sources=sources, policy=policy, audit={"path": str(folder / "audit.jsonl")})
    relay.configuration["identity"]["bundles"]["other.example"] = str(table.other)
    relay.write_configuration()
    return relay


def arguments_of(files):
    if files is None:
        return []
    leaf, rest, key = files
    return ["-cert", leaf, "-key", key, *(["-cert_chain", rest] if rest else [])]


def test_the_whole_table_as_clients(folder, table):
    """Each from an address of its own, so that its line and its record are found by it."""
    relay = relay_of_table(folder, table, [{"name": "files", "directory": {"path": str(MANIFESTS)}}]).start()
    shown = [each for each in table.bad if each[1]["role"] == "client"]
    assert len(shown) >= 45
    with StateOfTheWorld(relay.address, table.issue("cluster/a"), table.bundle) as witness:
        witness.subscribe(TYPE_URL)
        assert set(witness.sync(TYPE_URL)) == AT_START
        for number, vector, files in shown:
            result, address = vector["expect"]["result"], f"127.0.3.{number + 1}"
            before = handshakes(relay, result)
            heard = subprocess.run(
                ["openssl", "s_client", "-connect", relay.address, "-bind", f"{address}:0", "-CAfile", table.bundle,
                 *arguments_of(files), "-alpn", "h2", "-quiet", "-no_ign_eof"],
                input=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", capture_output=True, timeout=10)
            title = f"{vector['title']}: {heard.stderr[-200:]}"
            assert heard.stdout == b"", title
            eventually(lambda: handshakes(relay, result), lambda now: now == before + 1, 5, f"{title}: {result}")
            record = eventually(
                lambda: [each for each in records(folder, "refuse") if each["address"].startswith(address + ":")], bool, 5,
                f"{title}: the record")[0]
            reason = record["reason"].removeprefix("handshake failed: ")
            assert len(reason) > 20, title
            eventually(
                lambda: [line for line in relay.log.splitlines() if f"address={address}:" in line and reason[:60] in line],
                lambda lines: len(lines) == 1, 5, f"{title}: the line with {reason}")
        assert witness.end_state is None


@pytest.mark.slow
def test_the_whole_table_as_upstreams(folder, table):
    """All at once, each a source of its own, while what is good is served and changes."""
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    servers, kinds = {}, {}
    for number, vector, files in table.bad:
        # Without a certificate nobody can be a server of TLS 1.3; a purpose is of one role.
        if files is None or (vector["rule"] == 6 and vector["role"] == "client" and "code" not in vector["title"]):
            continue
        port = free_port()
        kinds[f"v{number}"] = vector
        servers[port] = f"v{number}", subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "openssl", "s_server", "-accept", f"127.0.0.1:{port}", *arguments_of(files),
             "-CAfile", table.bundle, "-Verify", "3", "-alpn", "h2", "-quiet"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert len(kinds) >= 45
    try:
        # What they could supply is not what the witness asks for, so that nothing waits for them.
        sources = [{"name": "files", "directory": {"path": str(manifests)}}] + [
            {"name": name, "only": {"types": ["security.istio.io/RequestAuthentication"]},
             "upstream": {"addresses": [f"127.0.0.1:{port}"], "spiffeID": "spiffe://td.example/ns/a/sa/b"}}
            for port, (name, _) in servers.items()]
        relay = relay_of_table(folder, table, sources).start(ready=False)
        with StateOfTheWorld(relay.address, table.issue("cluster/a"), table.bundle) as witness:
            witness.subscribe(TYPE_URL)
            assert set(witness.sync(TYPE_URL)) == AT_START
            turn = 0

            def reasons():
                """And one more change that passes by them all."""
                nonlocal turn
                turn, mark = turn + 1, witness.mark
                (manifests / "during.yaml").write_text(virtual_service(f"turn-{turn}"))
                witness.wait_for_names(TYPE_URL, AT_START | {f"shop/turn-{turn}"}, since=mark, timeout=5)
                return {each["name"]: each["lastError"] for each in relay.status["sources"] if each["name"] in kinds}

            found = eventually(
                reasons, lambda told: all(text and "refused (" in text for text in told.values()), 30, "every reason")
            assert witness.end_state is None
        log = relay.log
        recorded = records(folder, "source")
        for name, vector in kinds.items():
            reason = found[name].partition("refused (")[2]
            assert any(line.endswith(f"source={name}") and reason[:40] in line for line in log.splitlines()), (vector, reason)
            assert any(each["source"] == name and reason[:40] in each["reason"] for each in recorded), (vector, reason)
        for result in ("bad_id", "untrusted", "expired"):
            least = sum(vector["expect"]["result"] == result for vector in kinds.values())
            eventually(lambda: handshakes(relay, result), lambda now: now >= least, 15, f"handshakes_total {result}")
    finally:
        for _, process in servers.values():
            process.kill()
            process.wait()
