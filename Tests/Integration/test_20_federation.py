"""Bundles of other trust domains from their bundle endpoints.

Method: an HTTPS server of Python's own, with an SVID or with a web certificate, that publishes, rotates, revokes, steps
back, redirects, breaks and dies; clients of the partner's trust domain show whom the relay trusts.
"""

import base64
import datetime
import http.server
import json
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from harness.ads import StateOfTheWorld
from harness.agent import Agent, der_bundle, entry
from harness.relay import Relay
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL


def document(*trust_domains, sequence=1, hint=5):
    """A SPIFFE bundle document with the authorities of these."""
    keys = [
        {"kty": "EC", "use": "x509-svid", "crv": "P-256", "x5c": [base64.b64encode(der_bundle(trust)).decode()]}
        for trust in trust_domains]
    return json.dumps({"keys": keys, "spiffe_sequence": sequence, "spiffe_refresh_hint": hint}).encode()


class Endpoint:
    """One HTTPS server; what it answers is the test's."""

    def __init__(self, certificate, key):
        self.answer = (200, {}, b"")
        self.asked = 0
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                endpoint.asked += 1
                status, headers, body = endpoint.answer
                if "hop" in self.path:
                    status, headers, body = 200, {}, endpoint.behind
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def publish(self, body, status=200, **headers):
        self.answer = (status, headers, body)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def trust(folder):
    return TrustDomain(folder / "trust")


@pytest.fixture
def partner(folder):
    return TrustDomain(folder / "partner", "partner.example")


def relay_of(folder, trust, federation, bundles=None, **settings):
    policy = edge_policy()
    policy["clusters"].append(
        {"name": "partner", "identities": ["spiffe://partner.example/*"], "allow": [{"namespaces": ["shop"]}]})
    relay = Relay(
        folder, "edge", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}], policy=policy)
    relay.configuration["identity"]["bundles"].update(bundles or {})
    if federation:
        relay.configuration["identity"]["federation"] = federation
    relay.configuration["identity"].update(settings)
    relay.write_configuration()
    return relay


def trusted(relay):
    return relay.status["identity"]["trustDomains"]


def warnings(relay):
    return " ".join(relay.status["identity"]["warnings"])


def is_served(relay, trust, svid):
    with StateOfTheWorld(relay.address, svid, trust.bundle) as client:
        client.subscribe(TYPE_URL)
        try:
            client.wait_for(TYPE_URL, timeout=3)
            return True
        except AssertionError:
            return False


@pytest.mark.slow
def test_a_partner_that_publishes_its_own_bundle(folder, trust, partner):
    """https_spiffe: begun with a file, then by what it published last: its own rotation included."""
    server = partner.issue("spire/server")
    endpoint = Endpoint(server.certificate, server.key)
    try:
        endpoint.publish(document(partner))
        edge = relay_of(
            folder, trust,
            [{"trustDomain": "partner.example", "url": f"https://127.0.0.1:{endpoint.port}/bundle",
              "profile": "https_spiffe", "spiffeID": server.uri}],
            bundles={"partner.example": str(partner.bundle)}).start()
        assert is_served(edge, trust, partner.issue("istiod"))
        # A second authority joins; the next document has both, and peers of either are served.
        successor = TrustDomain(folder / "successor", "partner.example")
        eventually(lambda: endpoint.asked, lambda asked: asked > 0, 10, "the first fetch")
        endpoint.publish(document(partner, successor, sequence=2))
        newcomer = successor.issue("istiod")
        eventually(lambda: is_served(edge, trust, newcomer), lambda served: served, 15, "the second authority")
        with StateOfTheWorld(edge.address, partner.issue("istiod"), trust.bundle) as client:
            client.subscribe(TYPE_URL)
            client.wait_for(TYPE_URL)
            # A lagging replica: not believed, and told.
            endpoint.publish(document(partner, sequence=1))
            eventually(lambda: warnings(edge), lambda text: "sequence 1 after 2" in text, 15, "a warning")
            assert is_served(edge, trust, newcomer)
            # Nonsense and errors take nothing away.
            endpoint.publish(b"<html>")
            eventually(lambda: warnings(edge), lambda text: "cannot be used" in text, 15, "a warning")
            assert client.end_state is None
            # The first authority goes, and its peers with it.
            endpoint.publish(document(successor, sequence=3))
            client.wait_for_end(timeout=15)
        assert is_served(edge, trust, newcomer)
    finally:
        endpoint.stop()


