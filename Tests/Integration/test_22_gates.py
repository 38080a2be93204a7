"""Goal: a bad change can be held and taken back, for one cluster or all, over crashes, and nothing that policy hides
comes back with it.

Method: real relays and the program's own commands; what clusters are served is seen by a client's stream and by
`dump`; crashes are kill -9.
"""

import json
import os
import time

import pytest
from harness.ads import Arrivals, Delta
from harness.relay import Relay, run
from harness.tiers import build_tiers, edge_policy, start_all
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL, virtual_service


def order(relay, *arguments, code=0):
    """Runs a command against a relay; returns its output."""
    result = run(*arguments, "--admin", f"unix://{relay.admin_path}")
    assert result.returncode == code, f"{arguments}: {result.returncode} {result.stdout} {result.stderr}"
    return result.stdout + result.stderr


def write(folder, names, host="a.example.org", namespace="shop"):
    text = "---\n".join(virtual_service(name, host, namespace) for name in names)
    fresh = folder / ".many"
    fresh.write_text(text)
    fresh.rename(folder / "many.yaml")


def seen(relay, cluster="all"):
    """Names of the VirtualServices that a cluster is served."""
    identity = f"spiffe://example.org/cluster/{cluster}/istiod"
    return {entry["name"] for entry in json.loads(order(relay, "dump", "--as", identity))
            if entry["type"].endswith("/VirtualService")}


def versions(relay):
    return json.loads(order(relay, "history", "--json"))


def gates(relay):
    return {(gate["kind"], gate["cluster"]) for gate in relay.status["gates"]}


def many(count):
    return {f"vs-{number}" for number in range(count)}


def arrives(relay, expected, cluster="all"):
    eventually(lambda: seen(relay, cluster), lambda names: names == expected, 10, f"{cluster} is served {expected}")


def published(relay, count):
    eventually(lambda: relay.status["snapshot"]["resources"], lambda found: found == count, 10, f"{count} resources")


@pytest.fixture
def origin(folder):
    """One relay that is an origin, with 30 objects and a state folder."""
    manifests = folder / "manifests"
    manifests.mkdir()
    write(manifests, sorted(many(30)))
    relay = Relay(
        folder, "origin", TrustDomain(folder / "trust"), origin="mesh-test", policy=edge_policy(),
        sources=[{"name": "files", "directory": {"path": str(manifests)}}], state=str(folder / "state"))
    relay.manifests = manifests
    return relay.start()


def test_a_mass_removal_is_held_through_a_crash_until_it_is_released(origin, folder):
    write(origin.manifests, sorted(many(5)))
    published(origin, 5)
    assert seen(origin) == many(30) and seen(origin, "shop") == many(30)
    # `bank` and `nothing` see none of it: nothing is held from them.
    assert gates(origin) == {("held", "all"), ("held", "shop"), }
    assert "25 of 30 networking.istio.io/VirtualService" in order(origin, "status")
    assert origin.metric("meshrelay_held_views") == 2

    origin.kill()
    origin.start()
    assert seen(origin) == many(30), "a crash releases nothing"
    assert gates(origin) == {("held", "all"), ("held", "shop")}

    order(origin, "release", "all")
    assert seen(origin) == many(5) and seen(origin, "shop") == many(30)
    # The others are let go by themselves once what is missing is back.
    write(origin.manifests, sorted(many(30)))
    eventually(lambda: gates(origin), lambda found: not found, 10, "nobody is held")
    assert "does not hold" in order(origin, "release", "all", code=1)
    origin.kill()
    origin.start()
    assert gates(origin) == set()


