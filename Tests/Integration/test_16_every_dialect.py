"""One random history at an origin, followed in every dialect over real sockets: all come to hold the same view.

Method: files are added, edited, relabelled and removed, policy narrows and widens, clients hang up, refuse and
stop reading for a while; at the end what each holds, by name and content hash, is what `/dump` says it may have.
The seed is printed; MESHRELAY_SEED replays it.
"""

import json
import os
import random
import time
import urllib.parse

import pytest
import yaml
from harness import bodies
from harness.ads import Delta, StateOfTheWorld
from harness.classic import (
    VIRTUAL_SERVICES, VIRTUAL_SERVICES_BY_TYPE, Aggregated, IncrementalAggregated, IncrementalResourceSource,
    ResourceSource)
from harness.tiers import build_tiers
from harness.waiting import eventually
from test_03_changes import TYPE_URL

NAMESPACES = ["shop", "bank", "hall"]
TYPE = "networking.istio.io/VirtualService"


class Follower:
    """One control plane that keeps what it accepted over its streams."""

    def __init__(self, name, kind, collection, dial, rng):
        self.name, self.kind, self.collection, self.dial, self.rng = name, kind, collection, dial, rng
        self.held = {}
        self.is_fickle = True
        self.pauses = 0
        self.client = None
        self.seen = 0

    def connect(self):
        """A new stream that says what is held, where the dialect can."""
        if self.client:
            self.take()
            self.client.close()
        self.client = self.dial(self.kind, acknowledge=False)
        self.seen = 0
        if self.kind is Delta:
            self.client.subscribe(self.collection, held=self.held)
        elif self.kind in (IncrementalResourceSource, IncrementalAggregated):
            self.client.subscribe(self.collection, initial_resource_versions=self.held)
        else:
            self.client.subscribe(self.collection)

    def take(self):
        """Takes over, or refuses, what has come since the last time; keeps it waiting now and then."""
        if self.pauses:
            self.pauses -= 1
            return
        while self.seen < self.client.mark:
            response = self.client.responses[self.seen]
            self.seen += 1
            after = self.after(response)
            # Who refuses to give up what it may no longer have loses its stream: another test's business.
            if self.is_fickle and not set(self.held) - set(after) and self.rng.random() < 0.2:
                self.client.nack(response, "not today")
                continue
            self.held = after
            self.client.ack(response)

    def after(self, response):
        if self.kind is StateOfTheWorld:
            return {name: resource.metadata.version for name, resource in bodies.envelopes(response).items()}
        if self.kind is Delta:
            changed = {resource.name: resource.version for resource in response.resources}
            is_whole = False
        else:
            changed = {resource.metadata.name: resource.metadata.version for resource in response.resources}
            is_whole = self.client.is_whole(response)
        if is_whole:
            return changed
        return {name: v for name, v in {**self.held, **changed}.items() if name not in response.removed_resources}


class World:
    """The files of the origin and its policy, changed at random."""

    def __init__(self, tiers, rng):
        self.tiers, self.rng = tiers, rng
        self.turn = 0
        self.granted = list(NAMESPACES)

    def edit(self):
        self.turn += 1
        namespace, name = self.rng.choice(NAMESPACES), self.rng.choice("abcd")
        path = self.tiers.manifests / f"{namespace}-{name}.yaml"
        if path.exists() and self.rng.random() < 0.35:
            path.unlink()
            return
        path.write_text(yaml.safe_dump({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": name, "namespace": namespace, "labels": {"turn": str(self.rng.randrange(3))}},
            "spec": {"hosts": [f"h{self.rng.randrange(3)}.example.org"]}}))

    def change_policy(self):
        self.granted = self.rng.sample(NAMESPACES, self.rng.randint(1, len(NAMESPACES)))
        self.tiers.origin.write_policy({"clusters": [{
            "name": "all", "identities": ["spiffe://example.org/cluster/all/istiod"],
            "allow": [{"namespaces": self.granted}]}]})
        self.tiers.origin.reload()

    def view(self):
        """What the identity may have now, by name: content hash."""
        query = urllib.parse.urlencode({"as": "spiffe://example.org/cluster/all/istiod", "type": TYPE})
        status, body = self.tiers.origin.get(f"/dump?{query}")
        assert status == 200
        return {f"{each['namespace']}/{each['name']}": each["version"] for each in json.loads(body)}


@pytest.mark.parametrize("driver", ["io_uring", "epoll"])
def test_every_dialect_comes_to_hold_the_view(folder, driver):
    seed = int(os.environ.get("MESHRELAY_SEED") or {"io_uring": 1, "epoll": 2}[driver])
    print(f"MESHRELAY_SEED={seed}")
    rng = random.Random(seed)
    tiers = build_tiers(folder, loops=2)
    world = World(tiers, rng)
    for _ in range(8):
        world.edit()
    tiers.origin.write_policy(yaml.safe_load((tiers.edge.folder / "policy.yaml").read_text()))
    tiers.origin.start(arguments=["--io", driver])

    def dial(kind, **options):
        return tiers.client("all", relay=tiers.origin, kind=kind, **options)

    followers = [
        Follower(kind.__name__, kind, collection, dial, rng) for kind, collection in (
            (StateOfTheWorld, TYPE_URL), (Delta, TYPE_URL), (ResourceSource, VIRTUAL_SERVICES),
            (IncrementalResourceSource, VIRTUAL_SERVICES), (Aggregated, VIRTUAL_SERVICES_BY_TYPE),
            (IncrementalAggregated, VIRTUAL_SERVICES))]
    for follower in followers:
        follower.connect()
    for _ in range(60):
        choice = rng.random()
        if choice < 0.5:
            world.edit()
        elif choice < 0.65:
            world.change_policy()
        elif choice < 0.8:
            rng.choice(followers).connect()
        else:
            rng.choice(followers).pauses = rng.randint(1, 8)
        time.sleep(0.05)
        for follower in followers:
            follower.take()
    # Calm. What somebody has refused is not offered again on the same stream.
    for follower in followers:
        follower.is_fickle, follower.pauses = False, 0
        follower.connect()

    def differences():
        for follower in followers:
            follower.take()
        view = world.view()
        return [(f.name, f.held, view, f.client.end_state) for f in followers if f.held != view]

    eventually(differences, lambda found: not found, 15, f"seed {seed}: one view for all")
    assert {name.partition("/")[0] for name in world.view()} <= set(world.granted)
    for follower in followers:
        follower.client.close()
