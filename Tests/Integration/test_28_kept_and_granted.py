"""Goal: what a gate keeps is cut by what the tiers above grant now, also where they have nothing left to take back: one
tier above or two, in a pin, a rollback or a hold, through crashes and without an upstream. No byte of what a grant lost
stays on disk.

Method: real tiers; an object is deleted at the origin, and only then does the right to it end. Every file of the state
folder of the running relay is searched for a word that is in the object's body alone.
"""

import json
import pathlib
import subprocess
import time
import uuid

import pytest
from harness.ads import Delta
from harness.relay import Relay
from harness.tiers import build_tiers, start_all
from harness.waiting import eventually
from test_03_changes import TYPE_URL, virtual_service
from test_20_audit import fill, mounted
from test_22_gates import arrives, gates, many, order, published, seen, versions, write

OFF = {"removes": "100%"}


def without(relay, cluster, *names):
    """The policy in which a relay of ours may have everything but these."""
    return {"clusters": [{
        "name": cluster, "identities": [relay.svid.uri], "allow": [{}],
        "deny": [{"namespaces": ["shop"], "names": list(names)}]}]}


@pytest.fixture
def tiers(folder):
    """Nobody but the edge holds anything; it keeps its state."""
    tiers = build_tiers(folder)
    for relay in tiers.relays[:2]:
        relay.configuration["brake"] = OFF
    tiers.edge.configuration["state"] = str(folder / "state")
    for relay, protocol in ((tiers.region, "delta"), (tiers.edge, "sotw")):
        relay.configuration["sources"][0]["upstream"]["protocol"] = protocol
    for relay in tiers.relays:
        relay.write_configuration()
    write(tiers.manifests, sorted(many(30)), namespace="shop")
    return start_all(tiers)


def narrow(tiers, place, *names):
    """Takes the right to these away one tier above the edge, or two."""
    above, below, cluster = {
        "region": (tiers.region, tiers.edge, "relay-edge"), "origin": (tiers.origin, tiers.region, "relay-region"),
    }[place]
    above.write_policy(without(below, cluster, *names))
    above.reload()


@pytest.mark.parametrize("place", ["region", "origin"])
def test_a_pin_loses_what_was_deleted_before_its_grant_ended(tiers, place):
    edge = tiers.edge
    everything = seen(edge)
    old = versions(edge)["versions"][0]["version"]
    order(edge, "pin", "all", old)
    write(tiers.manifests, sorted(many(30) - {"vs-1", "vs-2"}), namespace="shop")
    eventually(
        lambda: edge.status["gates"][0]["heldBack"]["removed"], lambda count: count == 2, 10, "the edge has heard it")
    assert seen(edge) == everything, "a pin keeps what was deleted"
    svid = edge.trust.issue("cluster/all/istiod")
    with Delta(edge.address, svid, edge.trust.bundle) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        mark = client.mark
        narrow(tiers, place, "vs-1")
        arrives(edge, everything - {"vs-1"})
        eventually(lambda: client.state(TYPE_URL), lambda state: "shop/vs-1" not in state, 10, "clients lose it")
        assert "shop/vs-2" in client.state(TYPE_URL)
        causes = {json.loads(r.control_plane.identifier).get("removals") for r in client.responses[mark:]}
        assert causes == {"policy"}
    # Nobody above is there to say it again.
    for relay in tiers.relays:
        relay.kill()
    edge.start()
    assert seen(edge) == everything - {"vs-1"} and gates(edge) == {("pinned", "all")}
    order(edge, "unpin", "all")
    assert seen(edge) == everything - {"vs-1", "vs-2"}
    order(edge, "rollback", old)
    assert seen(edge) == everything - {"vs-1"}, "what history has of it is not put in force"


@pytest.mark.parametrize("place", ["region", "origin"])
def test_a_held_view_is_let_go_when_nothing_held_back_is_granted(tiers, place):
    edge = tiers.edge
    everything = seen(edge)
    gone = many(30) - many(3)
    write(tiers.manifests, sorted(many(3)), namespace="shop")
    eventually(lambda: gates(edge), lambda found: ("held", "all") in found, 10, "the edge holds it")
    published(edge, len(json.loads(order(tiers.region, "dump", "--as", edge.svid.uri))))
    assert seen(edge) == everything
    narrow(tiers, place, *sorted(gone - {"vs-29"}))
    arrives(edge, everything - gone)
    eventually(lambda: gates(edge), lambda found: not found, 10, "one removal is not too much")


def on_disk(relay, word):
    """Files in the state folder that hold a word: database, log, shared memory, whatever lies there."""
    folder = pathlib.Path(relay.configuration["state"])
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and word.encode() in path.read_bytes():
                found.append(path.name)
        except FileNotFoundError:
            pass
    return found


