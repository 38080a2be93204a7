"""What operators do: reload policy and configuration, stop, look at health."""

import signal
import socket
import subprocess
import threading
import time

import grpc
import pytest
from harness import bodies
from harness.relay import run
from harness.tiers import build_tiers, edge_policy
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, virtual_service


def policy_with(cluster, rules):
    policy = edge_policy()
    entry = next(entry for entry in policy["clusters"] if entry["name"] == cluster)
    entry["allow"] = rules
    return policy


def test_a_widened_grant_arrives(tiers):
    with tiers.client("shop") as client, tiers.client("bank") as other:
        for each in (client, other):
            each.subscribe(TYPE_URL)
            each.wait_for(TYPE_URL)
        mark, other_mark = client.mark, other.mark
        before = tiers.edge.status["policy"]
        tiers.edge.write_policy(policy_with("shop", [{"namespaces": ["shop", "bank"]}]))
        tiers.edge.reload()
        client.wait_for_names(TYPE_URL, AT_START, since=mark, timeout=5)
        other.expect_silence(1, since=other_mark)
        after = tiers.edge.status["policy"]
        assert after["hash"] != before["hash"] and after["error"] is None


def test_a_narrowed_grant_is_gone_within_a_second(tiers):
    with tiers.client("shop") as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == {"shop/catalogue"}
        mark = client.mark
        tiers.edge.write_policy(policy_with("shop", [{"namespaces": ["elsewhere"]}]))
        begun = time.monotonic()
        tiers.edge.reload()
        client.wait_for_names(TYPE_URL, set(), since=mark, timeout=5)
        taken = time.monotonic() - begun
        print(f"SIGHUP to removal at the client: {taken * 1000:.0f} ms")
        assert taken < 1.5


def test_a_narrowing_does_not_wait_for_an_acknowledgement(tiers):
    with tiers.client("shop", acknowledge=False) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        mark = client.mark
        tiers.edge.write_policy(policy_with("shop", [{"namespaces": ["elsewhere"]}]))
        tiers.edge.reload()
        client.wait_for_names(TYPE_URL, set(), since=mark, timeout=3)


@pytest.mark.parametrize("how", ["removed", "blocked"])
def test_an_identity_that_loses_its_place_is_ended_at_once(tiers, how):
    with tiers.client("shop") as client, tiers.client("all") as other:
        for each in (client, other):
            each.subscribe(TYPE_URL)
            each.wait_for(TYPE_URL)
        policy = edge_policy()
        if how == "removed":
            policy["clusters"] = [entry for entry in policy["clusters"] if entry["name"] != "shop"]
        else:
            policy["blocked"].append(tiers.trust.id("cluster/shop/istiod"))
        tiers.edge.write_policy(policy)
        begun = time.monotonic()
        tiers.edge.reload()
        code, _ = client.wait_for_end(timeout=5)
        assert time.monotonic() - begun < 1.5
        assert code == grpc.StatusCode.PERMISSION_DENIED
        assert other.end_state is None


@pytest.mark.parametrize("text, expected", [
    ("clusters: [\n", ""),
    ("clusters:\n  - name: shop\n    identities: [\"spiffe://example.org/cluster/*/istiod\"]\n", ":3:"),
    ("clusterz: []\n", ":1:1:"),
    ("clusters:\n  - {name: a, identities: [\"spiffe://example.org/a\"], allow: [{namespaces: []}]}\n", ":2:"),
    (
        "clusters:\n  - {name: a, identities: [\"spiffe://example.org/a\"], allow: [{}]}\n"
        "tests:\n  - {as: \"spiffe://example.org/a\", hidden: [\"networking.istio.io/* */*\"]}\n", ":4:"),
])
def test_a_bad_policy_keeps_the_old_one(tiers, text, expected):
    with tiers.client("shop") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        mark = client.mark
        before = tiers.edge.status["policy"]
        tiers.edge.write_policy(text)
        tiers.edge.reload()
        after = eventually(
            lambda: tiers.edge.status["policy"], lambda policy: policy["error"], 5, "the policy's error")
        assert "policy.yaml" + expected in str(after["error"])
        assert after["hash"] == before["hash"]
        client.expect_silence(0.5, since=mark)
        assert tiers.edge.metric("meshrelay_policy_ok") == 0
        tiers.edge.write_policy(edge_policy())
        tiers.edge.reload()
        eventually(lambda: tiers.edge.status["policy"]["error"], lambda error: error is None, 5, "no error")
        assert tiers.edge.metric("meshrelay_policy_ok") == 1


def test_a_bad_configuration_keeps_the_old_one(tiers):
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        good = tiers.edge.configuration_path.read_text()
        tiers.edge.configuration_path.write_text(good + "nodde: x\n")
        tiers.edge.reload()
        config = eventually(
            lambda: tiers.edge.status["config"], lambda config: config["error"], 5, "the configuration's error")
        assert "nodde" in str(config["error"])
        tiers.edge.configuration_path.write_text(good)
        tiers.edge.reload()
        eventually(lambda: tiers.edge.status["config"]["error"], lambda error: error is None, 5, "no error")
        assert client.end_state is None


