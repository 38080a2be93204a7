"""Every kind, by every version spelling, arrives two tiers below the origin as its manifest says.

Method: a grpcio client subscribes at the edge; bodies are decoded by Google's protobuf and compared with
the manifests translated by json_format; the same questions at every tier must give the same versions.
"""

import datetime
import json
import re

import pytest
from harness import bodies
from harness.tiers import MANIFESTS

EXPECTED = bodies.read_manifests(MANIFESTS)


def expected_names(kind):
    return {name for of_kind, name in EXPECTED if of_kind == kind}


@pytest.fixture(scope="module")
def answers(shared_tiers):
    """One stream at the edge that asked for every spelling: {type URL: response}."""
    with shared_tiers.client("all") as client:
        client.subscribe(*bodies.ALL_TYPE_URLS)
        yield {type_url: client.wait_for(type_url) for type_url in bodies.ALL_TYPE_URLS}


@pytest.mark.parametrize("type_url", bodies.ALL_TYPE_URLS)
def test_the_type_is_answered_completely(answers, type_url):
    kind = type_url.rpartition("/")[2]
    assert answers[type_url].type_url == type_url
    assert set(bodies.envelopes(answers[type_url])) == expected_names(kind)
    assert answers[type_url].version_info and answers[type_url].nonce


@pytest.mark.parametrize("kind, name", sorted(EXPECTED))
def test_the_body_is_what_the_manifest_says(answers, kind, name):
    manifest = EXPECTED[kind, name]
    for type_url in bodies.type_urls(kind):
        resource = bodies.envelopes(answers[type_url])[name]
        assert resource.body.type_url == bodies.BODY_PREFIX + bodies.message_name(kind)
        assert bodies.decode_any(resource.body) == bodies.expected_body(manifest)


@pytest.mark.parametrize("kind, name", sorted(EXPECTED))
def test_the_metadata_is_what_the_manifest_says(answers, kind, name):
    metadata = EXPECTED[kind, name]["metadata"]
    resource = bodies.envelopes(answers[bodies.type_urls(kind)[0]])[name]
    assert dict(resource.metadata.labels) == metadata.get("labels", {})
    assert dict(resource.metadata.annotations) == metadata.get("annotations", {})
    assert resource.metadata.version not in ("", metadata.get("resourceVersion"))
    created = resource.metadata.create_time.ToDatetime(datetime.timezone.utc)
    if "creationTimestamp" in metadata:
        assert created == datetime.datetime.fromisoformat(metadata["creationTimestamp"].replace("Z", "+00:00"))
    else:
        assert created.year >= 2025, "without a create_time an object would win every conflict"


@pytest.mark.parametrize("kind", sorted(bodies.KINDS))
def test_every_spelling_gives_the_same(answers, kind):
    responses = [answers[type_url] for type_url in bodies.type_urls(kind)]
    assert len({response.version_info for response in responses}) == 1
    contents = [
        sorted(wrapped.value for wrapped in response.resources) for response in responses]
    assert all(content == contents[0] for content in contents)


def test_nonces_are_unique(answers):
    nonces = [response.nonce for response in answers.values()]
    assert len(set(nonces)) == len(nonces)


def test_every_tier_reports_equal_versions(shared_tiers):
    """version_info and metadata.version prove equality of content across tiers."""
    type_urls = [bodies.type_urls(kind)[0] for kind in bodies.KINDS]
    seen = []
    for relay in shared_tiers.relays:
        with shared_tiers.client("all", relay=relay) as client:
            client.subscribe(*type_urls)
            seen.append({
                type_url: (
                    client.wait_for(type_url).version_info,
                    {name: resource.metadata.version for name, resource in client.sync(type_url).items()},
                    {name: resource.metadata.create_time.seconds for name, resource in client.sync(type_url).items()})
                for type_url in type_urls})
    assert seen[0] == seen[1] == seen[2]
    snapshots = [relay.status["snapshot"] for relay in shared_tiers.relays]
    assert len({snapshot["version"] for snapshot in snapshots}) == 1, snapshots
    assert {snapshot["origin"] for snapshot in snapshots} == {"mesh-test"}
    nodes = [[hop["node"] for hop in snapshot["path"]] for snapshot in snapshots]
    assert nodes == [[], ["origin"], ["origin", "region"]], "where it came from, the relay itself left out"


def test_the_first_nonce_of_istiod_is_no_reason_for_silence(shared_tiers):
    type_url = "networking.istio.io/v1/VirtualService"
    with shared_tiers.client("all") as client:
        client.subscribe(type_url, nonce="2026-11-23 17:00:00.1 +0000 UTC m=+3.1")
        assert set(client.sync(type_url)) == expected_names("VirtualService")


def test_mesh_config_that_nobody_provides_is_answered_empty(shared_tiers):
    with shared_tiers.client("all") as client:
        client.subscribe("core/v1alpha1/MeshConfig")
        assert len(client.wait_for("core/v1alpha1/MeshConfig").resources) == 0


@pytest.mark.parametrize("type_url", ["example.org/v1/Unknown", "networking.istio.io/v9/VirtualService", "nonsense"])
def test_an_unknown_type_is_answered_empty_and_ends_nothing(shared_tiers, type_url):
    known = "networking.istio.io/v1/Gateway"
    with shared_tiers.client("all") as client:
        client.subscribe(type_url)
        answer = client.wait_for(type_url)
        assert len(answer.resources) == 0 and answer.nonce
        client.subscribe(known)
        assert set(client.sync(known)) == expected_names("Gateway")
        assert client.end_state is None


def test_the_control_plane_says_where_the_content_comes_from(answers, shared_tiers):
    response = answers["networking.istio.io/v1/Gateway"]
    facts = json.loads(response.control_plane.identifier)
    assert facts["node"] == "edge"
    assert facts["origin"] == "mesh-test"
    assert isinstance(facts["sequence"], int) and facts["sequence"] > 0
    assert re.match(r"\d{4}-\d\d-\d\dT", facts["published"])
    assert len(facts["path"]) == 3