def marked(tiers, words, *also):
    """Writes an object for each word, which only its body holds, and others."""
    text = "---\n".join(
        [virtual_service(name, f"{word}.example.org", "shop") for name, word in words.items()]
        + [virtual_service(name, "plain.example.org", "shop") for name in also])
    fresh = tiers.manifests / ".many"
    fresh.write_text(text)
    fresh.rename(tiers.manifests / "many.yaml")


@pytest.mark.parametrize("place", ["region", "origin"])
def test_no_byte_of_what_a_grant_lost_stays_on_disk(tiers, place):
    """Served, deleted in an older version, pinned, frozen: a word in each, and one beside it that is granted.

    The brake's window is short: what it counts it remembers by name, and what is remembered is erased by that.
    """
    edge = tiers.edge
    edge.configuration["brake"] = {"window": "1s"}
    edge.write_configuration()
    edge.reload()
    words = {f"{kind}-{state}": f"word-{uuid.uuid4().hex}"
             for kind in ("served", "older", "pinned", "frozen") for state in ("lost", "granted")}

    def step(*kinds):
        """The origin has these kinds, and the edge has heard it; returns the version."""
        before = tiers.origin.status["snapshot"]["version"]
        marked(tiers, {name: word for name, word in words.items() if name.split("-")[0] in kinds}, *sorted(many(30)))
        now = eventually(
            lambda: tiers.origin.status["snapshot"]["version"], lambda found: found != before, 10, "it is published")
        eventually(lambda: edge.status["snapshot"]["version"], lambda found: found == now, 10, "the edge has it")
        return now

    step("older", "served")
    order(edge, "pin", "all", step("pinned", "served"))
    time.sleep(1)
    step("frozen", "served")
    order(edge, "freeze", "shop")
    step("served")
    for name, word in words.items():
        assert on_disk(edge, word), f"{name} is in what is kept"
    narrow(tiers, place, *(name for name in words if name.endswith("-lost")))
    lost = {name: word for name, word in words.items() if name.endswith("-lost")}
    eventually(
        lambda: {name: on_disk(edge, word) for name, word in lost.items()}, lambda found: not any(found.values()), 10,
        "nothing of it is on disk while the relay runs")
    for name, word in words.items():
        assert name in lost or on_disk(edge, word), f"{name} is granted, and kept"
    # What is left is whole, through a crash and without anybody above.
    for relay in tiers.relays:
        relay.kill()
    edge.start()
    assert gates(edge) == {("pinned", "all"), ("frozen", "shop")}
    assert seen(edge) & set(words) == {"pinned-granted", "served-granted"}
    assert seen(edge, "shop") & set(words) == {"frozen-granted", "served-granted"}
    cut = [entry for entry in versions(edge)["versions"] if entry["isCut"]]
    assert len(cut) >= 3
    assert not any(on_disk(edge, word) for word in lost.values())


@pytest.mark.parametrize("crashes", [False, True])
def test_what_a_full_disk_could_not_erase_is_owed(tiers, folder, crashes):
    """There is no room when the grant ends, and again some, in this process or in the next one."""
    edge, disk = tiers.edge, folder / "small"
    edge.terminate()
    # Room for the program's own files, and none for a change once it is filled.
    if not mounted(disk, "2m"):
        pytest.skip("this host does not let the tests mount a tmpfs")
    try:
        edge.configuration |= {"state": str(disk / "state"), "brake": {"window": "1s"}}
        edge.write_configuration()
        edge.start()
        word = f"word-{uuid.uuid4().hex}"
        everything = seen(edge)
        marked(tiers, {"lost": word}, *sorted(many(30)))
        arrives(edge, everything | {"lost"})
        eventually(lambda: on_disk(edge, word), lambda files: files, 10, "it is saved")
        # Deleted, and so long ago that the brake has forgotten it: it is in an older version and nowhere else.
        marked(tiers, {}, *sorted(many(30)))
        arrives(edge, everything)
        time.sleep(1.1)
        marked(tiers, {}, *sorted(many(31)))
        arrives(edge, everything | {"vs-30"})
        eventually(lambda: versions(edge)["versions"][0]["version"],
                   lambda version: version == edge.status["snapshot"]["version"], 10, "all of it is saved")
        assert on_disk(edge, word) and edge.status["store"]["state"] == "saving"
        fill(disk)
        narrow(tiers, "region", "lost")
        eventually(lambda: edge.status["store"]["state"], lambda state: state == "failing", 30, "there is no room")
        assert on_disk(edge, word)
        if crashes:
            edge.kill()
        (disk / "filler").unlink()
        if crashes:
            edge.start()
        eventually(lambda: on_disk(edge, word), lambda files: not files, 30, "what was owed is done")
    finally:
        Relay.stop_all(below=folder)
        subprocess.run(["umount", "--lazy", str(disk)])
