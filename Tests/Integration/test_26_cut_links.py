"""Goal: a tier whose link is cut, or loses what goes one way without a word, serves on, notices, and is in step again once
the link is back; no client loses anything or is told anything twice.

Method: three relays in network namespaces joined by cables; cables are cut, or made to lose one direction; a client of each
dialect at the edge sees counted steps. MESHRELAY_SEED replays a random order, MESHRELAY_CUTS says how often it is cut.
"""

import os
import random
import time

import pytest
from harness import bodies
from harness.ads import Delta, StateOfTheWorld
from harness.network import Network, obstacle
from harness.relay import Relay
from harness.tiers import edge_policy, relays_only
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL
from test_24_chain import step_of, steps, write

NAMES = ["origin", "region", "edge"]
SEEDS = [int(os.environ["MESHRELAY_SEED"])] if "MESHRELAY_SEED" in os.environ else [11]
CUTS = int(os.environ.get("MESHRELAY_CUTS", "4"))


@pytest.fixture
def chain(folder):
    reason = obstacle()
    if reason:
        print(f"skipped: {reason}")
        pytest.skip(reason)
    network = Network(*NAMES)
    try:
        yield Chain(folder, network)
    finally:
        Relay.stop_all(below=folder)
        network.close()


class Chain:
    def __init__(self, folder, network):
        self.network = network
        self.trust = TrustDomain(folder / "trust")
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        write(self.manifests, 0)
        self.relays = []
        for index, name in enumerate(NAMES):
            if index:
                source = self.relays[-1].as_upstream(protocol="delta")
                upper = network.cables[index - 1]
                source["upstream"]["addresses"] = [f"{upper.addresses[upper.upper]}:{self.relays[-1].port}"]
            else:
                source = {"name": "files", "directory": {"path": str(self.manifests)}}
            below = relays_only(*NAMES[index + 1:index + 2])["clusters"]
            relay = Relay(
                folder, name, self.trust, sources=[source], policy={"clusters": below + edge_policy()["clusters"][:1]},
                state=str(folder / f"state-{name}"), limits={"idle": "1s"})
            relay.configuration["listen"] = [{"address": f"0.0.0.0:{relay.port}"}]
            relay.write_configuration()
            relay.prefix = network.prefix(name)
            self.relays.append(relay)
        for relay in self.relays:
            relay.start(ready=False)
        for relay in self.relays:
            relay.wait_ready()
        self.origin, self.region, self.edge = self.relays
        self.step = 0

    def client(self, kind):
        svid = self.trust.issue("cluster/all/istiod")
        return kind(self.network.door("edge", self.edge.port), svid, self.trust.bundle)

    def change(self):
        self.step += 1
        write(self.manifests, self.step)

    def state(self, relay):
        return relay.status["sources"][0]["state"]

    def followers(self, relay):
        return [client["cluster"] for client in relay.status["clients"] if client["cluster"].startswith("relay-")]


def test_a_tier_that_is_cut_off_serves_on_and_catches_up(chain):
    upper, lower = chain.network.cables
    with chain.client(StateOfTheWorld) as whole, chain.client(Delta) as delta:
        for client in (whole, delta):
            client.subscribe(TYPE_URL)
            client.wait_for(TYPE_URL)
        troubles = [
            ("nothing passes", chain.region, chain.origin, upper.cut, False),
            ("the region hears nothing", chain.region, chain.origin, lambda: upper.deafen(upper.lower), False),
            ("the origin hears nothing", chain.region, chain.origin, lambda: upper.deafen(upper.upper), True),
            ("the edge hears nothing", chain.edge, chain.region, lambda: lower.deafen(lower.lower), False),
        ]
        for what, below, above, trouble, passes in troubles:
            mark = whole.mark
            trouble()
            chain.change()
            eventually(lambda: chain.state(below), lambda state: state == "stale", 30, f"{what}: it is noticed below")
            eventually(lambda: chain.followers(above), lambda found: found == [], 30, f"{what}: it is noticed above")
            # What goes down still does where only the way up is lost.
            assert passes or whole.mark == mark, what
            assert whole.end_state is None and delta.end_state is None, what
            assert below.get("/readyz")[0] == 200, "what was served is served"
            for cable in chain.network.cables:
                cable.heal()
            response = whole.wait_for(
                TYPE_URL, lambda found: steps(found) == {chain.step}, since=mark, timeout=60)
            assert whole.of_type(TYPE_URL, mark) == [response], f"{what}: the change is told once"
            eventually(lambda: chain.state(below), lambda state: state == "synced", 10, f"{what}: in step again")
        held = {r.name: step_of(bodies.decode_envelope(r.resource)) for m in delta.of_type(TYPE_URL) for r in m.resources}
        assert set(held.values()) == {chain.step}
        assert whole.end_state is None and delta.end_state is None, "nobody lost anything"
    assert len({relay.status["snapshot"]["version"] for relay in chain.relays}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_links_that_come_and_go_never_take_anything_back(chain, seed):
    rng = random.Random(seed)
    with chain.client(StateOfTheWorld) as whole:
        whole.subscribe(TYPE_URL)
        whole.wait_for(TYPE_URL)
        for _ in range(CUTS):
            cable = rng.choice(chain.network.cables)
            rng.choice([cable.cut, lambda: cable.deafen(cable.lower), lambda: cable.deafen(cable.upper)])()
            chain.change()
            time.sleep(rng.random() * 3)
            if rng.random() < 0.5:
                cable.heal()
            chain.change()
            time.sleep(rng.random())
        for cable in chain.network.cables:
            cable.heal()
        chain.change()
        whole.wait_for(TYPE_URL, lambda found: steps(found) == {chain.step}, timeout=60)
        shown = [steps(response) for response in whole.of_type(TYPE_URL)]
        assert all(len(each) == 1 for each in shown), f"seed {seed}: no response mixes moments: {shown}"
        order = [each.pop() for each in shown]
        assert order == sorted(order), f"seed {seed}: nothing goes back: {order}"
        assert whole.end_state is None
    assert len({relay.status["snapshot"]["version"] for relay in chain.relays}) == 1
