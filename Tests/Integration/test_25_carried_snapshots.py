"""Goal: a snapshot reaches a host without a network as a file, whole or not at all, and what is served there is exactly
what was exported.

Method: a relay exports with the program's own command; another, whose upstream cannot be reached, imports; a client that
is not ours compares what both serve. Then restarts, older files, damaged files, and the return of the upstream.
"""

import json
import os
import shutil

import pytest
from harness.ads import Delta
from harness.companion import Companion, Istiod
from harness.relay import Relay, free_port, run
from harness.tiers import build_tiers, edge_policy, relays_only
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import TYPE_URL, virtual_service
from test_22_gates import gates, many, order, seen, versions, write


class Island:
    """An origin, and a host that is to follow it and cannot reach it."""

    def __init__(self, folder):
        self.folder = folder
        self.trust = TrustDomain(folder / "trust")
        self.manifests = folder / "manifests"
        self.manifests.mkdir()
        write(self.manifests, sorted(many(30)))
        self.port = free_port()
        self.origin = Relay(
            folder, "origin", self.trust, origin="mesh-test",
            policy={"clusters": relays_only("far")["clusters"] + edge_policy()["clusters"]},
            sources=[{"name": "files", "directory": {"path": str(self.manifests)}}])
        upstream = {"name": "central", "upstream": {
            "addresses": [f"127.0.0.1:{self.port}"], "spiffeID": self.origin.svid.uri, "protocol": "delta"}}
        self.far = Relay(
            folder, "far", self.trust, policy=edge_policy(), sources=[upstream], state=str(folder / "state"),
            audit={"path": str(folder / "audit.jsonl")})

    @property
    def audited(self):
        return [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]

    def export(self, name="carried.snapshot", *arguments, code=0):
        path = self.folder / name
        text = order(self.origin, "snapshot", "export", path, *arguments, code=code)
        return path, text

    def bring(self, path, *arguments, code=0):
        return order(self.far, "snapshot", "import", path, *arguments, code=code)

    def state(self):
        return self.far.status["sources"][0]["state"]


@pytest.fixture
def island(folder):
    island = Island(folder)
    island.origin.start()
    island.far.start(ready=False)
    return island


def everything(relay, cluster="all"):
    """What a client of this cluster holds: name, version and bytes of each resource."""
    svid = relay.trust.issue(f"cluster/{cluster}/istiod")
    with Delta(relay.address, svid, relay.trust.bundle) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        return {r.name: (r.version, r.resource.value) for m in client.of_type(TYPE_URL) for r in m.resources}


def test_a_host_without_a_network_serves_what_was_exported(island):
    path, text = island.export()
    assert "30 resources" in text and oct(path.stat().st_mode & 0o777) == "0o600"
    assert [entry.name for entry in island.folder.iterdir() if ".partial" in entry.name] == []
    assert island.far.get("/readyz")[0] == 503
    would = json.loads(island.bring(path, "--dry-run", "--json", code=1))
    assert would["added"]["count"] == 30 and would["isDryRun"] and island.far.get("/readyz")[0] == 503

    assert "Imported version" in island.bring(path)
    island.far.wait_ready()
    assert everything(island.far) == everything(island.origin)
    assert everything(island.far, "shop") == everything(island.origin, "shop")
    theirs, ours = island.origin.status["snapshot"], island.far.status["snapshot"]
    assert {key: ours[key] for key in ("version", "origin", "sequence", "resources")} == {
        key: theirs[key] for key in ("version", "origin", "sequence", "resources")}
    assert [hop["node"] for hop in ours["path"]] == ["origin"]
    assert island.state() == "stale"
    record = [entry for entry in island.audited if entry["event"] == "import"]
    assert len(record) == 1 and record[0]["source"] == "central" and record[0]["addedCount"] == 30

    island.far.kill()
    island.far.start()
    assert everything(island.far) == everything(island.origin), "a restart keeps it"
    assert "+0 ~0 -0" in island.bring(path), "the same again changes nothing"
    assert island.bring(path, "--dry-run").endswith("+0 ~0 -0\n")