def test_a_client_hears_nothing_of_what_is_held(origin):
    svid = origin.trust.issue("cluster/all/istiod")
    with Delta(origin.address, svid, origin.trust.bundle) as client:
        client.subscribe(TYPE_URL)
        eventually(lambda: len(client.state(TYPE_URL)), lambda count: count == 30, 10, "all are there")
        mark = client.mark
        write(origin.manifests, sorted(many(5)) + ["fresh"])
        published(origin, 6)
        client.expect_silence(0.5, since=mark)
        order(origin, "release", "all")
        eventually(
            lambda: {name.split("/")[1] for name in client.state(TYPE_URL)},
            lambda names: names == many(5) | {"fresh"}, 10, "what was released arrives")
        identifiers = [json.loads(r.control_plane.identifier) for r in client.responses[mark:]]
        assert {i.get("removals") for i in identifiers if "removals" in i} == {"released"}
        sequences = [json.loads(r.control_plane.identifier)["sequence"] for r in client.responses]
        assert sequences == sorted(sequences)


def test_a_rollback_and_a_pin_hold_through_crashes(origin):
    write(origin.manifests, sorted(many(31)), host="new.example.org")
    published(origin, 31)
    kept = versions(origin)
    assert kept["kept"] == "disk" and [version["resources"] for version in kept["versions"]] == [31, 30]
    old = kept["versions"][1]["version"]

    assert "rolled back" in order(origin, "rollback", old[:8])
    assert seen(origin) == many(30) and seen(origin, "shop") == many(30)
    order(origin, "pin", "shop", old)
    origin.kill()
    origin.start()
    assert seen(origin) == many(30) and gates(origin) == {("rolledBack", None), ("pinned", "shop")}
    write(origin.manifests, sorted(many(33)))
    published(origin, 33)
    assert seen(origin) == many(30), "what is new waits"
    status = order(origin, "status")
    assert "rolledBack" in status and "+3 ~0 -0" in status

    order(origin, "thaw")
    assert seen(origin) == many(33) and seen(origin, "shop") == many(30)
    assert "is pinned" in order(origin, "thaw", "shop", code=1)
    origin.kill()
    origin.start()
    assert seen(origin) == many(33) and seen(origin, "shop") == many(30)
    order(origin, "unpin", "shop")
    assert seen(origin, "shop") == many(33) and gates(origin) == set()


def test_the_end_of_a_freeze_is_judged_by_the_brake(origin):
    order(origin, "freeze")
    write(origin.manifests, sorted(many(2)))
    published(origin, 2)
    assert seen(origin) == many(30) and gates(origin) == {("frozen", None)}
    text = order(origin, "thaw", code=1)
    assert "The brake holds 'all'" in text and "28 of 30" in text
    answer = json.loads(order(origin, "release", "all", "networking.istio.io/VirtualService", "--json"))
    assert answer["command"] == "release" and answer["cluster"] == "all" and answer["held"] == []
    assert seen(origin) == many(2)


def test_what_is_kept_is_cut_by_the_policy_of_now(origin):
    old = versions(origin)["versions"][0]["version"]
    order(origin, "pin", "shop", old)
    narrowed = edge_policy()
    narrowed["clusters"][1]["allow"] = [{"namespaces": ["shop"], "names": ["vs-1"]}]
    origin.write_policy(narrowed)
    origin.reload()
    arrives(origin, {"vs-1"}, "shop")
    origin.kill()
    origin.start()
    assert seen(origin, "shop") == {"vs-1"}


def test_diff_shows_what_is_held_back_and_what_a_policy_would_do(origin, folder):
    identity = "spiffe://example.org/cluster/shop/istiod"
    type_name = "networking.istio.io/VirtualService"
    assert json.loads(order(origin, "diff", "--as", identity)) == {"added": [], "changed": [], "removed": []}
    write(origin.manifests, sorted(many(4)))
    published(origin, 4)
    held = json.loads(order(origin, "diff", "--as", identity, code=1))
    assert held["removed"] == sorted(f"{type_name} shop/vs-{n}" for n in range(4, 30)) and not held["added"]
    old = versions(origin)["versions"][1]["version"]
    back = json.loads(order(origin, "diff", "--as", identity, "--from", old[:10], code=1))
    assert back == held
    stricter = folder / "stricter.yaml"
    stricter.write_text(
        "clusters: [{name: shop, identities: ['spiffe://example.org/cluster/shop/istiod'], allow: [{names: [vs-1]}]}]")
    found = json.loads(
        order(origin, "diff", "--as", identity, "--policy", stricter, "--from", old, "--to", old, code=1))
    assert len(found["removed"]) == 29 and f"{type_name} shop/vs-1" not in found["removed"]
    stricter.write_text("clusters: nothing")
    assert "stricter.yaml:1:" in order(origin, "diff", "--as", identity, "--policy", stricter, code=1)
    assert origin.status["policy"]["state"] == "current"


