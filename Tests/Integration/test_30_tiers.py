"""Goal: relays that are wired wrongly, or disagree, take nothing from anybody: a loop is refused, two upstreams with
different content never make a client go back, and how long a change takes is measured at every tier.

Method: real relays wired so on purpose; a client's stream at the last of them tells what it went through.
"""

import json

from harness import bodies
from harness.ads import Delta, StateOfTheWorld
from harness.relay import Relay
from harness.tiers import build_tiers, edge_policy, relays_only, start_all
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL, virtual_service
from test_22_gates import many, seen, write


def origin(folder, name, trust, **settings):
    """A relay with a folder of its own, which serves `edge` and `all`."""
    manifests = folder / f"{name}-manifests"
    manifests.mkdir()
    relay = Relay(
        folder, name, trust, origin="mesh-test", sources=[{"name": "files", "directory": {"path": str(manifests)}}],
        policy={"clusters": relays_only("edge", "below")["clusters"] + edge_policy()["clusters"][:1]}, **settings)
    relay.manifests = manifests
    return relay


def state_of(relay, name):
    return next((source for source in relay.status["sources"] if source["name"] == name), {"state": "not there yet"})


def test_a_loop_is_refused_and_nobody_loses_anything(folder):
    trust = TrustDomain(folder / "trust")
    top = origin(folder, "top", trust)
    write(top.manifests, sorted(many(5)))
    top.start()
    below = Relay(
        folder, "below", trust, sources=[top.as_upstream(protocol="delta")],
        policy={"clusters": relays_only("top")["clusters"] + edge_policy()["clusters"][:1]}).start()
    with Delta(below.address, trust.issue("cluster/all/istiod"), trust.bundle) as client:
        client.subscribe(TYPE_URL)
        client.wait_for_state(TYPE_URL, {f"shop/vs-{n}" for n in range(5)})
        # Somebody makes the upper one follow the lower one, too.
        top.configuration["sources"].append(below.as_upstream("round", protocol="delta"))
        top.write_configuration()
        top.reload()
        said = eventually(
            lambda: state_of(top, "round"), lambda source: source["state"] == "failed", 15, "the loop is noticed")
        assert "has passed through this relay" in said["lastError"], said
        assert seen(top) == seen(below) == many(5)
        # A source that has not answered may still have something: what is new waits, until it is taken out again.
        write(top.manifests, sorted(many(6)))
        top.configuration["sources"].pop()
        top.write_configuration()
        top.reload()
        client.wait_for_state(TYPE_URL, {f"shop/vs-{n}" for n in range(6)})
        assert all(not response.removed_resources for response in client.responses) and client.end_state is None


def hosts(response):
    """The one host that every object of a response names."""
    found = {bodies.decode_any(resource.body).hosts[0] for resource in bodies.envelopes(response).values()}
    assert len(found) == 1, f"one answer mixes the content of two upstreams: {found}"
    return found.pop()


def test_two_upstreams_that_disagree_never_take_a_client_back(folder):
    trust = TrustDomain(folder / "trust")
    older, newer = (origin(folder, name, trust, state=str(folder / f"{name}-state")) for name in ("older", "newer"))
    write(older.manifests, sorted(many(5)), host="one.example.org")
    older.start()
    write(newer.manifests, sorted(many(5)), host="two.example.org")
    newer.start()
    upstream = newer.as_upstream("above", protocol="delta", addresses=[newer.address, older.address])
    upstream["upstream"]["spiffeID"] = "spiffe://example.org/relay/*"
    edge = Relay(folder, "edge", trust, sources=[upstream], policy=edge_policy()).start()
    with StateOfTheWorld(edge.address, trust.issue("cluster/all/istiod"), trust.bundle) as client:
        client.subscribe(TYPE_URL)
        assert hosts(client.wait_for(TYPE_URL)) == "two.example.org"
        # The other one, of the same origin, stands further back: it is reported, and what is served stays.
        newer.kill()
        said = eventually(
            lambda: state_of(edge, "above"), lambda source: source["state"] == "behind", 15, "the older one is behind")
        assert "sequence" in said["lastError"], said
        mark = client.mark
        client.expect_silence(1, since=mark)
        # Once it has published something newer, that is the truth.
        write(older.manifests, sorted(many(5)), host="three.example.org")
        client.wait_for(TYPE_URL, lambda response: hosts(response) == "three.example.org", timeout=40)
        # And now the preferred one is behind, however often it comes back.
        newer.start()
        older.kill()
        eventually(
            lambda: state_of(edge, "above"), lambda source: source["state"] == "behind", 40, "the first one is behind")
        shown = [hosts(response) for response in client.of_type(TYPE_URL)]
        assert shown == ["two.example.org", "three.example.org"], "nobody goes back, nobody hears anything twice"
        sequences = [json.loads(r.control_plane.identifier)["sequence"] for r in client.of_type(TYPE_URL)]
        assert sequences == sorted(sequences) and client.end_state is None


def test_how_long_a_change_takes_is_measured_at_every_tier(folder):
    tiers = start_all(build_tiers(folder))

    def measured(relay):
        return relay.metric("meshrelay_propagation_seconds_count"), relay.metric("meshrelay_propagation_seconds_sum")

    before = {relay.name: measured(relay) for relay in tiers.relays}
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        (tiers.manifests / "fresh.yaml").write_text(virtual_service("fresh"))
        client.wait_for(TYPE_URL, lambda response: "shop/fresh" in bodies.envelopes(response))
    took = []
    for relay in tiers.relays:
        count, total = measured(relay)
        assert count > before[relay.name][0], f"{relay.name} measured nothing"
        took.append((total - before[relay.name][1]) / (count - before[relay.name][0]))
    print("from the origin to each tier, in seconds:", took)
    # One clock for all here, so the last tier cannot be earlier than the first.
    assert 0 <= took[0] <= took[-1], took
    # From publication to the client's word, at the last tier.
    assert tiers.edge.metric("meshrelay_push_seconds_count") > 0
