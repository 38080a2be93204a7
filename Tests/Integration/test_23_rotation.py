"""Our own SVID is renewed again and again under load, and nobody notices.

Method: two tiers with an agent each that rotates both all the time, clients with open streams, and edits that keep
coming. No stream may end, no source may lose its step, every edit must arrive. MESHRELAY_ROTATIONS says how often; 1,000
is the long form.
"""

import os
import shutil
import time

import pytest
from harness.ads import Delta, StateOfTheWorld
from harness.agent import Agent, entry
from harness.relay import Relay
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import TrustDomain
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


def test_rotation_under_load(folder):
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    with Agent(folder, "origin.sock") as above, Agent(folder, "edge.sock") as below:
        def rotate(agent, path):
            """The next one goes out after this one: none is skipped, because each answer is the full state."""
            before = agent.said
            agent.offer(entry(trust.issue(path), trust))
            if agent.calls:
                eventually(lambda: agent.said, lambda now: now > before, 10, "the answer is on its way")

        rotate(above, "relay/origin")
        rotate(below, "relay/edge")
        origin = relay_of(
            folder, "origin", trust, above, [{"name": "files", "directory": {"path": str(manifests)}}]).start()
        edge = relay_of(folder, "edge", trust, below, [origin.as_upstream()]).start()
        since = edge.status["sources"][0]["since"]
        clients = [
            kind(relay.address, trust.issue("cluster/all/istiod"), trust.bundle)
            for relay in (origin, edge) for kind in (StateOfTheWorld, Delta)]
        try:
            for client in clients:
                client.subscribe(TYPE_URL)
                client.wait_for(TYPE_URL)
            for turn in range(ROTATIONS):
                rotate(above, "relay/origin")
                rotate(below, "relay/edge")
                if turn % 5 == 0:
                    marks = [client.mark for client in clients]
                    (manifests / f"new-{turn}.yaml").write_text(virtual_service(f"turn-{turn}"))
                    for client, mark in zip(clients, marks):
                        client.wait_for(
                            TYPE_URL, lambda response: f"turn-{turn}" in str(response), since=mark, timeout=20)
                    # Who comes now meets the newest SVID.
                    with StateOfTheWorld(edge.address, trust.issue("cluster/all/istiod"), trust.bundle) as late:
                        late.subscribe(TYPE_URL)
                        late.wait_for(TYPE_URL)
                else:
                    time.sleep(0.02)
            newest = [relay.log.count("identity loaded") for relay in (origin, edge)]
            eventually(
                lambda: [relay.log.count("identity loaded") for relay in (origin, edge)],
                lambda counts: min(counts) >= ROTATIONS, 10, f"rotations seen, {newest}")
            assert [client.end_state for client in clients] == [None] * len(clients)
            assert edge.status["sources"][0]["since"] == since, "the upstream stream was never lost"
            assert edge.status["sources"][0]["state"] == "synced"
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