def test_only_the_named_workload_may_publish(folder, trust, partner):
    other = partner.issue("somebody/else")
    endpoint = Endpoint(other.certificate, other.key)
    try:
        endpoint.publish(document(partner))
        edge = relay_of(
            folder, trust,
            [{"trustDomain": "partner.example", "url": f"https://127.0.0.1:{endpoint.port}/bundle",
              "profile": "https_spiffe", "spiffeID": partner.id("spire/server")}],
            bundles={"partner.example": str(partner.bundle)}).start()
        eventually(lambda: warnings(edge), lambda text: "must be spiffe://partner.example/spire/server" in text, 10, "a warning")
        assert endpoint.asked == 0, "nothing is asked before the server is verified"
    finally:
        endpoint.stop()


def test_what_an_endpoint_published_outlives_the_process(folder, trust, partner):
    """The endpoint is gone for good: known after a restart, by the same configuration only, and only as it was written."""
    server = trust.issue("spire/server")
    endpoint = Endpoint(server.certificate, server.key)
    endpoint.publish(document(partner, sequence=7))
    federation = [
        {"trustDomain": "partner.example", "url": f"https://127.0.0.1:{endpoint.port}/bundle",
         "profile": "https_spiffe", "spiffeID": server.uri}]
    state = folder / "state"
    edge = relay_of(folder, trust, federation)
    edge.configuration["state"] = str(state)
    edge.write_configuration()
    try:
        edge.start()
        kept = state / "bundles" / "partner.example"
        eventually(kept.exists, bool, 10, "the kept bundle")
        assert kept.stat().st_mode & 0o777 == 0o600 and kept.parent.stat().st_mode & 0o777 == 0o700
        assert '"sequence":7' in kept.read_text()
    finally:
        endpoint.stop()
    edge.kill()
    edge.start()
    newest = partner.issue("istiod")
    eventually(lambda: is_served(edge, trust, newest), bool, 15, "the partner, by the kept bundle")
    assert "a kept bundle is used until its endpoint answers" in edge.log
    eventually(lambda: warnings(edge), lambda text: "in use is what it published before" in text, 15, "a warning")
    # Somebody writes into it: set aside and told, and nobody of the partner is let in.
    edge.kill()
    good = kept.read_bytes()
    stranger = TrustDomain(folder / "stranger", "partner.example")
    kept.write_bytes(good.replace(
        base64.b64encode(der_bundle(partner)), base64.b64encode(der_bundle(stranger))))
    assert kept.read_bytes() != good
    edge.start()
    eventually(lambda: warnings(edge), lambda text: "its hash is wrong" in text, 10, "a warning")
    assert not is_served(edge, trust, stranger.issue("istiod")) and not is_served(edge, trust, newest)
    assert (kept.parent / "partner.example.aside").exists() and not kept.exists()
    # Another URL: what the first one published is none of ours.
    edge.kill()
    kept.write_bytes(good)
    kept.chmod(0o600)
    federation[0]["url"] = federation[0]["url"].replace("/bundle", "/other")
    edge.write_configuration()
    edge.start()
    eventually(lambda: warnings(edge), lambda text: "gives no bundle" in text, 10, "a warning")
    assert "partner.example" not in trusted(edge)
    # Named no more: forgotten.
    edge.kill()
    del edge.configuration["identity"]["federation"]
    edge.write_configuration()
    edge.start()
    eventually(lambda: kept.exists(), lambda there: not there, 10, "the file is gone")


