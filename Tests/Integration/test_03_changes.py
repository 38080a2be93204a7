"""A change to a file at the origin reaches the client at the edge, and only a change does.

Method: files are written in the ways people and tools write them; the client at the edge is the witness.
"""

import os
import shutil
import textwrap
import time

import pytest
from harness import bodies
from harness.waiting import eventually

TYPE_URL = "networking.istio.io/v1/VirtualService"
OTHER = "networking.istio.io/v1/Gateway"
AT_START = {"shop/catalogue", "bank/ledger"}


def virtual_service(name, host="a.example.org", namespace="shop"):
    return textwrap.dedent(f"""\
        apiVersion: networking.istio.io/v1
        kind: VirtualService
        metadata: {{ name: {name}, namespace: {namespace} }}
        spec:
          hosts: [{host}]
          http:
            - route: [{{ destination: {{ host: {host} }} }}]
        """)


def host_of(resource):
    return bodies.decode_any(resource.body).hosts[0]


def hosts_of(response):
    return {name: host_of(resource) for name, resource in bodies.envelopes(response).items()}


@pytest.fixture
def client(tiers):
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL, OTHER)
        assert set(client.sync(TYPE_URL)) == AT_START
        client.sync(OTHER)
        yield client


def test_a_written_file_arrives_in_well_under_a_second(tiers, client):
    times = []
    for turn in range(5):
        mark = client.mark
        begun = time.monotonic()
        (tiers.manifests / "new.yaml").write_text(virtual_service("fresh", f"turn-{turn}.example.org"))
        response = client.wait_for(
            TYPE_URL, lambda r: hosts_of(r).get("shop/fresh") == f"turn-{turn}.example.org", since=mark, timeout=5)
        times.append(time.monotonic() - begun)
        assert set(bodies.envelopes(response)) == AT_START | {"shop/fresh"}
    print(f"file write to client two tiers below: {sorted(round(t * 1000) for t in times)} ms")
    assert sorted(times)[len(times) // 2] < 1, times


def test_a_removed_file_takes_its_resources_along(tiers, client):
    (tiers.manifests / "bank" / "security.yaml").unlink()
    client.wait_for_names(TYPE_URL, {"shop/catalogue"})


def test_a_resource_moved_to_another_file_is_not_removed(tiers, client):
    mark = client.mark
    path = tiers.manifests / "shop" / "routing.yaml"
    path.rename(path.with_name("renamed.yaml"))
    time.sleep(1)
    for response in client.of_type(TYPE_URL, since=mark):
        assert set(bodies.envelopes(response)) == AT_START


def test_an_atomic_rename_is_one_change(tiers, client):
    (tiers.manifests / "a.yaml").write_text(virtual_service("a", "before.example.org"))
    client.wait_for_names(TYPE_URL, AT_START | {"shop/a"})
    fresh = tiers.manifests / ".a.yaml.tmp"
    fresh.write_text(virtual_service("a", "after.example.org"))
    mark = client.mark
    fresh.rename(tiers.manifests / "a.yaml")
    resources = bodies.envelopes(client.wait_for(TYPE_URL, since=mark))
    assert host_of(resources["shop/a"]) == "after.example.org"


def test_a_half_written_file_is_not_seen(tiers, client):
    (tiers.manifests / "a.yaml").write_text(virtual_service("a", "before.example.org"))
    client.wait_for_names(TYPE_URL, AT_START | {"shop/a"})
    mark = client.mark
    text = virtual_service("a", "after.example.org") + "---\n" + virtual_service("b")
    # Cut inside a document that would be sound as far as it goes.
    cut = text.index("  http:")
    with open(tiers.manifests / "a.yaml", "w") as file:
        file.write(text[:cut])
        file.flush()
        time.sleep(0.8)
        for response in client.of_type(TYPE_URL, since=mark):
            assert host_of(bodies.envelopes(response)["shop/a"]) == "before.example.org"
        file.write(text[cut:])
    resources = bodies.envelopes(client.wait_for_names(TYPE_URL, AT_START | {"shop/a", "shop/b"}, since=mark))
    body = bodies.decode_any(resources["shop/a"].body)
    assert body.hosts[0] == "after.example.org" and len(body.http) == 1


def test_a_bad_document_is_set_aside_and_the_rest_flows(tiers, client):
    path = tiers.manifests / "mixed.yaml"
    path.write_text(virtual_service("good") + "---\n" + virtual_service("bad"))
    client.wait_for_names(TYPE_URL, AT_START | {"shop/good", "shop/bad"})
    mark = client.mark
    # The bad one keeps its last good version; its neighbours change.
    text = virtual_service("good", "changed.example.org") + "---\n" + virtual_service("bad").replace("hosts:", "hostz:")
    path.write_text(text + "---\n" + virtual_service("third"))
    names = AT_START | {"shop/good", "shop/bad", "shop/third"}
    resources = bodies.envelopes(client.wait_for_names(TYPE_URL, names, since=mark))
    assert host_of(resources["shop/good"]) == "changed.example.org"
    assert host_of(resources["shop/bad"]) == "a.example.org"

    line = 1 + text[:text.index("hostz")].count("\n")
    source = eventually(
        lambda: tiers.origin.status["sources"][0], lambda source: source["rejectedTotal"] == 1, 5, "one rejection")
    [rejected] = source["rejected"]
    assert f"mixed.yaml:{line}:" in rejected["place"], rejected
    assert "shop/bad" in rejected["resource"], rejected
    assert "hostz" in rejected["reason"], rejected
    assert source["state"] == "synced"

    mark = client.mark
    path.write_text(virtual_service("good"))
    client.wait_for_names(TYPE_URL, AT_START | {"shop/good"}, since=mark)
    eventually(
        lambda: tiers.origin.status["sources"][0]["rejectedTotal"], lambda total: total == 0, 5, "no rejection")


def test_an_unreadable_document_hides_nothing_else(tiers, client):
    (tiers.manifests / "broken.yaml").write_text("kind: [\n")
    (tiers.manifests / "fine.yaml").write_text(virtual_service("fine"))
    client.wait_for_names(TYPE_URL, AT_START | {"shop/fine"})
    [rejected] = eventually(
        lambda: tiers.origin.status["sources"][0]["rejected"], lambda rejected: len(rejected) == 1, 5, "one rejection")
    assert "broken.yaml:" in rejected["place"]


def test_a_symlink_swap_as_kubernetes_does_it(tiers, client):
    """A ConfigMap volume: files are links to ..data/FILE, ..data is a link that is replaced at once."""
    volume = tiers.manifests / "volume"
    volume.mkdir()

    def publish(generation, **files):
        folder = volume / f"..{generation}"
        folder.mkdir()
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text)
        (volume / "..data_tmp").symlink_to(folder.name)
        os.rename(volume / "..data_tmp", volume / "..data")

    publish("one", x=virtual_service("x", "one.example.org"))
    (volume / "x.yaml").symlink_to("..data/x.yaml")
    client.wait_for_names(TYPE_URL, AT_START | {"shop/x"})
    mark = client.mark
    publish("two", x=virtual_service("x", "two.example.org"))
    shutil.rmtree(volume / "..one")
    resources = bodies.envelopes(client.wait_for(
        TYPE_URL, lambda r: hosts_of(r).get("shop/x") == "two.example.org", since=mark))
    assert set(resources) == AT_START | {"shop/x"}