def test_a_folder_that_turned_empty_is_adopted_and_braked(origin):
    (origin.manifests / "many.yaml").unlink()
    eventually(lambda: origin.status["sources"][0]["state"], lambda state: state == "failed", 10, "it is a fault")
    assert seen(origin) == many(30)
    assert "'nowhere'. The sources are: files" in order(origin, "adopt", "nowhere", code=1)
    order(origin, "adopt", "files")
    eventually(lambda: origin.status["sources"][0]["state"], lambda state: state == "synced", 10, "it is adopted")
    assert seen(origin) == many(30), "that everything goes is still for the brake to judge"
    order(origin, "release", "all")
    assert seen(origin) == set()
    assert "is synced" in order(origin, "adopt", "files", code=1)


def test_a_release_at_the_origin_frees_the_tree(folder):
    tiers = build_tiers(folder)
    write(tiers.manifests, sorted(many(40)))
    start_all(tiers)
    before = seen(tiers.edge)
    assert many(40) <= before
    write(tiers.manifests, sorted(many(3)))
    eventually(lambda: gates(tiers.origin), lambda found: ("held", "relay-region") in found, 10, "the origin holds it")
    assert seen(tiers.edge) == before and gates(tiers.region) == gates(tiers.edge) == set()
    order(tiers.origin, "release", "relay-region")
    arrives(tiers.edge, (before - many(40)) | many(3))
    assert gates(tiers.region) == gates(tiers.edge) == set()


def test_what_upstream_policy_takes_away_leaves_pins_and_history(folder):
    tiers = build_tiers(folder)
    tiers.edge.configuration["state"] = str(folder / "state")
    tiers.edge.write_configuration()
    write(tiers.manifests, sorted(many(30)), namespace="shop")
    start_all(tiers)
    old = versions(tiers.edge)["versions"][0]["version"]
    order(tiers.edge, "pin", "all", old)
    tiers.region.write_policy({"clusters": [
        {"name": "relay-edge", "identities": [tiers.edge.svid.uri], "allow": [{"namespaces": ["bank"]}]}]})
    tiers.region.reload()
    arrives(tiers.edge, {"ledger"})
    assert "cut: some of it is no longer granted" in order(tiers.edge, "history")
    tiers.edge.kill()
    tiers.edge.start()
    assert seen(tiers.edge) == {"ledger"} and gates(tiers.edge) == {("pinned", "all")}
    database = b"".join(path.read_bytes() for path in (folder / "state").iterdir())
    assert b"vs-17" not in database, "nothing of it is on disk"


@pytest.mark.parametrize("arguments, code, text", [
    (["pin", "nobody", "0" * 32], 1, "No kept version begins with 0000"),
    (["rollback", "1234567"], 1, "'1234567' is no version"),
    (["rollback", "NOTHEXNOTHEX"], 1, "is no version"),
    (["unpin", "nobody"], 1, "The policy has no cluster 'nobody'. Its clusters are: all, bank"),
    (["unpin", "all"], 1, "The cluster 'all' is not pinned"),
    (["thaw"], 1, "No cluster is frozen or rolled back"),
    (["release", "all", "VirtualService"], 1, "'VirtualService' is not group/Kind"),
    (["pin", "all"], 64, "Missing expected argument '<version>'"),
])
def test_what_cannot_be_done_says_why(shared_origin, arguments, code, text):
    assert text in order(shared_origin, *arguments, code=code)