def test_sigterm_drains(tiers):
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        assert tiers.edge.terminate() == 0
        code, _ = client.wait_for_end(timeout=2)
        assert code == grpc.StatusCode.UNAVAILABLE
    assert not tiers.edge.admin_path.exists(), "the socket goes with its owner"


def test_a_drained_upstream_is_no_deletion(tiers):
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        mark = client.mark
        assert tiers.region.terminate() == 0
        client.expect_silence(1.5, since=mark)
        tiers.region.start()
        client.expect_silence(1.5, since=mark)


def test_sigint_ends_as_sigterm_does(tiers):
    tiers.edge.process.send_signal(signal.SIGINT)
    assert tiers.edge.process.wait(15) == 0


def test_health_and_metrics(tiers):
    status, text = tiers.edge.get("/metrics")
    assert status == 200
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if line and not line.startswith("#")}
    for name in (
            "clients", "pushed_bytes_total", "snapshot_sequence", "config_ok", "policy_ok",
            "svid_expiry_timestamp_seconds", "staleness_seconds", "loop_busy_ratio", "memory_bytes"):
        assert f"meshrelay_{name}" in names, sorted(names)
    assert tiers.edge.metric("meshrelay_snapshot_resources", type="networking.istio.io/VirtualService") == 2
    assert tiers.edge.get("/healthz")[0] == 200
    assert tiers.edge.get("/nothing-here")[0] == 404


def test_the_status_says_who_and_what(tiers):
    status = tiers.edge.status
    assert status["node"] == "edge" and status["ready"] is True and status["reasons"] == []
    assert status["identity"]["spiffeID"] == tiers.edge.svid.uri
    assert status["identity"]["expiresAt"].endswith("Z")
    assert status["io"]
    assert status["snapshot"]["resources"] == len(bodies.read_manifests(tiers.manifests))
    [source] = status["sources"]
    assert (source["name"], source["kind"], source["state"]) == ("upstream", "upstream", "synced")
    assert source["resources"] == status["snapshot"]["resources"]


def test_a_rotated_svid_drops_no_stream(tiers):
    """New key and certificate beside the old: new connections see the new one, old streams stay."""
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        before = tiers.edge.status["identity"]["expiresAt"]
        fresh = tiers.trust.issue("relay/edge", to_hours=48)
        fresh.key.rename(tiers.edge.svid.key)
        fresh.certificate.rename(tiers.edge.svid.certificate)
        eventually(
            lambda: tiers.edge.status["identity"]["expiresAt"], lambda now: now != before, 10, "the new expiry")
        assert client.end_state is None
        with tiers.client("all") as newcomer:
            newcomer.subscribe(TYPE_URL)
            newcomer.wait_for(TYPE_URL)


@pytest.mark.parametrize("driver", ["io_uring", "epoll"])
def test_both_drivers_serve(folder, driver):
    """io_uring is the point, epoll the way out: the same conversation on either."""
    tiers = build_tiers(folder)
    tiers.origin.start(arguments=["--io", driver])
    assert tiers.origin.status["io"].startswith(driver)
    with tiers.client("all", relay=tiers.origin) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START


def test_a_source_added_by_a_reload_is_served_and_a_removed_one_is_not(tiers, folder):
    local = folder / "local"
    local.mkdir()
    (local / "own.yaml").write_text(virtual_service("own"))
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
        upstream_only = tiers.edge.configuration["sources"]
        mark = client.mark
        tiers.edge.configuration["sources"] = [*upstream_only, {"name": "local", "directory": {"path": str(local)}}]
        tiers.edge.write_configuration()
        tiers.edge.reload()
        client.wait_for_names(TYPE_URL, AT_START | {"shop/own"}, since=mark)
        mark = client.mark
        tiers.edge.configuration["sources"] = upstream_only
        tiers.edge.write_configuration()
        tiers.edge.reload()
        client.wait_for_names(TYPE_URL, AT_START, since=mark)
        for response in client.of_type(TYPE_URL):
            assert set(bodies.envelopes(response)) >= AT_START, "a reload never takes more than it should"


def test_a_change_that_needs_a_restart_says_so(tiers):
    tiers.edge.configuration["node"] = "renamed"
    tiers.edge.write_configuration()
    tiers.edge.reload()
    config = eventually(lambda: tiers.edge.status["config"], lambda config: config["error"], 5, "a word about it")
    assert "restart" in config["error"] and "node" in config["error"]
    assert tiers.edge.status["node"] == "edge"


