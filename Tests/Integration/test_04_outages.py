"""Tiers come and go; clients keep what they have and nothing is answered before it is complete.

Method: kill -9, start again on the same port, no help from outside; the client at the edge is the witness.
"""

import time

import pytest
from harness import bodies
from harness.relay import Relay
from harness.tiers import build_tiers, start_all
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, virtual_service

ALL_FIRST_SPELLINGS = [bodies.type_urls(kind)[0] for kind in bodies.KINDS]


@pytest.mark.parametrize("victim", ["origin", "region"])
def test_a_killed_tier_comes_back_without_help(tiers, victim):
    victim = getattr(tiers, victim)
    with tiers.client("all") as client:
        client.subscribe(*ALL_FIRST_SPELLINGS)
        for type_url in ALL_FIRST_SPELLINGS:
            client.wait_for(type_url)
        mark = client.mark

        victim.kill()
        (tiers.manifests / "new.yaml").write_text(virtual_service("during-outage"))
        client.expect_silence(1.5, since=mark)
        assert tiers.edge.get("/readyz")[0] == 200, "an edge that was complete stays ready"

        victim.start()
        client.wait_for_names(TYPE_URL, AT_START | {"shop/during-outage"}, since=mark, timeout=20)
        (tiers.manifests / "new.yaml").write_text(virtual_service("afterwards"))
        client.wait_for_names(TYPE_URL, AT_START | {"shop/afterwards"}, since=mark, timeout=10)
        assert client.end_state is None, "the client's stream never ended"
        # Nothing was taken away and given back on the way.
        for response in client.responses[mark:]:
            assert len(response.resources) > 0, response.type_url
        assert {response.type_url for response in client.responses[mark:]} == {TYPE_URL}
    versions = {relay.status["snapshot"]["version"] for relay in tiers.relays}
    assert len(versions) == 1


def test_a_lost_upstream_is_reported_and_found_again(tiers):
    def state():
        return tiers.edge.status["sources"][0]["state"]

    assert state() == "synced"
    tiers.region.kill()
    eventually(state, lambda now: now == "stale", 10, "the edge's source is stale")
    assert tiers.edge.metric("meshrelay_source_up", source="upstream") == 0
    tiers.region.start()
    eventually(state, lambda now: now == "synced", 20, "the edge's source is synced again")
    assert tiers.edge.metric("meshrelay_source_up", source="upstream") == 1


@pytest.mark.parametrize("then, code", [("alarm", 200), ("unready", 503)])
def test_staleness_can_end_readiness_and_never_the_service(folder, then, code):
    tiers = build_tiers(folder)
    tiers.edge.configuration["staleAfter"] = {"after": "1s", "then": then}
    tiers.edge.write_configuration()
    start_all(tiers)
    tiers.region.kill()
    time.sleep(2)
    assert tiers.edge.get("/readyz")[0] == code
    assert tiers.edge.metric("meshrelay_staleness_seconds") >= 1
    assert "what is served may be out of date" in tiers.edge.log, "an alarm in either case"
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
    tiers.region.start()
    tiers.edge.wait_ready()


def test_nothing_is_answered_before_it_is_complete(folder):
    tiers = build_tiers(folder)
    tiers.edge.start(ready=False)
    with tiers.client("all") as client:
        client.subscribe(*ALL_FIRST_SPELLINGS, "example.org/v1/Unknown")
        client.expect_silence(2)
        assert tiers.edge.get("/readyz")[0] == 503
        assert tiers.edge.status["ready"] is False and tiers.edge.status["reasons"]

        # A region without its own upstream must not pretend to be complete either.
        tiers.region.start(ready=False)
        client.expect_silence(2)
        assert tiers.region.get("/readyz")[0] == 503

        tiers.origin.start()
        for type_url in ALL_FIRST_SPELLINGS:
            kind = type_url.rpartition("/")[2]
            expected = {name for of_kind, name in bodies.read_manifests(tiers.manifests) if of_kind == kind}
            first = client.wait_for(type_url, timeout=20)
            assert set(bodies.envelopes(first)) == expected, "the first answer is the complete one"
        assert len(client.wait_for("example.org/v1/Unknown").resources) == 0
    tiers.edge.wait_ready()


def test_an_edge_that_restarts_reports_the_same_versions(tiers):
    def versions():
        with tiers.client("all") as client:
            client.subscribe(*ALL_FIRST_SPELLINGS)
            return {type_url: client.wait_for(type_url, timeout=20).version_info for type_url in ALL_FIRST_SPELLINGS}

    before = versions()
    tiers.edge.kill()
    tiers.edge.start()
    assert versions() == before


def test_two_sources_merge_and_the_earlier_one_wins(folder):
    """A type waits for every source; a conflict goes to the source named first and is reported."""
    tiers = build_tiers(folder)
    local = folder / "local"
    local.mkdir()
    (local / "own.yaml").write_text(
        virtual_service("own") + "---\n" + virtual_service("catalogue", "local.example.org"))
    tiers.edge.configuration["sources"].insert(0, {"name": "local", "directory": {"path": str(local)}})
    tiers.edge.write_configuration()
    tiers.edge.start(ready=False)
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.expect_silence(1.5)
        tiers.origin.start()
        tiers.region.start()
        resources = client.sync(TYPE_URL, timeout=20)
        assert set(resources) == AT_START | {"shop/own"}
        assert bodies.decode_any(resources["shop/catalogue"].body).hosts[0] == "local.example.org"
    eventually(
        lambda: [line for line in tiers.edge.log.splitlines() if "shop/catalogue" in line], lambda lines: any(
            "winner=local" in line for line in lines), 5, "the conflict is reported")


def test_failover_to_the_second_address(folder):
    tiers = build_tiers(folder)
    second = Relay(
        folder, "region-2", tiers.trust, sources=[tiers.origin.as_upstream()],
        policy={"clusters": [{"name": "edge", "identities": [tiers.trust.id("relay/edge")], "allow": [{}]}]})
    tiers.origin.write_policy({
        "clusters": [{
            "name": "regions", "identities": [tiers.trust.id("relay/region"), tiers.trust.id("relay/region-2")],
            "allow": [{}]}]})
    upstream = tiers.edge.configuration["sources"][0]["upstream"]
    upstream["addresses"] = [tiers.region.address, second.address]
    upstream["spiffeID"] = tiers.trust.id("relay/*")
    tiers.edge.write_configuration()
    start_all(tiers)
    second.start()
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
        mark = client.mark
        tiers.region.kill()
        time.sleep(0.5)
        (tiers.manifests / "new.yaml").write_text(virtual_service("by-the-second"))
        client.wait_for_names(TYPE_URL, AT_START | {"shop/by-the-second"}, since=mark, timeout=20)
        assert client.end_state is None
