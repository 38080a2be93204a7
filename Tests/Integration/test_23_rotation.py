"""Our own SVID is renewed again and again under load, and nobody notices.

Method: two tiers with an agent each that rotates both all the time, clients with open streams, and edits that keep
coming. No stream may end, no source may lose its step, every edit must arrive, and after every single rotation a new handshake
shows the new SVID, at both tiers, and never an older one than the handshake before. MESHRELAY_ROTATIONS says how often; 1,000
is the long form.
"""

import os
import shutil
import socket
import ssl
import time

import pytest
from cryptography import x509
from harness.ads import Delta, StateOfTheWorld
from harness.agent import Agent, entry
from harness.relay import Relay
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import DNS_NAME, TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL, virtual_service

ROTATIONS = int(os.environ.get("MESHRELAY_ROTATIONS", "25"))


def relay_of(folder, name, trust, agent, sources):
    policy = edge_policy()
    policy["clusters"].append({"name": "edge", "identities": [trust.id("relay/edge")], "allow": [{}]})
    relay = Relay(folder, name, trust, sources=sources, policy=policy)
    relay.configuration["identity"] = {"workloadAPI": agent.address}
    relay.write_configuration()
    return relay


class Witness:
    """Shakes hands again and again, and knows the SVIDs that were issued, in their order."""

    def __init__(self, trust):
        svid = trust.issue("cluster/all/istiod")
        self._context = ssl.create_default_context(cafile=trust.bundle)
        self._context.load_cert_chain(svid.certificate, svid.key)
        self._context.set_alpn_protocols(["h2"])
        # Relay → serial numbers, and the place among them of what was shown last.
        self._issued = {}
        self._shown = {}
        self.handshakes = 0

    def issued(self, name, svid):
        serial = x509.load_pem_x509_certificate(svid.certificate.read_bytes()).serial_number
        self._issued.setdefault(name, []).append(serial)
        return svid

    def meets_the_newest(self, relay):
        """Until a handshake shows the newest; none may show an older one than the one before it."""
        newest = len(self._issued[relay.name]) - 1
        eventually(lambda: self._meet(relay), lambda place: place == newest, 5, f"{relay.name} shows SVID {newest}")
        assert self._meet(relay) == newest

    def _meet(self, relay):
        with socket.create_connection(("127.0.0.1", relay.port), timeout=10) as plain:
            with self._context.wrap_socket(plain, server_hostname=DNS_NAME) as tls:
                certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
        self.handshakes += 1
        place = self._issued[relay.name].index(certificate.serial_number)
        assert place >= self._shown.get(relay.name, 0), f"{relay.name} went back to an SVID of before"
        self._shown[relay.name] = place
        return place


def test_rotation_under_load(folder, capsys):
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    witness = Witness(trust)
    with Agent(folder, "origin.sock") as above, Agent(folder, "edge.sock") as below:
        def rotate(agent, name):
            """The next one goes out after this one: none is skipped, because each answer is the full state."""
            before = agent.said
            agent.offer(entry(witness.issued(name, trust.issue(f"relay/{name}")), trust))
            if agent.calls:
                eventually(lambda: agent.said, lambda now: now > before, 10, "the answer is on its way")

        rotate(above, "origin")
        rotate(below, "edge")
        origin = relay_of(
            folder, "origin", trust, above, [{"name": "files", "directory": {"path": str(manifests)}}]).start()
        edge = relay_of(folder, "edge", trust, below, [origin.as_upstream()]).start()
        since = edge.status["sources"][0]["since"]
        clients = [
            kind(relay.address, trust.issue("cluster/all/istiod"), trust.bundle)
            for relay in (origin, edge) for kind in (StateOfTheWorld, Delta)]
        edits = 0
        try:
            for client in clients:
                client.subscribe(TYPE_URL)
                client.wait_for(TYPE_URL)
            for turn in range(ROTATIONS):
                rotate(above, "origin")
                rotate(below, "edge")
                if turn % 5 == 0:
                    marks = [client.mark for client in clients]
                    (manifests / f"new-{turn}.yaml").write_text(virtual_service(f"turn-{turn}"))
                    for client, mark in zip(clients, marks):
                        client.wait_for(
                            TYPE_URL, lambda response: f"turn-{turn}" in str(response), since=mark, timeout=20)
                    edits += 1
                    # Who comes now is served.
                    with StateOfTheWorld(edge.address, trust.issue("cluster/all/istiod"), trust.bundle) as late:
                        late.subscribe(TYPE_URL)
                        late.wait_for(TYPE_URL)
                for relay in (origin, edge):
                    witness.meets_the_newest(relay)
            for relay in (origin, edge):
                assert relay.log.count("identity loaded") == ROTATIONS + 1, "each was used, and each once"
            assert [client.end_state for client in clients] == [None] * len(clients)
            assert edge.status["sources"][0]["since"] == since, "the upstream stream was never lost"
            assert edge.status["sources"][0]["state"] == "synced"
            with capsys.disabled():
                print(
                    f"\n  {ROTATIONS} rotations at each of 2 tiers, {witness.handshakes} handshakes that showed the newest SVID, "
                    f"{edits} edits at {len(clients)} streams, none ended")
        finally:
            for client in clients:
                client.close()


@pytest.mark.slow
def test_a_stream_outlives_its_certificates(folder):
    """SVIDs of eight seconds on both sides, renewed every three: the stream between the tiers moves before either ends."""
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    with Agent(folder, "origin.sock") as above, Agent(folder, "edge.sock") as below:
        def rotate():
            for agent, path in ((above, "relay/origin"), (below, "relay/edge")):
                agent.offer(entry(trust.issue(path, to_hours=8 / 3600), trust))

        rotate()
        origin = relay_of(
            folder, "origin", trust, above, [{"name": "files", "directory": {"path": str(manifests)}}]).start()
        edge = relay_of(folder, "edge", trust, below, [origin.as_upstream()]).start()
        since = edge.status["sources"][0]["since"]
        with StateOfTheWorld(edge.address, trust.issue("cluster/all/istiod"), trust.bundle) as client:
            client.subscribe(TYPE_URL)
            client.wait_for(TYPE_URL)
            begun = time.monotonic()
            for turn in range(7):
                while time.monotonic() < begun + 3 * (turn + 1):
                    source = edge.status["sources"][0]
                    assert (source["state"], source["since"]) == ("synced", since), source
                    time.sleep(0.1)
                rotate()
                mark = client.mark
                (manifests / f"new-{turn}.yaml").write_text(virtual_service(f"turn-{turn}"))
                client.wait_for(TYPE_URL, lambda response: f"turn-{turn}" in str(response), since=mark, timeout=10)
            assert client.end_state is None
        connections = origin.log.count("client connected")
        assert connections >= 3, "the edge has dialled again before each end"
