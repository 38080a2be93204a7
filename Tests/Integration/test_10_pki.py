"""The development trust domain of pki/: what it issues works, and what it issues to be refused is refused; the walks
through rotation, intermediates and federation of its README; the entries for SPIRE.
"""

import os
import pathlib
import re
import ssl
import subprocess

import pytest
from harness.ads import StateOfTheWorld
from harness.relay import ROOT, Relay, free_port
from harness.tiers import MANIFESTS
from harness.trust import SVID
from harness.waiting import eventually
from test_02_identity import bytes_before_refusal
from test_03_changes import AT_START, TYPE_URL


class ScriptedTrust:
    """The same shape as harness.trust.TrustDomain, made by the project's scripts."""

    def __init__(self, folder, name="example.org"):
        self.folder = folder
        self.name = name
        self._run("make-trust-domain", folder, self.name)
        self.bundle = folder / "bundle.pem"

    @classmethod
    def below(cls, parent, folder):
        """An intermediate authority."""
        trust = cls.__new__(cls)
        trust.folder, trust.name, trust.bundle = folder, parent.name, folder / "bundle.pem"
        cls._run("make-intermediate", parent.folder, folder)
        return trust

    def id(self, path):
        return f"spiffe://{self.name}/{path}"

    def issue(self, path, folder=None):
        name = path.replace("/", "-")
        self._run("issue-svid", self.folder, self.id(path), name, "--dns", "localhost")
        return self._svid(self.id(path), name)

    def issue_bad(self, kind):
        self._run("issue-bad", self.folder, kind, kind)
        return self._svid(kind, kind)

    def _svid(self, uri, name):
        return SVID(uri, self.folder / f"{name}.pem", self.folder / f"{name}.key")

    @staticmethod
    def _run(command, *arguments):
        subprocess.run([ROOT / "pki" / command, *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def relay(folder):
    trust = ScriptedTrust(folder / "pki")
    policy = {"clusters": [{"name": "a", "identities": [trust.id("cluster/a/istiod")], "allow": [{}]}]}
    sources = [{"name": "files", "directory": {"path": str(MANIFESTS)}}]
    return Relay(folder, "origin", trust, sources=sources, policy=policy).start()


def test_what_the_scripts_issue_is_accepted_on_both_sides(relay):
    svid = relay.trust.issue("cluster/a/istiod")
    with StateOfTheWorld(relay.address, svid, relay.trust.bundle) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START


def test_what_the_scripts_issue_to_be_refused_is_refused(relay):
    for kind in ("expired", "two-uris", "no-uri", "ca-leaf", "foreign", "stranger", "wrong-eku"):
        received, how = bytes_before_refusal(
            relay.address, relay.trust.issue_bad(kind), relay.trust.bundle, ssl.TLSVersion.TLSv1_3)
        assert received == b"", f"{kind}: {len(received)} bytes before the refusal ({how})"


def test_intermediates_below_one_another(relay):
    """The chain travels with the SVID; OpenSSL's own verifier agrees."""
    issuing = ScriptedTrust.below(ScriptedTrust.below(relay.trust, relay.folder / "one"), relay.folder / "two")
    svid = issuing.issue("cluster/a/istiod")
    assert svid.certificate.read_text().count("BEGIN CERTIFICATE") == 3
    chain = relay.folder / "chain.pem"
    chain.write_text(svid.certificate.read_text())
    verified = subprocess.run(
        ["openssl", "verify", "-CAfile", relay.trust.bundle, "-untrusted", chain, svid.certificate],
        capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
    with StateOfTheWorld(relay.address, svid, relay.trust.bundle) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
    # The other way round: what the relay shows leads to the root, for a client that has nothing else.
    own = issuing.issue("relay/origin")
    os.replace(own.key, relay.svid.key)
    os.replace(own.certificate, relay.svid.certificate)
    eventually(lambda: relay.log.count("identity loaded"), lambda count: count == 2, 5, "the SVID with its chain")
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", relay.address, "-CAfile", relay.trust.bundle, "-verify_return_error", "-cert",
         svid.certificate, "-cert_chain", chain, "-key", svid.key, "-alpn", "h2", "-showcerts"],
        input=b"", capture_output=True, timeout=10)
    assert b"Verify return code: 0 (ok)" in shown.stdout and shown.stdout.count(b"BEGIN CERTIFICATE") == 3


@pytest.mark.slow
def test_the_walk_through_rotation(relay):
    """`pki/rotate` on the relay's own files: new SVIDs all the time, and the client stays; then its authority goes."""
    svid = relay.trust.issue("cluster/a/istiod")
    with StateOfTheWorld(relay.address, svid, relay.trust.bundle) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        connected = relay.status["clients"][0]["connectedAt"]
        rotating = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", ROOT / "pki" / "rotate", relay.trust.folder, relay.svid.uri, "relay-origin",
             "--every", "1", "--dns", "localhost"], stdout=subprocess.DEVNULL)
        try:
            eventually(lambda: relay.log.count("identity loaded"), lambda count: count >= 4, 20, "three rotations")
        finally:
            rotating.kill()
            rotating.wait()
        assert client.end_state is None and relay.status["clients"][0]["connectedAt"] == connected
        # The authority's successor: both are published, then the old one is taken out.
        successor = ScriptedTrust(relay.folder / "successor")
        old = relay.trust.bundle.read_text()
        relay.trust.bundle.write_text(old + successor.bundle.read_text())
        eventually(lambda: relay.log.count("bundles loaded"), lambda count: count == 2, 5, "both authorities")
        before = relay.log.count("identity loaded")
        renewed = successor.issue("relay/origin")
        os.replace(renewed.key, relay.svid.key)
        os.replace(renewed.certificate, relay.svid.certificate)
        eventually(lambda: relay.log.count("identity loaded"), lambda count: count > before, 5, "the successor's SVID")
        assert client.end_state is None
        relay.trust.bundle.write_text(successor.bundle.read_text())
        client.wait_for_end(timeout=6)


