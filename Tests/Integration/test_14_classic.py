"""Classic MCP: every method is served from the same state as ADS, to sinks that dial and to those we dial.

Method: sinks on grpcio with messages compiled from the tests' own .proto; a modern client is the yardstick.
"""

import pytest
import yaml
from harness.ads import Delta
from harness.classic import (
    DIALECTS, VIRTUAL_SERVICES, VIRTUAL_SERVICES_BY_TYPE, Aggregated, IncrementalResourceSource, ResourceSource,
    SinkServer)
from harness.tiers import build_tiers
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, virtual_service

SHOP, BANK = {"shop/catalogue"}, {"bank/ledger"}


@pytest.fixture
def origin(folder, request):
    """One relay over the manifests, with the edge's policy; `request.param` are further arguments."""
    tiers = build_tiers(folder)
    tiers.origin.write_policy(yaml.safe_load((tiers.edge.folder / "policy.yaml").read_text()))
    tiers.origin.start(arguments=getattr(request, "param", []))
    return tiers


def sink(tiers, kind, cluster="all", **options):
    return tiers.client(cluster, relay=tiers.origin, kind=kind, **options)


@pytest.mark.parametrize("origin", [["--io", "io_uring"], ["--io", "epoll"]], indirect=True, ids=["io_uring", "epoll"])
def test_every_method_follows_one_history(origin):
    with sink(origin, Delta) as modern:
        modern.subscribe(TYPE_URL)
        modern.wait_for_state(TYPE_URL, AT_START)
        sinks = [sink(origin, kind) for kind in DIALECTS]
        for each in sinks:
            each.subscribe(VIRTUAL_SERVICES)
            held = each.wait_for_state(VIRTUAL_SERVICES, AT_START)
            assert {name: version for name, (version, _) in held.items()} == modern.state(TYPE_URL)
            assert {body for _, body in held.values()} == {VIRTUAL_SERVICES_BY_TYPE}
        path = origin.manifests / "fresh.yaml"
        path.write_text(virtual_service("fresh"))
        for each in sinks:
            each.wait_for_state(VIRTUAL_SERVICES, AT_START | {"shop/fresh"})
        path.unlink()
        for each in sinks:
            each.wait_for_state(VIRTUAL_SERVICES, AT_START)
        # Nothing was sent twice: three states, three responses.
        assert [each.mark for each in sinks] == [3] * len(sinks)
        status = eventually(
            lambda: origin.origin.status["clients"],
            lambda clients: all(t["sent"] == t["acked"] for c in clients for t in c["types"].values()), 5, "all ACKs")
        assert sorted(client["protocol"] for client in status) == [
            "delta", "mcp", "mcp", "mcp-aggregated", "mcp-aggregated"]
        assert origin.origin.metric("meshrelay_pushes_total", protocol="mcp") == 6
        assert origin.origin.metric("meshrelay_pushes_total", protocol="mcp_aggregated") == 6
        assert origin.origin.metric("meshrelay_requests_total", protocol="mcp") == 8
        for each in sinks:
            each.close()


@pytest.mark.parametrize("kind", DIALECTS)
def test_policy_decides_in_every_method(origin, kind):
    with sink(origin, kind, "shop") as shop, sink(origin, kind, "bank") as bank:
        for each in (shop, bank):
            each.subscribe(VIRTUAL_SERVICES)
        shop.wait_for_state(VIRTUAL_SERVICES, SHOP)
        bank.wait_for_state(VIRTUAL_SERVICES, BANK)
        policy = yaml.safe_load((origin.edge.folder / "policy.yaml").read_text())
        for cluster in policy["clusters"]:
            if cluster["name"] == "shop":
                cluster["allow"] = [{"namespaces": ["nowhere"]}]
        policy["clusters"] = [cluster for cluster in policy["clusters"] if cluster["name"] != "bank"]
        origin.origin.write_policy(policy)
        origin.origin.reload()
        shop.wait_for_state(VIRTUAL_SERVICES, set(), timeout=5)
        assert shop.end_state is None
        code, _ = bank.wait_for_end(timeout=5)
        assert code.name == "PERMISSION_DENIED"
    with sink(origin, kind, "nobody") as stranger:
        stranger.subscribe(VIRTUAL_SERVICES)
        code, _ = stranger.wait_for_end(timeout=10)
        assert code.name == "PERMISSION_DENIED" and stranger.responses == []