def test_an_older_file_is_refused_unless_it_is_meant(island):
    old, _ = island.export("old.snapshot")
    write(island.manifests, sorted(many(31)), host="new.example.org")
    eventually(lambda: island.origin.status["snapshot"]["resources"], lambda n: n == 31, 10, "31 at the origin")
    new, _ = island.export("new.snapshot")
    island.bring(new)
    island.far.wait_ready()
    text = island.bring(old, code=1)
    assert "older than what is served" in text and "--adopt" in text
    assert seen(island.far) == many(31), "what is refused changes nothing"
    assert [e["reason"] for e in island.audited if e["event"] == "import"][-1].startswith("refused: The file is older")
    assert "+0 ~30 -1" in island.bring(old, "--adopt")
    assert seen(island.far) == many(30)
    assert "adopted" in [e["reason"] for e in island.audited if e["event"] == "import"][-1]
    island.bring(new)
    assert seen(island.far) == many(31)


def test_the_upstream_is_followed_from_there_when_it_is_back(island):
    path, _ = island.export()
    island.bring(path)
    island.far.wait_ready()
    svid = island.trust.issue("cluster/all/istiod")
    with Delta(island.far.address, svid, island.trust.bundle) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        mark = client.mark
        write(island.manifests, sorted(many(30)) + ["fresh"])
        island.origin.terminate()
        island.origin.port = island.port
        island.origin.configuration["listen"] = [{"address": island.origin.address}]
        island.origin.write_configuration()
        island.origin.start()
        eventually(
            lambda: {name.split("/")[1] for name in client.state(TYPE_URL)},
            lambda names: names == many(30) | {"fresh"}, 60, "what is new arrives")
        changed = {r.name for m in client.responses[mark:] for r in m.resources}
        assert changed == {"shop/fresh"}, "and nothing else is sent again"
    assert island.state() == "synced"
    text = island.bring(path, code=1)
    assert "is being followed now" in text and "rollback" in text
    assert "older than what is served" in island.bring(path, "--dry-run", code=1)
    assert island.bring(island.export("now.snapshot")[0], "--dry-run").endswith("+0 ~0 -0\n")


def test_what_a_file_no_longer_has_is_judged_by_the_brake(island):
    island.bring(island.export()[0])
    island.far.wait_ready()
    write(island.manifests, sorted(many(5)))
    eventually(lambda: island.origin.status["snapshot"]["resources"], lambda n: n == 5, 10, "5 at the origin")
    text = island.bring(island.export("small.snapshot")[0], code=1)
    assert "The brake holds 'all'" in text and "25 of 30" in text
    assert seen(island.far) == many(30) and ("held", "all") in gates(island.far)
    island.far.kill()
    island.far.start()
    assert seen(island.far) == many(30)
    order(island.far, "release", "all")
    assert seen(island.far) == many(5)
    assert len(versions(island.far)["versions"]) == 2


def test_a_stopped_relay_is_exported_from_its_state_folder(island):
    island.bring(island.export()[0])
    island.far.wait_ready()
    state, path = island.folder / "state", island.folder / "from-store.snapshot"
    running = run("snapshot", "export", path, "--state", state)
    assert running.returncode == 1 and "Another process has" in running.stderr and not path.exists()
    island.far.kill()
    before = {entry.name: entry.read_bytes() for entry in state.iterdir()}
    stopped = run("snapshot", "export", path, "--state", state)
    assert stopped.returncode == 0 and "30 resources" in stopped.stdout, stopped.stderr
    assert {entry.name: entry.read_bytes() for entry in state.iterdir()} == before, "nothing in the folder is touched"
    shutil.rmtree(state)
    island.far.start(ready=False)
    assert "+30 ~0 -0" in island.bring(path)
    assert everything(island.far) == everything(island.origin)
    assert island.far.status["snapshot"]["sequence"] == island.origin.status["snapshot"]["sequence"]
    for arguments, code, text in [
        (["--state", "/nowhere"], 1, "/nowhere/snapshot.db cannot be used (No such file"),
        (["--state", str(state), "--as", "spiffe://example.org/x"], 64, "--as needs the policy"),
    ]:
        result = run("snapshot", "export", path, *arguments)
        assert result.returncode == code and text in result.stderr


