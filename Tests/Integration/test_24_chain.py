"""Five tiers in a chain, and kill -9 at random moments: what the last tier serves is the truth, and never less.

Method: one manifest grows by counted steps while any tier but the last dies and comes back; a client of each
dialect at the last tier must see the steps in order, never a step back, and end at the last one. The seed is in the
test's name. MESHRELAY_SEED replays another one, MESHRELAY_KILLS says how often something dies (`make soak`).
"""

import os
import random
import time

import pytest
from harness import bodies
from harness.ads import Delta, StateOfTheWorld
from harness.relay import Relay
from harness.tiers import relays_only
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL, virtual_service

SEEDS = [int(os.environ["MESHRELAY_SEED"])] if "MESHRELAY_SEED" in os.environ else [7]
KILLS = int(os.environ.get("MESHRELAY_KILLS", "8"))
NODES = ["tier-0", "tier-1", "tier-2", "tier-3", "tier-4"]
OBJECTS = 5


@pytest.fixture
def chain(folder):
    """Relays from the origin to the edge; each keeps its state."""
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    manifests.mkdir()
    everything = {"name": "client", "identities": ["spiffe://example.org/cluster/all/istiod"], "allow": [{}]}
    relays = []
    for index, node in enumerate(NODES):
        below = NODES[index + 1:index + 2]
        sources = (
            [relays[-1].as_upstream(protocol="delta")] if relays
            else [{"name": "files", "directory": {"path": str(manifests)}}])
        relays.append(
            Relay(
                folder, node, trust, sources=sources, state=str(folder / node / "state"), brake={"removes": "100%"},
                policy={"clusters": (relays_only(*below)["clusters"] if below else []) + [everything]}))
    return trust, manifests, relays


def write(manifests, step):
    """All objects at one step, in one file, replaced as a whole."""
    text = "---\n".join(virtual_service(f"object-{n}", f"step-{step}.example.org") for n in range(OBJECTS))
    fresh = manifests / ".fresh"
    fresh.write_text(text)
    fresh.rename(manifests / "objects.yaml")


def step_of(resource):
    return int(bodies.decode_any(resource.body).hosts[0].split(".")[0].removeprefix("step-"))


def steps(response):
    """The steps a state of the world response shows."""
    return {step_of(resource) for resource in bodies.envelopes(response).values()}


@pytest.mark.parametrize("seed", SEEDS)
def test_five_tiers_carry_every_change_through_crashes(chain, seed):
    trust, manifests, relays = chain
    rng = random.Random(seed)
    write(manifests, 0)
    for relay in relays:
        relay.start(ready=False)
    for relay in relays:
        relay.wait_ready()
    edge = relays[-1]
    assert [hop["node"] for hop in edge.status["snapshot"]["path"]] == NODES[:-1]
    svid = trust.issue("cluster/all/istiod")
    with StateOfTheWorld(edge.address, svid, trust.bundle) as whole, Delta(edge.address, svid, trust.bundle) as delta:
        whole.subscribe(TYPE_URL)
        delta.subscribe(TYPE_URL)
        whole.wait_for(TYPE_URL)
        step = 0
        for _ in range(KILLS):
            step += 1
            write(manifests, step)
            time.sleep(rng.random() * 0.3)
            victim = rng.choice(relays[:-1])
            victim.kill()
            time.sleep(rng.random() * 0.3)
            victim.start(ready=False)
        step += 1
        write(manifests, step)
        whole.wait_for(TYPE_URL, lambda response: steps(response) == {step}, timeout=60)
        shown = [steps(response) for response in whole.of_type(TYPE_URL)]
        assert all(len(each) == 1 for each in shown), f"seed {seed}: no response mixes moments: {shown}"
        order = [each.pop() for each in shown]
        assert order == sorted(order), f"seed {seed}: nothing goes back: {order}"
        eventually(
            lambda: {step_of(bodies.decode_envelope(r.resource)) for m in delta.of_type(TYPE_URL)[-1:] for r in m.resources},
            lambda found: found == {step}, 10, f"seed {seed}: the delta client ends at {step}")
        assert whole.end_state is None and delta.end_state is None, "the edge never lost its clients"
    assert len({relay.status["snapshot"]["version"] for relay in relays}) == 1
    # Delivered is delivered: the store of a tier that died in the middle is whole.
    for relay in relays:
        assert "set aside" not in relay.log and "cannot be used" not in relay.log, relay.name