PILOT_1_2 = [f"istio/{name}" for name in (
    "networking/v1alpha3/virtualservices", "networking/v1alpha3/gateways", "networking/v1alpha3/serviceentries",
    "networking/v1alpha3/destinationrules", "networking/v1alpha3/envoyfilters", "networking/v1alpha3/sidecars",
    "config/v1alpha2/httpapispecs", "config/v1alpha2/httpapispecbindings",
    "mixer/v1/config/client/quotaspecs", "mixer/v1/config/client/quotaspecbindings",
    "authentication/v1alpha1/policies", "authentication/v1alpha1/meshpolicies", "rbac/v1alpha1/serviceroles",
    "rbac/v1alpha1/servicerolebindings", "rbac/v1alpha1/authorizationpolicies", "rbac/v1alpha1/rbacconfigs",
    "rbac/v1alpha1/clusterrbacconfigs", "networking/v1alpha3/synthetic/serviceentries")]


def test_a_pilot_gets_an_answer_to_everything_it_asks_for(origin):
    with sink(origin, ResourceSource) as pilot:
        pilot.subscribe(*PILOT_1_2)
        for collection in PILOT_1_2:
            pilot.wait_for(collection)
        assert set(pilot.state(VIRTUAL_SERVICES)) == AT_START
        assert pilot.state("istio/config/v1alpha2/httpapispecs") == {}
        assert len(pilot.responses) == len(PILOT_1_2)


def test_istio_1_0_names_collections_by_their_bodies(origin):
    with sink(origin, Aggregated) as old:
        old.subscribe(VIRTUAL_SERVICES_BY_TYPE, "type.googleapis.com/istio.mixer.v1.config.client.QuotaSpec")
        assert set(old.wait_for_state(VIRTUAL_SERVICES_BY_TYPE, AT_START)) == AT_START
        old.wait_for("type.googleapis.com/istio.mixer.v1.config.client.QuotaSpec")


def test_what_was_refused_is_not_sent_again(origin):
    with sink(origin, ResourceSource, acknowledge=False) as pilot:
        pilot.subscribe(VIRTUAL_SERVICES)
        first = pilot.wait_for(VIRTUAL_SERVICES)
        pilot.nack(first, "message is nil")
        pilot.expect_silence(1.5, since=1)
        [entry] = origin.origin.status["clients"]
        assert entry["types"][VIRTUAL_SERVICES]["nacks"] == 1
        assert entry["types"][VIRTUAL_SERVICES]["lastNack"] == "message is nil"
        (origin.manifests / "fresh.yaml").write_text(virtual_service("fresh"))
        assert pilot.wait_for(VIRTUAL_SERVICES, since=1)


def test_a_sink_that_comes_back_is_told_the_difference(origin):
    with sink(origin, IncrementalResourceSource) as pilot:
        pilot.subscribe(VIRTUAL_SERVICES)
        held = pilot.wait_for_state(VIRTUAL_SERVICES, AT_START)
    claimed = {"shop/catalogue": held["shop/catalogue"][0], "shop/gone": "v0"}
    with sink(origin, IncrementalResourceSource) as pilot:
        pilot.subscribe(VIRTUAL_SERVICES, initial_resource_versions=claimed)
        response = pilot.wait_for(VIRTUAL_SERVICES)
        assert response.incremental
        assert [resource.metadata.name for resource in response.resources] == ["bank/ledger"]
        assert list(response.removed_resources) == ["shop/gone"]


@pytest.mark.parametrize("kind", DIALECTS)
def test_who_breaks_the_protocol_loses_its_own_stream(origin, kind):
    with sink(origin, kind) as witness, sink(origin, kind) as offender:
        for each in (witness, offender):
            each.subscribe(VIRTUAL_SERVICES)
            each.wait_for_state(VIRTUAL_SERVICES, AT_START)
        offender.send(**{offender.FIELD: ""})
        code, details = offender.wait_for_end(timeout=5)
        assert code.name == "INVALID_ARGUMENT" and "collection" in details
        (origin.manifests / "fresh.yaml").write_text(virtual_service("fresh"))
        witness.wait_for_state(VIRTUAL_SERVICES, AT_START | {"shop/fresh"})


# Sinks that we dial.


def with_sinks(tiers, *entries):
    """Has the origin dial these; its policy is the edge's."""
    tiers.origin.configuration["push"] = list(entries)
    tiers.origin.write_configuration()
    tiers.origin.write_policy(yaml.safe_load((tiers.edge.folder / "policy.yaml").read_text()))


def entry(server, path):
    return {"address": server.address, "spiffeID": f"spiffe://example.org/{path}"}


def push_of(relay, address):
    [found] = [push for push in relay.status["push"] if push["address"] == address]
    return found


@pytest.fixture
def pilot_and_relay(folder):
    """(tiers, pilot): a relay, not yet started, with one sink to dial that waits for it."""
    tiers = build_tiers(folder)
    with SinkServer(tiers.identity("shop"), tiers.trust.bundle) as pilot:
        with_sinks(tiers, entry(pilot, "cluster/shop/istiod"))
        yield tiers, pilot


