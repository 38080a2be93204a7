"""An identity that runs out is told early, and takes nothing from those who are connected.

Method: an SVID of some seconds that nobody renews, an offline goal that cannot be met, and files that are replaced one
after the other.
"""

import ctypes
import shutil
import time

import pytest
from harness.ads import StateOfTheWorld
from harness.agent import Agent, entry
from harness.relay import Relay, run
from harness.tiers import MANIFESTS, build_tiers, edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, virtual_service

SECONDS = 1 / 3600


@pytest.mark.slow
def test_an_edge_with_an_expired_svid_keeps_whom_it_has(folder):
    tiers = build_tiers(folder)
    short = tiers.trust.issue("relay/origin", from_hours=-1 * SECONDS, to_hours=20 * SECONDS)
    short.certificate.rename(tiers.origin.svid.certificate)
    short.key.rename(tiers.origin.svid.key)
    tiers.origin.configuration["identity"]["offlineGoal"] = "1h"
    tiers.origin.write_configuration()
    tiers.origin.start()
    assert tiers.origin.metric("meshrelay_offline_goal_met") == 0
    assert "offline goal of 1h" in " ".join(tiers.origin.status["identity"]["warnings"])
    with tiers.client("all", relay=tiers.origin) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
        _, why = eventually(
            lambda: tiers.origin.get("/readyz"), lambda got: got[0] == 503, 25, "503 after the SVID's end")
        assert "our own SVID expired at" in why
        mark = client.mark
        (tiers.manifests / "new.yaml").write_text(virtual_service("after-expiry"))
        client.wait_for_names(TYPE_URL, AT_START | {"shop/after-expiry"}, since=mark)
        assert client.end_state is None
    log = eventually(lambda: tiers.origin.log, lambda log: "our own SVID has expired" in log, 5, "the last line")
    for percent in (50, 75, 90):
        assert f"used {percent} % of its life" in log
    renewed = tiers.trust.issue("relay/origin")
    renewed.key.rename(tiers.origin.svid.key)
    renewed.certificate.rename(tiers.origin.svid.certificate)
    tiers.origin.wait_ready()
    eventually(lambda: tiers.origin.metric("meshrelay_offline_goal_met"), lambda met: met == 1, 5, "the goal is met")


@pytest.mark.slow
def test_the_same_with_the_agent_away(folder):
    """An SVID of the agent that nobody renews any more: connections stay and are served, and both reasons are told."""
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    with Agent(folder) as agent:
        agent.offer(entry(trust.issue("relay/edge", to_hours=10 * SECONDS), trust))
        edge = Relay(
            folder, "edge", trust, sources=[{"name": "files", "directory": {"path": str(manifests)}}],
            policy=edge_policy())
        edge.configuration["identity"] = {"workloadAPI": agent.address}
        edge.write_configuration()
        edge.start()
        with StateOfTheWorld(edge.address, trust.issue("cluster/all/istiod"), trust.bundle) as client:
            client.subscribe(TYPE_URL)
            assert set(client.sync(TYPE_URL)) == AT_START
            agent.stop()
            _, why = eventually(lambda: edge.get("/readyz"), lambda got: got[0] == 503, 20, "503 after the SVID's end")
            assert "our own SVID expired at" in why
            assert "Workload API" in " ".join(edge.status["identity"]["warnings"])
            assert edge.metric("meshrelay_svid_expiry_timestamp_seconds") < time.time()
            time.sleep(3)
            mark = client.mark
            (manifests / "new.yaml").write_text(virtual_service("after-expiry"))
            client.wait_for_names(TYPE_URL, AT_START | {"shop/after-expiry"}, since=mark)
            assert client.end_state is None
            doctor = run("doctor", "--config", edge.configuration_path, timeout=60)
            assert doctor.returncode == 1 and "our own SVID expired at" in doctor.stdout
            agent.start()
            agent.offer(entry(trust.issue("relay/edge"), trust))
            eventually(lambda: edge.get("/readyz"), lambda got: got[0] == 200, 40, "ready again")
            assert client.end_state is None