@pytest.fixture(scope="module")
def shared_origin():
    import pathlib
    import shutil
    import tempfile
    folder = pathlib.Path(tempfile.mkdtemp(prefix="meshrelay-shared-", dir="/tmp"))
    (folder / "manifests").mkdir()
    write(folder / "manifests", ["vs"])
    relay = Relay(
        folder, "origin", TrustDomain(folder / "trust"), policy=edge_policy(),
        sources=[{"name": "files", "directory": {"path": str(folder / "manifests")}}])
    yield relay.start()
    Relay.stop_all(below=folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_without_a_state_folder_versions_are_in_memory_and_it_is_said(shared_origin):
    assert "Kept in memory only" in order(shared_origin, "history")
    assert "not saved, a restart forgets it" in order(shared_origin, "freeze", "all")
    order(shared_origin, "thaw", "all")


def test_a_relay_that_is_not_there_is_69():
    for command in (["history"], ["freeze"], ["pin", "a", "0" * 32]):
        result = run(*command, "--admin", "unix:///tmp/nobody-listens-here.sock")
        assert result.returncode == 69 and "No relay listens" in result.stderr


def test_a_crash_does_not_reset_the_window(origin):
    left = 30
    for step in range(4):
        left -= 3
        write(origin.manifests, sorted(many(left)))
        published(origin, left)
        if step < 3:
            assert seen(origin) == many(left), "few at a time"
        origin.kill()
        origin.start()
    assert seen(origin) == many(21), "12 of 30 within ten minutes are too many"
    assert gates(origin) == {("held", "all"), ("held", "shop")}
    assert "12 of 30" in order(origin, "status")
    order(origin, "release", "all")
    order(origin, "release", "shop")
    origin.kill()
    origin.start()
    write(origin.manifests, sorted(many(17)))
    published(origin, 17)
    assert seen(origin) == many(17) and gates(origin) == set(), "what was released does not count again"


def test_a_release_is_heard_by_a_tier_that_was_away_and_from_one_that_crashed(folder):
    tiers = build_tiers(folder)
    write(tiers.manifests, sorted(many(40)))
    for relay in tiers.relays:
        relay.configuration["state"] = str(folder / f"state-{relay.name}")
        # Who names what it holds is told why it goes.
        for source in relay.configuration["sources"]:
            source.get("upstream", {})["protocol"] = "delta"
        relay.write_configuration()
    start_all(tiers)
    before = seen(tiers.edge)
    tiers.edge.kill()
    write(tiers.manifests, sorted(many(3)))
    eventually(lambda: gates(tiers.origin), lambda found: ("held", "relay-region") in found, 10, "the origin holds it")
    order(tiers.origin, "release", "relay-region")
    arrives(tiers.region, (before - many(40)) | many(3))
    tiers.region.kill()
    tiers.region.start()
    tiers.edge.start()
    arrives(tiers.edge, (before - many(40)) | many(3))
    assert gates(tiers.edge) == set()


def test_how_much_of_the_past_is_kept_follows_a_reload(origin):
    for count in (31, 32, 33):
        write(origin.manifests, sorted(many(count)))
        published(origin, count)
    order(origin, "pin", "shop", versions(origin)["versions"][3]["version"])
    assert [version["resources"] for version in versions(origin)["versions"]] == [33, 32, 31, 30]
    origin.configuration["history"] = {"versions": 2, "keep": "1h"}
    origin.write_configuration()
    origin.reload()
    eventually(
        lambda: [version["resources"] for version in versions(origin)["versions"]], lambda found: found == [33, 32, 30],
        10, "what is too much goes at once, but for what a gate keeps")
    assert origin.status["config"]["error"] is None
    for count in (34, 35):
        write(origin.manifests, sorted(many(count)))
        published(origin, count)
    assert [version["resources"] for version in versions(origin)["versions"]] == [35, 34, 30]


def test_everything_at_the_gates_is_on_record(origin, folder):
    log = folder / "audit.jsonl"
    origin.terminate()
    origin.configuration["audit"] = {"path": str(log)}
    origin.write_configuration()
    origin.start()
    old = versions(origin)["versions"][0]["version"]
    for arguments in (
            ["freeze"], ["thaw"], ["rollback", old, "--cluster", "shop"], ["thaw", "shop"], ["pin", "shop", old],
            ["unpin", "shop"]):
        order(origin, *arguments)
    (origin.manifests / "many.yaml").unlink()
    eventually(lambda: origin.status["sources"][0]["state"], lambda state: state == "failed", 10, "nothing is left")
    order(origin, "adopt", "files")
    eventually(lambda: gates(origin), lambda found: ("held", "all") in found, 10, "the brake holds it")
    order(origin, "release", "all")
    order(origin, "pin", "nobody", old, code=1)
    assert origin.terminate() == 0
    records = [json.loads(line) for line in log.read_text().splitlines()]
    done = [(record["event"], record.get("cluster"), record.get("version")) for record in records
            if record["event"] in ("freeze", "thaw", "rollback", "pin", "unpin", "adopt", "hold", "release")]
    assert done[:7] == [
        ("freeze", None, old), ("thaw", None, None), ("rollback", "shop", old), ("thaw", "shop", None),
        ("pin", "shop", old), ("unpin", "shop", None), ("adopt", None, None)]
    assert set(done[7:9]) == {("hold", "all", old), ("hold", "shop", old)} and done[9:] == [("release", "all", None)]
    assert all("reason" in record for record in records if record["event"] == "hold")
    result = run("audit", "verify", str(log))
    assert result.returncode == 0, result.stdout + result.stderr


# How many objects. The contract says "in under 2 s" at any number: what is printed is the time from the command to the
# last byte at the last client. It is not asserted, for a machine that runs tests has other things to do.
OBJECTS = int(os.environ.get("MESHRELAY_OBJECTS", "2000"))


def test_a_rollback_reaches_everybody(folder):
    manifests = folder / "manifests"
    manifests.mkdir()
    write(manifests, sorted(many(OBJECTS)), host="old.example.org")
    relay = Relay(
        folder, "origin", TrustDomain(folder / "trust"), origin="mesh-test", policy=edge_policy(),
        sources=[{"name": "files", "directory": {"path": str(manifests)}}], state=str(folder / "state"))
    relay.start(ready=False)
    relay.wait_ready(timeout=120)
    clients = [Arrivals(relay.address, relay.trust.issue(f"cluster/{name}/istiod"), relay.trust.bundle)
               for name in ("all", "shop")]
    try:
        for client in clients:
            client.subscribe(TYPE_URL)
            client.wait_for(TYPE_URL, timeout=60)
        before = [client.state(TYPE_URL) for client in clients]
        write(manifests, sorted(many(OBJECTS)), host="new.example.org")
        for client, old in zip(clients, before):
            eventually(
                lambda: client.state(TYPE_URL), lambda state: state.keys() == old.keys() and state != old, 120, "it is new")
        after = [client.state(TYPE_URL) for client in clients]
        kept = eventually(
            lambda: versions(relay)["versions"], lambda found: len(found) == 2, 60, "both are on disk")[1]["version"]

        def took(arguments, expected):
            moved = [client for client, state in zip(clients, expected) if client.state(TYPE_URL) != state]
            marks = [client.mark for client in moved]
            start = time.monotonic()
            order(relay, *arguments)
            answered = time.monotonic()
            for client, mark in zip(moved, marks):
                client.wait_for_quiet(0.5, mark, 60)
            for client, state in zip(clients, expected):
                eventually(
                    lambda: client.state(TYPE_URL), lambda held: held == state, 60,
                    f"{arguments} of {OBJECTS} objects is in force everywhere")
            there = max(client.last_arrival for client in moved) - start
            print(
                f"{' '.join(arguments[:1] + arguments[2:])} of {OBJECTS} objects: {there:.2f} s to the last byte at the"
                f" last of {len(moved)} clients, command answered after {answered - start:.2f} s")

        took(["rollback", kept], before)
        took(["thaw"], after)
        took(["rollback", kept, "--cluster", "shop"], [after[0], before[1]])
        took(["thaw", "shop"], after)
        took(["pin", "shop", kept], [after[0], before[1]])
    finally:
        for client in clients:
            client.close()