@pytest.mark.parametrize("driver", ["io_uring", "epoll"])
@pytest.mark.parametrize("incremental", [False, True])
def test_a_sink_is_dialled_and_served(pilot_and_relay, driver, incremental):
    tiers, pilot = pilot_and_relay
    pilot.incremental = incremental
    tiers.origin.start(arguments=["--io", driver])
    pilot.wait_for(SHOP)
    path = tiers.manifests / "fresh.yaml"
    path.write_text(virtual_service("fresh"))
    pilot.wait_for(SHOP | {"shop/fresh"})
    path.unlink()
    pilot.wait_for(SHOP)
    assert pilot.streams == 1 and pilot.triggers == 1
    [client] = eventually(
        lambda: tiers.origin.status["clients"],
        lambda clients: clients and clients[0]["types"][VIRTUAL_SERVICES]["acked"], 5, "the sink in clients[]")
    assert client["protocol"] == "sink" and client["cluster"] == "shop"
    assert client["spiffeID"] == "spiffe://example.org/cluster/shop/istiod"
    assert client["address"] == pilot.address
    assert push_of(tiers.origin, pilot.address)["state"] == "serving"
    assert tiers.origin.metric("meshrelay_pushes_total", protocol="sink") == 3
    assert tiers.origin.terminate() == 0


def test_a_sink_that_restarts_is_served_again(pilot_and_relay):
    tiers, pilot = pilot_and_relay
    tiers.origin.start()
    pilot.wait_for(SHOP)
    pilot.close()
    eventually(
        lambda: push_of(tiers.origin, pilot.address)["state"], lambda state: state == "failed", 10, "the loss noticed")
    assert tiers.origin.status["clients"] == []
    with SinkServer(tiers.identity("shop"), tiers.trust.bundle, port=pilot.port) as again:
        again.wait_for(SHOP)
        assert push_of(tiers.origin, pilot.address)["lastError"] is None


def test_policy_and_identity_decide_what_a_sink_gets(pilot_and_relay):
    tiers, pilot = pilot_and_relay
    impostor = SinkServer(tiers.identity("bank"), tiers.trust.bundle)
    stranger = SinkServer(tiers.identity("nobody"), tiers.trust.bundle)
    with impostor, stranger:
        with_sinks(
            tiers, entry(pilot, "cluster/shop/istiod"), entry(impostor, "cluster/shop/istiod"),
            {"address": stranger.address, "spiffeID": "spiffe://example.org/cluster/*"})
        tiers.origin.start()
        pilot.wait_for(SHOP)
        states = eventually(
            lambda: {push["address"]: push for push in tiers.origin.status["push"]},
            lambda found: found[impostor.address]["state"] == "failed" and found[stranger.address]["state"] == "refused",
            10, "the two that are not served")
        assert "cluster/bank/istiod" in states[impostor.address]["lastError"]
        assert "cluster/nobody/istiod" in states[stranger.address]["lastError"]
        assert impostor.streams == 0 and stranger.streams == 0
        # Granted now: dialled at once. And what the first had is taken back.
        policy = yaml.safe_load((tiers.edge.folder / "policy.yaml").read_text())
        for cluster in policy["clusters"]:
            if cluster["name"] == "shop":
                cluster["allow"] = [{"namespaces": ["nowhere"]}]
        policy["clusters"].append({
            "name": "nobody", "identities": ["spiffe://example.org/cluster/nobody/istiod"],
            "allow": [{"namespaces": ["bank"]}]})
        tiers.origin.write_policy(policy)
        tiers.origin.reload()
        pilot.wait_for(set(), timeout=5)
        stranger.wait_for(BANK, timeout=5)


def test_the_list_of_sinks_is_read_again_at_a_reload(pilot_and_relay):
    tiers, pilot = pilot_and_relay
    with SinkServer(tiers.identity("bank"), tiers.trust.bundle) as second:
        tiers.origin.start()
        pilot.wait_for(SHOP)
        with_sinks(tiers, entry(second, "cluster/bank/istiod"), entry(pilot, "cluster/shop/istiod"))
        tiers.origin.reload()
        second.wait_for(BANK)
        assert pilot.streams == 1 and len(tiers.origin.status["clients"]) == 2
        with_sinks(tiers, entry(second, "cluster/bank/istiod"))
        tiers.origin.reload()
        eventually(lambda: pilot.ended, lambda ended: ended == 1, 5, "the end of the first stream")
        assert [push["address"] for push in tiers.origin.status["push"]] == [second.address]
        assert len(tiers.origin.status["clients"]) == 1 and second.streams == 1