@pytest.mark.slow
def test_a_tier_between_with_the_agent_away(folder):
    """Its upstream ends what rests on an SVID that has expired; its clients keep their streams and what they have, all of it is
    told, and with a new SVID everything goes on in the same streams."""
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    policy = edge_policy()
    policy["clusters"].append({"name": "edge", "identities": [trust.id("relay/edge")], "allow": [{}]})
    origin = Relay(
        folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(manifests)}}],
        policy=policy).start()
    with Agent(folder) as agent:
        agent.offer(entry(trust.issue("relay/edge", to_hours=8 * SECONDS), trust))
        edge = Relay(folder, "edge", trust, sources=[origin.as_upstream()], policy=edge_policy())
        edge.configuration["identity"] = {"workloadAPI": agent.address}
        edge.write_configuration()
        edge.start()
        with StateOfTheWorld(edge.address, trust.issue("cluster/all/istiod"), trust.bundle) as client:
            client.subscribe(TYPE_URL)
            assert set(client.sync(TYPE_URL)) == AT_START
            agent.stop()
            source = eventually(
                lambda: edge.status["sources"][0], lambda source: source["state"] == "stale", 20, "the upstream is lost")
            eventually(
                lambda: edge.status["sources"][0]["lastError"] or "", lambda text: "our own SVID expired at" in text, 15,
                f"the reason, after {source['lastError']}")
            status, why = edge.get("/readyz")
            assert status == 503 and "our own SVID expired at" in why
            eventually(lambda: edge.log, lambda log: "our own SVID has expired: connections go on" in log, 5, "the line")
            assert client.end_state is None and set(client.sync(TYPE_URL)) == AT_START
            agent.start()
            agent.offer(entry(trust.issue("relay/edge"), trust))
            eventually(lambda: edge.status["sources"][0]["state"], lambda state: state == "synced", 60, "the upstream")
            mark = client.mark
            (manifests / "new.yaml").write_text(virtual_service("after-all"))
            client.wait_for_names(TYPE_URL, AT_START | {"shop/after-all"}, since=mark)
            assert client.end_state is None
            assert edge.get("/readyz")[0] == 200


def kernel_says_synchronised():
    """adjtimex(2) with no mode changes nothing: TIME_ERROR (5) or STA_UNSYNC (0x40) mean that nobody keeps the clock."""
    state = ctypes.create_string_buffer(512)
    answer = ctypes.CDLL(None, use_errno=True).adjtimex(state)
    assert answer >= 0
    # struct timex: int modes; long offset, freq, maxerror, esterror; int status.
    status = int.from_bytes(state.raw[40:44], "little")
    return answer != 5 and not status & 0x40


def test_the_kernels_word_on_the_clock(folder):
    trust = TrustDomain(folder / "trust")
    relay = Relay(
        folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy()).start()
    expected = kernel_says_synchronised()
    eventually(
        lambda: relay.metric("meshrelay_clock_synchronized"), lambda value: value == float(expected), 15, "the metric")
    warned = any(text.startswith("the clock of this host is not synchronised") for text in relay.status["identity"]["warnings"])
    assert warned == (not expected)
    assert relay.log.count("the clock of this host is not synchronised") == (0 if expected else 1), "told once"


@pytest.mark.slow
def test_svid_and_key_are_replaced_one_after_the_other(folder):
    """What does not belong together is waited for, and told only when it lasts."""
    trust = TrustDomain(folder / "trust")
    relay = Relay(
        folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=edge_policy()).start()
    expiry = relay.status["identity"]["expiresAt"]
    renewed = trust.issue("relay/origin", to_hours=12)
    renewed.key.rename(relay.svid.key)
    time.sleep(1.5)
    assert relay.status["identity"]["expiresAt"] == expiry
    assert "private key" not in relay.log
    renewed.certificate.rename(relay.svid.certificate)
    eventually(lambda: relay.status["identity"]["expiresAt"], lambda now: now != expiry, 5, "the renewed SVID")
    assert "private key" not in relay.log
    trust.issue("relay/origin").key.rename(relay.svid.key)
    eventually(
        lambda: " ".join(relay.status["identity"]["warnings"]), lambda text: "private key" in text, 10, "a warning")
    assert relay.get("/readyz")[0] == 200
    with StateOfTheWorld(relay.address, trust.issue("cluster/all/istiod"), trust.bundle) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
