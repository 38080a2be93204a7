"""The development trust domain of pki/: what it issues works, and what it issues to be refused is refused."""

import pathlib
import re
import ssl
import subprocess

import pytest
from harness.ads import StateOfTheWorld
from harness.relay import ROOT, Relay
from harness.tiers import MANIFESTS
from harness.trust import SVID
from test_02_identity import bytes_before_refusal
from test_03_changes import AT_START, TYPE_URL


class ScriptedTrust:
    """The same shape as harness.trust.TrustDomain, made by the project's scripts."""

    name = "example.org"

    def __init__(self, folder):
        self.folder = folder
        self._run("make-trust-domain", folder, self.name)
        self.bundle = folder / "bundle.pem"

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