def shakes_hands(relay, trust, svid, version):
    """Whether OpenSSL's client and the relay agree on this version of TLS."""
    said = subprocess.run(
        ["openssl", "s_client", f"-{version}", "-connect", relay.address, "-cert", svid.certificate, "-key", svid.key,
         "-CAfile", trust.bundle, "-alpn", "h2"], input="", capture_output=True, text=True, timeout=10).stdout
    return "Cipher is" in said and "Cipher is (NONE)" not in said


def test_limits_and_tls_change_without_a_restart(folder):
    tiers = build_tiers(folder, limits={"clientsPerIdentity": 1}, tls={"minimum": "1.2"})
    origin = tiers.origin.start()
    # Nobody's identity: its connections count for no limit, however late their end is noticed.
    svid = tiers.trust.issue("tools/openssl")
    assert shakes_hands(origin, tiers.trust, svid, "tls1_2")
    with tiers.client("all", relay=origin) as first:
        first.subscribe(TYPE_URL)
        first.wait_for(TYPE_URL)
        # Only now: else the second may be the one that is taken.
        with tiers.client("all", relay=origin) as second:
            second.subscribe(TYPE_URL)
            code, _ = second.wait_for_end(timeout=10)
        assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        mark = first.mark
        origin.configuration["limits"] = {"clientsPerIdentity": 2}
        origin.configuration["tls"] = {"minimum": "1.3"}
        origin.write_configuration()
        loaded = origin.status["config"]["loadedAt"]
        origin.reload()
        config = eventually(
            lambda: origin.status["config"], lambda config: config["loadedAt"] != loaded, 5, "the reload")
        assert config["error"] is None, config
        with tiers.client("all", relay=origin) as third:
            third.subscribe(TYPE_URL)
            third.wait_for(TYPE_URL)
        first.expect_silence(0.2, since=mark)
        assert not shakes_hands(origin, tiers.trust, svid, "tls1_2")
        assert shakes_hands(origin, tiers.trust, svid, "tls1_3")


def test_an_address_that_becomes_free_within_a_moment_is_waited_for(folder):
    """The kernel closes the sockets of a relay that was killed only after its process is gone."""
    tiers = build_tiers(folder)
    with socket.socket() as predecessor:
        predecessor.bind(("127.0.0.1", tiers.origin.port))
        predecessor.listen()
        closing = threading.Timer(0.7, predecessor.close)
        closing.start()
        tiers.origin.start()
        closing.join()


def test_more_connections_of_one_identity_than_allowed_are_refused(folder):
    tiers = build_tiers(folder, limits={"clientsPerIdentity": 2})
    tiers.origin.start()
    with tiers.client("all", relay=tiers.origin) as first, tiers.client("all", relay=tiers.origin) as second:
        for each in (first, second):
            each.subscribe(TYPE_URL)
            each.wait_for(TYPE_URL)
        with tiers.client("all", relay=tiers.origin) as third:
            third.subscribe(TYPE_URL)
            code, _ = third.wait_for_end(timeout=10)
            assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
            assert third.responses == []
            assert first.end_state is None and second.end_state is None
    with tiers.client("all", relay=tiers.origin) as again:
        again.subscribe(TYPE_URL)
        again.wait_for(TYPE_URL)


def bad_policy(relay):
    (relay.folder / "policy.yaml").write_text("clusters:\n  - nmae: x\n")


def bad_configuration(relay):
    (relay.folder / "meshrelay.yaml").write_text("node: [unfinished\n")


def misspelt_configuration(relay):
    """YAML still, so it says where the state is."""
    path = relay.folder / "meshrelay.yaml"
    path.write_text(path.read_text() + "\npolcy: else.yaml\n")


@pytest.mark.parametrize("spoil, part", [
    (bad_policy, "policy"), (misspelt_configuration, "config"), (bad_configuration, "config")])
def test_a_start_with_a_bad_file_uses_the_last_good_one_loudly(folder, monkeypatch, spoil, part):
    state = folder / "state"
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    tiers = build_tiers(folder, state=str(state))
    tiers.origin.start()
    with tiers.client("all", relay=tiers.origin) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
    tiers.origin.terminate()
    spoil(tiers.origin)
    tiers.origin.start()
    status = tiers.origin.status
    assert status[part]["state"] == "lastGood" and status[part]["error"], status[part]
    assert status["ready"]
    assert "the last good one, kept in state" in tiers.origin.log
    assert tiers.origin.metric(f"meshrelay_{part}_ok") == 0
    with tiers.client("all", relay=tiers.origin) as client, tiers.client("shop", relay=tiers.origin) as stranger:
        client.subscribe(TYPE_URL)
        stranger.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
        assert stranger.wait_for_end()[0] == grpc.StatusCode.PERMISSION_DENIED


def test_a_bad_file_of_a_relay_that_never_ran_is_refused(folder):
    tiers = build_tiers(folder, state=str(folder / "state"))
    bad_policy(tiers.origin)
    ended = run("serve", "--config", tiers.origin.folder / "meshrelay.yaml")
    assert ended.returncode == 78
    assert "nmae" in ended.stderr and not (folder / "state").exists()
