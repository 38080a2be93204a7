"""The same edge by the delta dialect: differences, tombstones, and what a client already holds."""

import pytest
from harness import bodies
from harness.tiers import MANIFESTS, build_tiers, start_all
from test_03_changes import AT_START, TYPE_URL, virtual_service

EXPECTED = bodies.read_manifests(MANIFESTS)


def test_every_type_in_every_spelling(shared_tiers):
    with shared_tiers.delta_client() as client:
        for type_url in bodies.ALL_TYPE_URLS:
            client.subscribe(type_url)
        for type_url in bodies.ALL_TYPE_URLS:
            kind = type_url.rpartition("/")[2]
            response = client.wait_for(type_url)
            assert {resource.name for resource in response.resources} == {
                name for of_kind, name in EXPECTED if of_kind == kind}
            for resource in response.resources:
                envelope = bodies.decode_envelope(resource.resource)
                assert envelope.metadata.name == resource.name
                assert envelope.metadata.version == resource.version
                assert bodies.decode_any(envelope.body) == bodies.expected_body(EXPECTED[kind, resource.name])


def test_an_unknown_type_is_answered_empty(shared_tiers):
    with shared_tiers.delta_client() as client:
        client.subscribe("example.org/v1/Unknown")
        response = client.wait_for("example.org/v1/Unknown")
        assert not response.resources and not response.removed_resources and response.nonce


def test_delta_and_state_of_the_world_agree(shared_tiers):
    with shared_tiers.delta_client() as delta, shared_tiers.client("all") as whole:
        delta.subscribe(TYPE_URL)
        whole.subscribe(TYPE_URL)
        by_delta = {r.name: r.resource.value for r in delta.wait_for(TYPE_URL).resources}
        by_whole = {
            bodies.decode_envelope(wrapped).metadata.name: wrapped.value
            for wrapped in whole.wait_for(TYPE_URL).resources}
        assert by_delta == by_whole, "the bytes of a resource do not depend on the dialect"


def test_only_the_difference_travels(tiers):
    with tiers.delta_client() as client:
        client.subscribe(TYPE_URL)
        assert {r.name for r in client.wait_for(TYPE_URL).resources} == AT_START
        mark = client.mark
        (tiers.manifests / "new.yaml").write_text(virtual_service("fresh"))
        response = client.wait_for(TYPE_URL, since=mark)
        assert [r.name for r in response.resources] == ["shop/fresh"] and not response.removed_resources
        mark = client.mark
        (tiers.manifests / "new.yaml").unlink()
        response = client.wait_for(TYPE_URL, since=mark)
        assert list(response.removed_resources) == ["shop/fresh"] and not response.resources


def test_what_the_client_holds_is_not_sent_again(tiers):
    with tiers.delta_client() as client:
        client.subscribe(TYPE_URL)
        held = {r.name: r.version for r in client.wait_for(TYPE_URL).resources}
    with tiers.delta_client() as client:
        client.subscribe(TYPE_URL, held=held)
        response = client.wait_for(TYPE_URL)
        assert not response.resources and not response.removed_resources, "equal versions travel never"


def test_what_the_client_holds_and_is_gone_is_removed(tiers):
    """Without this, a client that was away keeps deleted objects for ever."""
    with tiers.delta_client() as client:
        client.subscribe(TYPE_URL)
        held = {r.name: r.version for r in client.wait_for(TYPE_URL).resources}
    held["shop/long-gone"] = "1"
    held["shop/catalogue"] = "old"
    with tiers.delta_client() as client:
        client.subscribe(TYPE_URL, held=held)
        response = client.wait_for(TYPE_URL)
        assert [r.name for r in response.resources] == ["shop/catalogue"]
        assert list(response.removed_resources) == ["shop/long-gone"]


def test_a_hidden_resource_that_the_client_claims_to_hold_is_removed(tiers):
    with tiers.delta_client() as client:
        client.subscribe(TYPE_URL)
        held = {r.name: r.version for r in client.wait_for(TYPE_URL).resources}
    with tiers.delta_client("bank") as client:
        client.subscribe(TYPE_URL, held=held)
        response = client.wait_for(TYPE_URL)
        assert list(response.removed_resources) == ["shop/catalogue"] and not response.resources


def test_a_named_subscription_gets_its_names_and_tombstones(tiers):
    with tiers.delta_client() as client:
        client.send(type_url=TYPE_URL, resource_names_subscribe=["shop/catalogue", "shop/missing"])
        response = client.wait_for(TYPE_URL)
        assert [r.name for r in response.resources] == ["shop/catalogue"]
        assert list(response.removed_resources) == ["shop/missing"]
        mark = client.mark
        (tiers.manifests / "new.yaml").write_text(virtual_service("missing") + "---\n" + virtual_service("unasked"))
        response = client.wait_for(TYPE_URL, since=mark)
        assert [r.name for r in response.resources] == ["shop/missing"]


def test_a_refused_difference_is_not_sent_again(tiers):
    with tiers.delta_client(acknowledge=False) as client:
        client.subscribe(TYPE_URL)
        client.nack(client.wait_for(TYPE_URL), "no")
        client.expect_silence(1.5, since=client.mark)


@pytest.fixture
def delta_tiers(folder):
    tiers = build_tiers(folder)
    for relay in (tiers.region, tiers.edge):
        relay.configuration["sources"][0]["upstream"]["protocol"] = "delta"
        relay.write_configuration()
    return start_all(tiers)


def test_tiers_speak_delta_to_each_other(delta_tiers):
    """Changes, removals and a restart in the middle, with delta between the tiers."""
    with delta_tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
        (delta_tiers.manifests / "new.yaml").write_text(virtual_service("fresh"))
        client.wait_for_names(TYPE_URL, AT_START | {"shop/fresh"})
        mark = client.mark
        delta_tiers.region.kill()
        (delta_tiers.manifests / "new.yaml").unlink()
        delta_tiers.region.start()
        client.wait_for_names(TYPE_URL, AT_START, since=mark, timeout=20)
        assert client.end_state is None
    assert len({relay.status["snapshot"]["version"] for relay in delta_tiers.relays}) == 1
