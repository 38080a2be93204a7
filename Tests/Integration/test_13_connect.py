"""A stock istiod, which can present no certificate, follows the edge through `meshrelay connect`.

Method: a double of istiod's own client, written from what its code does, is the witness: it takes away
whatever a response lacks, so an answer that is empty or partial by accident shows as a deletion.
"""

import json
import pathlib
import time

import pytest
import yaml
from harness import bodies
from harness.companion import MESH_CONFIG, Companion, Istiod
from harness.relay import Relay, run
from harness.tiers import build_tiers, start_all
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, host_of, virtual_service


def names_of(manifests):
    """{kind: names} of a folder."""
    names = {}
    for kind, name in bodies.read_manifests(manifests):
        names.setdefault(kind, set()).add(name)
    return names


def companion_of(tiers, **settings):
    return Companion(tiers.folder, tiers.trust, tiers.identity("all"), [tiers.edge], **settings)


def wait_until_ready(istiod, timeout=15):
    eventually(lambda: set(istiod.TYPES[1:]) - istiod.synced, lambda missing: not missing, timeout, "istiod's types")


def wait_for_names(istiod, names, timeout=10):
    eventually(
        lambda: istiod.names.get("VirtualService", set()), lambda held: held == names, timeout,
        "VirtualServices at istiod")


def deletions(istiod):
    return [event for event in istiod.events if event[0] == "delete"]


def stays_as_it_is(istiod, seconds):
    """Fails when istiod hears or loses anything within the time."""
    before = istiod.responses
    time.sleep(seconds)
    assert istiod.responses == before, istiod.events[-10:]
    assert istiod.ended == [], "its stream is kept"


@pytest.mark.parametrize("io", ["epoll", "io_uring"])
def test_istiod_becomes_ready_and_converges(tiers, io):
    companion = companion_of(tiers).start(arguments=["--io", io])
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)
        assert istiod.names == names_of(tiers.manifests)

        (tiers.manifests / "new.yaml").write_text(virtual_service("fresh", "one.example.org"))
        wait_for_names(istiod, AT_START | {"shop/fresh"})
        (tiers.manifests / "new.yaml").write_text(virtual_service("fresh", "two.example.org"))
        eventually(
            lambda: host_of(istiod.held[TYPE_URL]["shop/fresh"]), lambda host: host == "two.example.org", 10,
            "the changed VirtualService")
        (tiers.manifests / "new.yaml").unlink()
        wait_for_names(istiod, AT_START)

        assert deletions(istiod) == [("delete", TYPE_URL, "shop/fresh")]
        assert istiod.ended == [], "one stream for all of it"
        # Nobody provides a MeshConfig: it is answered empty, once, and that is acknowledged.
        assert istiod.acknowledged.count(MESH_CONFIG) == 1
        shows_its_client_as_itself(companion, io)


def shows_its_client_as_itself(companion, io):
    status = companion.status
    assert status["ready"] and status["io"] == io
    [client] = status["clients"]
    assert client["spiffeID"] == companion.svid.uri == status["identity"]["spiffeID"]
    assert client["cluster"] == "local" and client["protocol"] == "sotw"
    assert client["address"].startswith("127.0.0.1:")
    assert len(client["types"]) == len(Istiod.TYPES)
    eventually(
        lambda: companion.status["clients"][0]["types"][TYPE_URL],
        lambda type_: type_["acked"] == type_["sent"] is not None, 5, "what istiod acknowledged")
    [source] = status["sources"]
    assert (source["name"], source["state"]) == ("relay", "synced")
    dump = run("dump", "--admin", f"unix://{companion.admin_path}", "--as", companion.svid.uri)
    assert dump.returncode == 0, dump.stderr
    assert {entry["type"] for entry in json.loads(dump.stdout)}
    dump = run("dump", "--admin", f"unix://{companion.admin_path}", "--as", "spiffe://elsewhere.org/x")
    assert (dump.returncode, dump.stdout) == (64, "") and "ask as an identity of example.org" in dump.stderr


def test_it_serves_what_its_identity_is_granted_and_no_more(tiers):
    companion = Companion(tiers.folder, tiers.trust, tiers.identity("shop"), [tiers.edge]).start()
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)
        held = {name for names in istiod.names.values() for name in names}
        assert held and all(name.startswith("shop/") for name in held), held
        assert "WasmPlugin" not in istiod.names, "the edge denies it"