def test_as_an_identity_only_its_grant_leaves(island):
    identity = "spiffe://example.org/cluster/bank/istiod"
    write(island.manifests, ["secret-of-shop"])
    (island.manifests / "bank.yaml").write_text(virtual_service("ledger", "b.example.org", "bank"))
    eventually(lambda: island.origin.status["snapshot"]["resources"], lambda n: n == 2, 10, "2 at the origin")
    path, text = island.export("bank.snapshot", "--as", identity)
    assert "1 resources" in text and b"ledger" in path.read_bytes() and b"secret-of-shop" not in path.read_bytes()
    island.bring(path)
    assert seen(island.far) == {"ledger"}
    _, text = island.export("none.snapshot", "--as", "spiffe://example.org/nobody", code=1)
    assert "No cluster has the identity" in text and not (island.folder / "none.snapshot").exists()


@pytest.mark.parametrize("damage, text", [
    (lambda data: data[:-1], "cut short"),
    (lambda data: data[:len(data) // 2], "cut short"),
    (lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "damaged"),
    (lambda data: data + b"\n", "goes on after its end"),
    (lambda data: data.replace(b"\r\n", b"\n"), "no snapshot of meshrelay"),
    (lambda data: data[:11] + b"\x02" + data[12:], "format 2"),
    (lambda data: b"", "empty"),
    (lambda data: b"apiVersion: v1\n" * 1000, "no snapshot of meshrelay"),
])
def test_a_file_that_is_not_what_was_written_is_not_taken(shared_island, damage, text):
    island = shared_island
    path = island.folder / "damaged.snapshot"
    path.write_bytes(damage(island.exported.read_bytes()))
    assert text in island.bring(path, code=1)
    assert island.far.get("/readyz")[0] == 503 and island.far.status["snapshot"] is None


@pytest.mark.parametrize("arguments, code, text", [
    (["import", "/nowhere/x.snapshot"], 1, "Cannot read /nowhere/x.snapshot (No such file"),
    (["import", "/dev/null"], 1, "is no regular file"),
    (["import", "{file}", "--source", "elsewhere"], 1, "The sources are: central"),
    (["export", "/nowhere/x.snapshot"], 1, "nothing complete to export yet"),
    (["export"], 64, "Missing expected argument '<file>'"),
])
def test_what_cannot_be_done_says_why(shared_island, arguments, code, text):
    filled = [argument.replace("{file}", str(shared_island.exported)) for argument in arguments]
    assert text in order(shared_island.far, "snapshot", *filled, code=code)


def test_where_it_cannot_be_written_nothing_is_left(shared_island):
    island = shared_island
    _, text = island.export("missing/x.snapshot", code=1)
    assert "Cannot make" in text
    target = island.folder / "a-folder"
    target.mkdir()
    _, text = island.export("a-folder", code=1)
    assert "is no regular file" in text and list(target.iterdir()) == []


def test_a_directory_is_no_source_for_an_import(shared_island):
    text = order(shared_island.origin, "snapshot", "import", shared_island.exported, code=1)
    assert "no source of the kind `upstream`" in text


@pytest.fixture(scope="module")
def shared_island():
    import pathlib
    import tempfile
    folder = pathlib.Path(tempfile.mkdtemp(prefix="meshrelay-shared-", dir="/tmp"))
    island = Island(folder)
    island.origin.start()
    island.far.start(ready=False)
    island.exported, _ = island.export()
    yield island
    Relay.stop_all(below=folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_relay_that_is_not_there_is_69(folder):
    for command in ("export", "import"):
        path = folder / "x.snapshot"
        if command == "import":
            path.write_bytes(b"x")
        result = run("snapshot", command, path, "--admin", "unix:///tmp/nobody-listens-here.sock")
        assert result.returncode == 69 and "No relay listens" in result.stderr
    assert os.listdir(folder) == ["x.snapshot"]


def test_a_companion_without_a_network_makes_istiod_ready(folder):
    tiers = build_tiers(folder)
    tiers.origin.start()
    path = folder / "shop.snapshot"
    order(tiers.origin, "snapshot", "export", path, "--as", tiers.identity("all").uri)
    companion = Companion(folder, tiers.trust, tiers.identity("all"), [tiers.edge], state="state").start(ready=False)
    with Istiod(companion.address) as istiod:
        order(companion, "snapshot", "import", path)
        eventually(lambda: istiod.is_ready, bool, 15, "istiod is ready: every type was answered")
        served = json.loads(order(tiers.origin, "dump", "--as", tiers.identity("all").uri))
        assert sum(len(names) for names in istiod.names.values()) >= 10
        assert istiod.names["VirtualService"] == {
            f"{entry['namespace']}/{entry['name']}" for entry in served if entry["type"].endswith("/VirtualService")}