def test_a_kept_bundle_gives_way_to_a_newer_file(folder, trust, partner):
    """The file to begin with is older than what was fetched; one that the operator writes afterwards is newer."""
    second, third = TrustDomain(folder / "second", "partner.example"), TrustDomain(folder / "third", "partner.example")
    server = trust.issue("spire/server")
    endpoint = Endpoint(server.certificate, server.key)
    endpoint.publish(document(second, sequence=7))
    edge = relay_of(
        folder, trust,
        [{"trustDomain": "partner.example", "url": f"https://127.0.0.1:{endpoint.port}/bundle",
          "profile": "https_spiffe", "spiffeID": server.uri}], bundles={"partner.example": str(partner.bundle)})
    edge.configuration["state"] = str(folder / "state")
    edge.write_configuration()
    first_svid, second_svid, third_svid = (each.issue("istiod") for each in (partner, second, third))
    try:
        edge.start()
        eventually(lambda: is_served(edge, trust, second_svid), bool, 10, "by what was fetched")
        eventually((folder / "state" / "bundles" / "partner.example").exists, bool, 10, "the kept bundle")
    finally:
        endpoint.stop()
    edge.kill()
    edge.start()
    eventually(lambda: is_served(edge, trust, second_svid), bool, 15, "by what was kept")
    assert not is_served(edge, trust, first_svid)
    partner.bundle.write_bytes(third.bundle.read_bytes())
    eventually(lambda: is_served(edge, trust, third_svid), bool, 15, "by the file that was written since")
    assert not is_served(edge, trust, second_svid)
    edge.kill()
    edge.start()
    eventually(lambda: is_served(edge, trust, third_svid), bool, 15, "the same after a restart")
    eventually(lambda: warnings(edge), lambda text: "has given way to a newer bundle" in text, 15, "a warning")
    assert not is_served(edge, trust, second_svid)


def test_a_file_may_be_a_bundle_document(folder, trust, partner):
    """SPIFFE's JSON for one trust domain beside PEM for another; replaced by PEM while it is watched."""
    bundle = folder / "partner.json"
    bundle.write_bytes(document(partner))
    edge = relay_of(folder, trust, [], bundles={"partner.example": str(bundle)}).start()
    assert trusted(edge) == ["example.org", "partner.example"]
    assert is_served(edge, trust, partner.issue("istiod"))
    successor = TrustDomain(folder / "successor", "partner.example")
    successor.bundle.rename(bundle)
    eventually(lambda: is_served(edge, trust, successor.issue("istiod")), bool, 10, "the successor")
    assert not is_served(edge, trust, partner.issue("istiod"))


def test_our_own_trust_domain_is_never_kept(folder, trust):
    server = trust.issue("spire/server")
    endpoint = Endpoint(server.certificate, server.key)
    try:
        endpoint.publish(document(TrustDomain(folder / "stranger", "example.org")))
        edge = relay_of(
            folder, trust,
            [{"trustDomain": "example.org", "url": f"https://127.0.0.1:{endpoint.port}/bundle",
              "profile": "https_spiffe", "spiffeID": server.uri}])
        edge.configuration["state"] = str(folder / "state")
        edge.write_configuration()
        edge.start()
        eventually(lambda: warnings(edge), lambda text: "our own trust domain" in text, 10, "a warning")
        assert not (folder / "state" / "bundles" / "example.org").exists()
        assert is_served(edge, trust, trust.issue("cluster/all/istiod"))
    finally:
        endpoint.stop()