def test_an_outage_of_every_relay_is_silence(tiers):
    companion = companion_of(tiers).start()
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)
        tiers.edge.kill()
        eventually(lambda: companion.status["sources"][0]["state"], lambda s: s == "stale", 10, "the source")
        (tiers.manifests / "new.yaml").write_text(virtual_service("meanwhile"))
        stays_as_it_is(istiod, 2)
        assert companion.get("/readyz")[0] == 200

        tiers.edge.start()
        wait_for_names(istiod, AT_START | {"shop/meanwhile"}, timeout=20)
        assert deletions(istiod) == [] and istiod.ended == []


def test_with_state_a_restart_needs_no_relay(tiers):
    companion = companion_of(tiers, state="state").start()
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)
        # Saved behind the answer: wait until a restart would find it.
        eventually(lambda: sorted((companion.folder / "state").iterdir()), bool, 10, "the stored snapshot")
        time.sleep(1)
        for relay in (tiers.edge, companion):
            relay.kill()
        companion.start(ready=False)
        eventually(lambda: istiod.ended, bool, 10, "the end of istiod's first stream")
        answered = istiod.responses
        eventually(lambda: istiod.responses, lambda now: now >= answered + len(istiod.TYPES), 15, "all types again")
        assert istiod.names == names_of(tiers.manifests) and deletions(istiod) == []
    # Another istiod, started later, becomes ready from it, too.
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)
        assert istiod.names == names_of(tiers.manifests)


def test_what_is_stored_is_not_served_after_a_refusal(tiers):
    """A restart behind a relay that refused this host: silence, whether or not the relay can be asked again."""
    policy = tiers.edge.folder / "policy.yaml"
    granting = yaml.safe_load(policy.read_text())
    companion = companion_of(tiers, state="state").start()
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)
        tiers.edge.write_policy({"clusters": [one for one in granting["clusters"] if one["name"] != "all"]})
        tiers.edge.reload()
        eventually(lambda: companion.status["sources"][0]["state"], lambda state: state == "failed", 15, "the refusal")
        # What it has it keeps: a refusal deletes nothing here.
        assert deletions(istiod) == [] and istiod.ended == []
    time.sleep(1)
    for relay in (tiers.edge, companion):
        relay.kill()
    companion.start(ready=False)
    with Istiod(companion.address) as istiod:
        stays_as_it_is(istiod, 2)
        assert companion.get("/readyz")[0] == 503
        tiers.edge.write_policy(granting)
        tiers.edge.start()
        wait_until_ready(istiod, timeout=30)
        assert istiod.names == names_of(tiers.manifests)
    # Forgiven: what is stored counts again.
    time.sleep(1)
    for relay in (tiers.edge, companion):
        relay.kill()
    companion.start(ready=False)
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)


def test_nothing_is_answered_while_no_relay_was_reached(folder):
    tiers = build_tiers(folder)
    companion = companion_of(tiers).start(ready=False)
    with Istiod(companion.address) as istiod:
        stays_as_it_is(istiod, 2)
        assert companion.get("/readyz")[0] == 503 and not istiod.is_ready
        start_all(tiers)
        wait_until_ready(istiod, timeout=20)
        assert istiod.names == names_of(tiers.manifests)
        assert istiod.ended == [] and deletions(istiod) == []


def test_nothing_is_answered_while_there_is_no_identity(tiers):
    svid = tiers.identity("all")
    certificate = svid.certificate.read_bytes()
    svid.certificate.unlink()
    companion = Companion(tiers.folder, tiers.trust, svid, [tiers.edge]).start(ready=False)
    with Istiod(companion.address) as istiod:
        stays_as_it_is(istiod, 1.5)
        svid.certificate.write_bytes(certificate)
        wait_until_ready(istiod)
        assert istiod.names == names_of(tiers.manifests) and istiod.ended == []