@pytest.mark.slow
def test_the_walk_through_federation(folder):
    """openssl publishes the document that pki/bundle-document prints; the relay asks it, and serves the partner's cluster."""
    trust, partner = ScriptedTrust(folder / "pki"), ScriptedTrust(folder / "partner", "partner.org")
    ScriptedTrust._run("issue-svid", partner.folder, "spiffe://partner.org/spire/server", "server", "--dns", "localhost")

    def document(*folders):
        return subprocess.run(
            [ROOT / "pki" / "bundle-document", *folders, "--hint", "5", "--sequence", str(len(folders))],
            check=True, capture_output=True).stdout

    (partner.folder / "bundle.json").write_bytes(document(partner.folder))
    port = free_port()
    publisher = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", "server.pem",
         "-key", "server.key", "-WWW"], cwd=partner.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        policy = {"clusters": [{"name": "p", "identities": ["spiffe://partner.org/*"], "allow": [{}]}]}
        relay = Relay(
            folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}], policy=policy)
        relay.configuration["identity"]["bundles"]["partner.org"] = str(partner.bundle)
        relay.configuration["identity"]["federation"] = [
            {"trustDomain": "partner.org", "url": f"https://127.0.0.1:{port}/bundle.json", "profile": "https_spiffe",
             "spiffeID": "spiffe://partner.org/spire/server"}]
        relay.write_configuration()
        relay.start()
        # A second authority joins in the document alone.
        second = ScriptedTrust(folder / "second", "partner.org")
        (partner.folder / "bundle.json").write_bytes(document(partner.folder, second.folder))

        def is_served():
            with StateOfTheWorld(relay.address, second.issue("cluster/p/istiod"), trust.bundle) as client:
                client.subscribe(TYPE_URL)
                try:
                    return set(client.sync(TYPE_URL)) == AT_START
                except AssertionError:
                    return False

        eventually(is_served, bool, 30, "a client of the authority that only the document names")
    finally:
        publisher.kill()
        publisher.wait()


def test_the_entries_for_spire(folder):
    """pki/spire/register against a spire-server that only notes what it is asked."""
    (folder / "spire-server").write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n')
    (folder / "spire-server").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    register = ROOT / "pki" / "spire" / "register"
    subprocess.run([register, "td.example", "partner.org"], check=True, env=environment)
    asked = (folder / "asked").read_text().splitlines()
    socket = re.search(r'socket_path = "([^"]+)"', (ROOT / "pki" / "spire" / "server.conf").read_text())[1]
    for line in asked:
        assert line.startswith(f"entry create -socketPath {socket} -parentID spiffe://td.example/host/"), line
        assert line.endswith("-federatesWith spiffe://partner.org"), line
    for identity in ("mcp/central", "mcp/region-1", "mcp/edge-1", "cluster/a/istiod"):
        assert any(f"-spiffeID spiffe://td.example/{identity} -selector unix:user:meshrelay" in line for line in asked)
    (folder / "asked").unlink()
    subprocess.run([register], check=True, env={**environment, "SPIRE_SERVER_SOCKET": "/s"})
    asked = (folder / "asked").read_text()
    assert "-socketPath /s -parentID spiffe://example.org/" in asked and "federatesWith" not in asked


def test_no_key_lies_in_the_tree():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [pathlib.Path(ROOT, name) for name in listed.stdout.splitlines()]
    # A marker alone may be a sample text; a key has lines of base64 below it.
    key = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{60}")
    guilty = [
        str(path) for path in files
        if path.is_file() and path.stat().st_size < 10**6 and key.search(path.read_text(errors="ignore"))]
    assert guilty == []