def web_authority(folder):
    """A CA for web servers and a certificate for localhost by it."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(subject, key, issuer, signer, extensions):
        builder = (
            x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=5)))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = certificate(
        name("web CA"), ca_key, name("web CA"), ca_key, [(x509.BasicConstraints(ca=True, path_length=None), True)])
    leaf = certificate(
        name("localhost"), key, name("web CA"), ca_key,
        [(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False),
         (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)])
    pem = serialization.Encoding.PEM
    files = [folder / "web-ca.pem", folder / "web.pem", folder / "web.key"]
    files[0].write_bytes(ca.public_bytes(pem))
    files[1].write_bytes(leaf.public_bytes(pem))
    files[2].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


def test_a_web_server_that_publishes(folder, trust, partner, monkeypatch):
    """https_web: the authorities of the host and the name of the URL; a redirection; never our own trust domain."""
    ca, certificate, key = web_authority(folder)
    endpoint = Endpoint(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    try:
        def federation(host, domain="partner.example", path="/bundle"):
            return {"trustDomain": domain, "url": f"https://{host}:{endpoint.port}{path}", "profile": "https_web"}

        stranger = TrustDomain(folder / "stranger", "example.org")
        endpoint.behind = document(partner)
        endpoint.publish(b"", status=302, Location=f"https://localhost:{endpoint.port}/hop")
        edge = relay_of(folder, trust, [federation("localhost")]).start()
        eventually(lambda: trusted(edge), lambda names: "partner.example" in names, 10, "the partner's bundle")
        assert is_served(edge, trust, partner.issue("istiod"))
        # A redirection to plaintext is not followed; the name in the certificate must be that of the URL.
        endpoint.publish(b"", status=302, Location="http://localhost/hop")
        edge.configuration["identity"]["federation"] = [federation("localhost", path="/other")]
        edge.write_configuration()
        edge.reload()
        eventually(lambda: warnings(edge), lambda text: "redirects to" in text, 10, "a warning")
        assert "partner.example" not in trusted(edge), "what was published where nobody asks any more is gone"
        edge.configuration["identity"]["federation"] = [federation("127.0.0.1")]
        edge.write_configuration()
        edge.reload()
        eventually(lambda: warnings(edge), lambda text: "mismatch" in text, 10, "a warning")
        # Our own trust domain from an endpoint: told, and not believed.
        endpoint.publish(document(stranger))
        edge.configuration["identity"]["federation"] = [federation("localhost", domain="example.org")]
        edge.write_configuration()
        edge.reload()
        eventually(lambda: warnings(edge), lambda text: "our own trust domain" in text, 10, "a warning")
        assert not is_served(edge, trust, stranger.issue("cluster/all/istiod"))
        assert is_served(edge, trust, trust.issue("cluster/all/istiod"))
    finally:
        endpoint.stop()


def test_without_the_authority_a_web_server_is_nobody(folder, trust, partner, monkeypatch):
    _, certificate, key = web_authority(folder)
    endpoint = Endpoint(certificate, key)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    try:
        endpoint.publish(document(partner))
        edge = relay_of(
            folder, trust,
            [{"trustDomain": "partner.example", "url": f"https://localhost:{endpoint.port}/", "profile": "https_web"}]
        ).start()
        eventually(lambda: warnings(edge), lambda text: "gives no bundle" in text, 10, "a warning")
        assert endpoint.asked == 0
    finally:
        endpoint.stop()


def test_federation_beside_the_workload_api(folder, trust, partner):
    """The endpoint's word on a partner comes before the agent's."""
    server = trust.issue("spire/server")
    endpoint = Endpoint(server.certificate, server.key)
    agents_word = TrustDomain(folder / "old", "partner.example")
    try:
        endpoint.publish(document(partner))
        with Agent(folder) as agent:
            agent.offer(entry(trust.issue("relay/edge"), trust), federated={"partner.example": der_bundle(agents_word)})
            edge = relay_of(
                folder, trust,
                [{"trustDomain": "partner.example", "url": f"https://127.0.0.1:{endpoint.port}/",
                  "profile": "https_spiffe", "spiffeID": server.uri}])
            edge.configuration["identity"] = {
                "workloadAPI": agent.address, "federation": edge.configuration["identity"]["federation"]}
            edge.write_configuration()
            edge.start()
            newest = partner.issue("istiod")
            eventually(lambda: is_served(edge, trust, newest), lambda served: served, 15, "the endpoint's bundle")
            assert not is_served(edge, trust, agents_word.issue("istiod"))
    finally:
        endpoint.stop()