def test_it_never_goes_back_to_a_lagging_relay(folder):
    trust = TrustDomain(folder / "trust")
    everybody = {"clusters": [{"name": "all", "identities": ["spiffe://example.org/*"], "allow": [{}]}]}

    def replica(name, *services):
        manifests = folder / f"manifests-{name}"
        manifests.mkdir()
        for service in services:
            (manifests / f"{service}.yaml").write_text(virtual_service(service))
        source = {"name": "files", "directory": {"path": str(manifests)}}
        return Relay(folder, name, trust, sources=[source], policy=everybody, origin="mesh-test").start(), manifests

    lagging, lagging_manifests = replica("lagging", "old")
    ahead, _ = replica("ahead", "old", "new")
    companion = Companion(
        folder, trust, trust.issue("cluster/a/istiod"), [ahead, lagging],
        spiffe_id="spiffe://example.org/relay/*").start()
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)
        wait_for_names(istiod, {"shop/old", "shop/new"})
        ahead.kill()
        eventually(
            lambda: companion.log, lambda log: "source is behind" in log, 15, "the word that the other one lags")
        stays_as_it_is(istiod, 2)

        (lagging_manifests / "newer.yaml").write_text(virtual_service("newer"))
        wait_for_names(istiod, {"shop/old", "shop/newer"}, timeout=30)
        assert istiod.ended == []


@pytest.mark.parametrize("listen, problem", [
    ("0.0.0.0:15051", "which other hosts can reach"),
    ("127.0.0.1:15010", "which istiod itself uses"),
])
def test_it_opens_no_other_address(folder, listen, problem):
    tiers = build_tiers(folder)
    companion = companion_of(tiers, listen=listen)
    checked = run("check", "--config", companion.configuration_path)
    assert checked.returncode == 1 and problem in checked.stdout, checked
    started = run("connect", "--config", companion.configuration_path)
    assert started.returncode == 78 and problem in started.stderr, started


def test_the_kubernetes_manifests_fit_together(tiers):
    """What docs/kubernetes says runs: its configuration, its command line, and a place for every file it names."""
    shipped = pathlib.Path(__file__).parents[2] / "docs" / "kubernetes"
    [config_map] = yaml.safe_load_all((shipped / "companion-config.yaml").read_text())
    [patch] = yaml.safe_load_all((shipped / "istiod-companion.yaml").read_text())
    pod = patch["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(mounts) == set(volumes)
    assert volumes["meshrelay-config"]["configMap"]["name"] == config_map["metadata"]["name"]
    text = config_map["data"]["connect.yaml"]
    configuration = yaml.safe_load(text)
    identity = configuration["identity"]
    for path in (identity["files"]["svid"], identity["files"]["key"]["file"], *identity["bundles"].values()):
        assert path.startswith(mounts["meshrelay-svid"] + "/")
    assert configuration["state"] == mounts["meshrelay-state"]
    assert configuration["admin"] == f"unix://{mounts['meshrelay-run']}/admin.sock"
    assert container["livenessProbe"]["exec"]["command"][2:4] == ["--admin", configuration["admin"]]
    command, option, path, *io = container["args"]
    assert (command, option) == ("connect", "--config")
    assert path == f"{mounts['meshrelay-config']}/connect.yaml"
    assert all(container["securityContext"][one] for one in ("runAsNonRoot", "readOnlyRootFilesystem"))

    # The same with this test's places, relays and trust: it becomes ready for istiod.
    companion = companion_of(tiers)
    for name, place in (
            (mounts["meshrelay-run"], companion.folder), (mounts["meshrelay-state"], companion.folder / "state")):
        text = text.replace(name, str(place))
    configuration = yaml.safe_load(text)
    for part in ("identity", "relay", "listen"):
        configuration[part] = companion.configuration[part]
    companion.configuration = {**configuration, "node": companion.name}
    companion.write_configuration()
    companion.start(arguments=io)
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)


def test_check_accepts_its_file(folder):
    companion = companion_of(build_tiers(folder))
    checked = run("check", "--config", companion.configuration_path)
    assert checked.returncode == 0, checked
    companion.configuration["policy"] = "policy.yaml"
    companion.write_configuration()
    checked = run("check", "--config", companion.configuration_path)
    assert checked.returncode == 1 and "policy" in checked.stdout, "it has no policy of its own"


def test_a_reload_follows_another_relay(tiers):
    companion = companion_of(tiers).start()
    with Istiod(companion.address) as istiod:
        wait_until_ready(istiod)
        companion.configuration["relay"] = {
            "addresses": [tiers.region.address], "spiffeID": tiers.region.svid.uri}
        companion.write_configuration()
        companion.reload()
        tiers.edge.kill()
        (tiers.manifests / "new.yaml").write_text(virtual_service("fresh"))
        wait_for_names(istiod, AT_START | {"shop/fresh"}, timeout=20)
        assert istiod.ended == [] and deletions(istiod) == []