def test_a_change_of_one_type_pushes_no_other(tiers, client):
    mark = client.mark
    (tiers.manifests / "new.yaml").write_text(virtual_service("fresh"))
    client.wait_for_names(TYPE_URL, AT_START | {"shop/fresh"}, since=mark)
    time.sleep(0.5)
    assert client.of_type(OTHER, since=mark) == []


def test_a_change_that_changes_nothing_is_not_pushed(tiers, client):
    mark = client.mark
    path = tiers.manifests / "shop" / "routing.yaml"
    path.write_text("# only a comment\n" + path.read_text())
    time.sleep(1.2)
    assert client.responses[mark:] == []


def test_a_label_is_content_and_can_move_a_resource_out_of_a_grant(tiers):
    with tiers.client("tier") as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == {"shop/catalogue"}
        mark = client.mark
        path = tiers.manifests / "shop" / "routing.yaml"
        path.write_text(path.read_text().replace("tier: edge, team: shop", "tier: core, team: shop"))
        client.wait_for_names(TYPE_URL, set(), since=mark)


def test_a_vanished_folder_is_a_fault_and_no_deletion(tiers, client):
    mark = client.mark
    tiers.manifests.rename(tiers.folder / "elsewhere")
    eventually(
        lambda: tiers.origin.status["sources"][0]["state"], lambda state: state in ("failed", "stale"), 10,
        "the source's fault")
    assert client.responses[mark:] == []
    (tiers.folder / "elsewhere").rename(tiers.manifests)
    (tiers.manifests / "new.yaml").write_text(virtual_service("fresh"))
    client.wait_for_names(TYPE_URL, AT_START | {"shop/fresh"}, since=mark)
