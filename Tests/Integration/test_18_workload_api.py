"""A relay whose identity comes from the SPIFFE Workload API.

Method: an agent on grpcio that rotates, refuses, falls silent, lies and dies; py-spiffe asks the same agent, so that
what it says is what an agent says. Streams of real clients show what the relay makes of it.
"""

import json
import subprocess
import time

import grpc
import pytest
from harness.ads import StateOfTheWorld
from harness.agent import Agent, der_bundle, der_chain, entry
from harness.companion import Companion
from harness.relay import Relay, run
from harness.tiers import MANIFESTS, edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually
from spiffe import WorkloadApiClient
from spiffe._proto import workload_pb2
from test_03_changes import AT_START, TYPE_URL

@pytest.fixture
def trust(folder):
    return TrustDomain(folder / "trust")


@pytest.fixture
def agent(folder):
    with Agent(folder) as agent:
        yield agent


def relay_of(folder, trust, agent, name="edge", policy=None, **identity):
    """A relay that asks the agent for everything, not yet started."""
    relay = Relay(
        folder, name, trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=policy or edge_policy())
    relay.configuration["identity"] = {"workloadAPI": agent.address, **identity}
    relay.write_configuration()
    return relay


def client_of(relay, trust, cluster="all"):
    return StateOfTheWorld(relay.address, trust.issue(f"cluster/{cluster}/istiod"), trust.bundle)


def warnings(relay):
    """What status says about the identity's sources; the clock of the machine that runs the tests is its own matter."""
    said = relay.status["identity"]["warnings"]
    return " ".join(text for text in said if not text.startswith("the clock of this host"))


def not_ready(relay, text):
    """Waits until /readyz says 503 for this reason."""
    return eventually(
        lambda: relay.get("/readyz"), lambda got: got and got[0] == 503 and text in got[1], 15, f"503 with {text}")


def served_certificate(relay, trust):
    """The serial number of the certificate that a new handshake shows, by OpenSSL."""
    svid = trust.issue("cluster/all/istiod")
    shown = subprocess.run(
        ["openssl", "s_client", "-connect", relay.address, "-CAfile", trust.bundle, "-cert", svid.certificate,
         "-key", svid.key, "-alpn", "h2"], input=b"", capture_output=True, timeout=10).stdout
    return subprocess.run(
        ["openssl", "x509", "-noout", "-serial"], input=shown, capture_output=True, check=True).stdout


def test_the_agent_is_one(agent, trust):
    """py-spiffe takes from it what it takes from SPIRE."""
    partner = TrustDomain(trust.folder / "partner", "partner.example")
    svid = trust.issue("relay/edge")
    agent.offer(entry(svid, trust), federated={"partner.example": der_bundle(partner)})
    with WorkloadApiClient(agent.address) as client:
        context = client.fetch_x509_context()
        assert str(context.default_svid.spiffe_id) == svid.uri
        domains = {str(bundle.trust_domain) for bundle in context.x509_bundle_set.bundles}
        assert {name.removeprefix("spiffe://") for name in domains} == {"example.org", "partner.example"}


def test_identity_bundles_and_rotation(folder, agent, trust):
    """SVID, own bundle and a federated one from one answer; a rotation drops no stream and shows at once."""
    partner = TrustDomain(folder / "partner", "partner.example")
    policy = edge_policy()
    policy["clusters"].append(
        {"name": "partner", "identities": ["spiffe://partner.example/*"], "allow": [{"namespaces": ["shop"]}]})
    federated = {"partner.example": der_bundle(partner)}
    agent.offer(entry(trust.issue("relay/edge"), trust), federated=federated)
    edge = relay_of(folder, trust, agent, policy=policy).start()
    assert edge.status["identity"]["spiffeID"] == trust.id("relay/edge")
    assert edge.status["identity"]["trustDomains"] == ["example.org", "partner.example"]
    first = served_certificate(edge, trust)
    foreign = StateOfTheWorld(edge.address, partner.issue("istiod"), trust.bundle)
    with client_of(edge, trust) as client, foreign:
        client.subscribe(TYPE_URL)
        foreign.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START
        assert set(foreign.sync(TYPE_URL)) == {"shop/catalogue"}
        agent.offer(entry(trust.issue("relay/edge"), trust), federated=federated)
        eventually(lambda: served_certificate(edge, trust), lambda now: now != first, 5, "the renewed SVID")
        assert client.end_state is None and foreign.end_state is None
        # The federation ends: its streams do, and nobody else's.
        agent.offer(entry(trust.issue("relay/edge"), trust))
        foreign.wait_for_end(timeout=5)
        assert client.end_state is None
    assert ("workload.spiffe.io", "true") in agent.metadata[0] and agent.calls == 1


def test_an_agent_that_is_away_takes_nothing_away(folder, agent, trust):
    agent.offer(entry(trust.issue("relay/edge"), trust))
    edge = relay_of(folder, trust, agent).start()
    first = served_certificate(edge, trust)
    with client_of(edge, trust) as client:
        client.subscribe(TYPE_URL)
        client.sync(TYPE_URL)
        agent.stop()
        eventually(lambda: warnings(edge), lambda text: "Workload API" in text, 10, "a warning")
        assert served_certificate(edge, trust) == first
        assert edge.get("/readyz")[0] == 200
        agent.start()
        agent.offer(entry(trust.issue("relay/edge"), trust))
        eventually(lambda: served_certificate(edge, trust), lambda now: now != first, 15, "the renewed SVID")
        assert warnings(edge) == ""
        assert client.end_state is None


def test_an_agent_that_comes_late_is_waited_for(folder, trust):
    agent = Agent(folder)
    edge = relay_of(folder, trust, agent).start(identified=False)
    not_ready(edge, "cannot be reached")
    with agent:
        agent.offer(entry(trust.issue("relay/edge"), trust))
        edge.wait_ready()


def test_the_environment_names_the_agent(folder, agent, trust, monkeypatch):
    agent.offer(entry(trust.issue("relay/edge"), trust))
    edge = relay_of(folder, trust, agent)
    edge.configuration["identity"] = {}
    edge.write_configuration()
    monkeypatch.delenv("SPIFFE_ENDPOINT_SOCKET", raising=False)
    refused = run("serve", "--config", edge.configuration_path)
    assert refused.returncode == 78 and "$SPIFFE_ENDPOINT_SOCKET is not set" in refused.stderr
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", agent.address)
    edge.start()
    assert edge.status["identity"]["spiffeID"] == trust.id("relay/edge")


@pytest.mark.parametrize("select, expected", [
    (None, "relay/one"), ({"hint": "second"}, "relay/two"),
    ({"spiffeID": "spiffe://example.org/relay/three"}, "relay/three"),
])
def test_which_of_several_svids(folder, agent, trust, select, expected):
    agent.offer(
        entry(trust.issue("relay/one"), trust), entry(trust.issue("relay/two"), trust, hint="second"),
        # Of equal hints the first counts.
        entry(trust.issue("relay/late"), trust, hint="second"), entry(trust.issue("relay/three"), trust))
    edge = relay_of(folder, trust, agent, **({"select": select} if select else {})).start()
    assert edge.status["identity"]["spiffeID"] == trust.id(expected)


def test_a_choice_that_is_not_offered_is_explained(folder, agent, trust):
    agent.offer(entry(trust.issue("relay/one"), trust, hint="other"))
    edge = relay_of(folder, trust, agent, select={"hint": "relay"}).start(identified=False)
    _, why = not_ready(edge, "no SVID with the hint")
    assert "spiffe://example.org/relay/one" in why and "identity.select" in why


def test_what_an_agent_refuses_is_explained(folder, agent, trust):
    """Without an entry: the command that adds one; and it is tried again."""
    agent.refuse(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    edge = relay_of(folder, trust, agent).start(identified=False)
    _, why = not_ready(edge, "No registration entry matches this host")
    assert "spire-server entry create" in why and "no identity issued" in why
    agent.offer(entry(trust.issue("relay/edge"), trust))
    edge.wait_ready()
    agent.refuse(grpc.StatusCode.UNAVAILABLE, "shedding load")
    eventually(lambda: warnings(edge), lambda text: "shedding load" in text, 15, "a warning")
    # An agent that has just started and not synchronised: nothing is taken away.
    agent.refuse(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    eventually(lambda: warnings(edge), lambda text: "No registration entry" in text, 15, "a warning")
    assert edge.get("/readyz")[0] == 200


def is_turned_away(relay, trust):
    with client_of(relay, trust) as client:
        client.subscribe(TYPE_URL)
        client.wait_for_end(timeout=10)
        return client.responses == []


@pytest.mark.parametrize("how", ["refused", "left out"])
def test_an_svid_that_the_agent_takes_back(folder, agent, trust, how):
    """No new handshake in either direction, and no stream lost; then it is given again."""
    policy = edge_policy()
    policy["clusters"].append({"name": "edge", "identities": [trust.id("relay/edge")], "allow": [{}]})
    origin = Relay(
        folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=policy).start()
    agent.offer(entry(trust.issue("relay/edge"), trust, hint="relay"))
    edge = relay_of(folder, trust, agent, select={"hint": "relay"})
    edge.configuration["sources"] = [origin.as_upstream()]
    edge.write_configuration()
    edge.start()
    with client_of(edge, trust) as client:
        client.subscribe(TYPE_URL)
        client.sync(TYPE_URL)
        if how == "refused":
            agent.refuse(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        else:
            agent.offer(entry(trust.issue("somebody/else"), trust))
        not_ready(edge, "the SPIFFE agent took our SVID back")
        expected = "spire-server entry create" if how == "refused" else "no SVID with the hint"
        eventually(lambda: warnings(edge), lambda text: expected in text, 10, "what to do")
        assert edge.log.count("open connections go on, no new ones are made") == 1
        survives = edge.metric("meshrelay_survives_until_timestamp_seconds")
        assert abs(survives - time.time()) < 60
        assert is_turned_away(edge, trust)
        assert client.end_state is None and edge.status["sources"][0]["state"] == "synced"
        # Its own dials, too: the upstream is lost, comes back, and meets nobody.
        port = origin.port
        origin.kill()
        origin.start()
        assert origin.port == port
        eventually(
            lambda: edge.status["sources"][0]["lastError"] or "", lambda text: "took our SVID back" in text, 20,
            "the reason why the upstream is not dialled")
        assert client.end_state is None
        assert not any("relay/edge" in entry["spiffeID"] for entry in origin.status["clients"])
        loaded = edge.log.count("identity loaded")
        agent.offer(entry(trust.issue("relay/edge"), trust, hint="relay"))
        edge.wait_ready()
        assert edge.log.count("identity loaded") == loaded + 1
        eventually(lambda: edge.status["sources"][0]["state"], lambda state: state == "synced", 20, "the upstream")
        with client_of(edge, trust) as other:
            other.subscribe(TYPE_URL)
            assert set(other.sync(TYPE_URL)) == AT_START
        assert client.end_state is None and warnings(edge) == ""


def test_a_federated_bundle_changes_without_a_rotation(folder, agent, trust):
    """One answer, the same SVID, another bundle: why no second stream is needed (decision 086)."""
    partner, successor = TrustDomain(folder / "partner", "partner.example"), TrustDomain(folder / "next", "partner.example")
    policy = edge_policy()
    policy["clusters"].append(
        {"name": "partner", "identities": ["spiffe://partner.example/*"], "allow": [{"namespaces": ["shop"]}]})
    same = entry(trust.issue("relay/edge"), trust)
    agent.offer(same, federated={"partner.example": der_bundle(partner)})
    edge = relay_of(folder, trust, agent, policy=policy).start()
    with StateOfTheWorld(edge.address, partner.issue("istiod"), trust.bundle) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == {"shop/catalogue"}
        agent.offer(same, federated={"partner.example": der_bundle(partner, successor)})
        eventually(lambda: edge.log.count("bundles loaded"), lambda count: count == 2, 5, "the new bundle")
        with StateOfTheWorld(edge.address, successor.issue("istiod"), trust.bundle) as newcomer:
            newcomer.subscribe(TYPE_URL)
            assert set(newcomer.sync(TYPE_URL)) == {"shop/catalogue"}
        assert client.end_state is None and edge.log.count("identity loaded") == 1


def test_what_the_agent_says_to_be_revoked(folder, agent, trust):
    """The stream of a certificate that its issuer has revoked ends, its tickets with it; nobody else's does."""
    partner = TrustDomain(folder / "partner", "partner.example")
    policy = edge_policy()
    policy["clusters"].append(
        {"name": "partner", "identities": ["spiffe://partner.example/*"], "allow": [{"namespaces": ["shop"]}]})
    same, federated = entry(trust.issue("relay/edge"), trust), {"partner.example": der_bundle(partner)}
    agent.offer(same, federated=federated)
    edge = relay_of(folder, trust, agent, policy=policy).start()
    stolen, other = trust.issue("cluster/all/istiod"), partner.issue("istiod")
    with client_of(edge, trust) as good, \
            StateOfTheWorld(edge.address, stolen, trust.bundle) as bad, \
            StateOfTheWorld(edge.address, other, trust.bundle) as foreign:
        for each in (good, bad, foreign):
            each.subscribe(TYPE_URL)
            each.wait_for(TYPE_URL)
        agent.offer(same, federated=federated, revocations=[trust.revoking(stolen)])
        bad.wait_for_end(timeout=5)
        assert good.end_state is None and foreign.end_state is None
        with StateOfTheWorld(edge.address, stolen, trust.bundle) as again:
            again.subscribe(TYPE_URL)
            again.wait_for_end(timeout=10)
            assert again.responses == []
        assert "was revoked by its issuer" in edge.log
        # Of another trust domain, too.
        agent.offer(same, federated=federated, revocations=[trust.revoking(stolen), partner.revoking(other)])
        foreign.wait_for_end(timeout=5)
        # A list that cannot be read changes nothing.
        agent.offer(same, federated=federated, revocations=[b"no list"])
        eventually(lambda: warnings(edge), lambda text: "revocation list 1 cannot be read" in text, 10, "a warning")
        with StateOfTheWorld(edge.address, stolen, trust.bundle) as again:
            again.subscribe(TYPE_URL)
            again.wait_for_end(timeout=10)
            assert again.responses == []
        assert good.end_state is None


def test_checkpoints_are_not_signed_with_an_svid_that_was_taken_back(folder, agent, trust):
    agent.offer(entry(trust.issue("relay/edge"), trust))
    edge = relay_of(folder, trust, agent)
    path = folder / "audit.jsonl"
    edge.configuration["audit"] = {"path": str(path)}
    edge.write_configuration()
    edge.start()
    agent.refuse(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    not_ready(edge, "the SPIFFE agent took our SVID back")
    edge.terminate()
    checkpoints = [line for line in map(json.loads, path.read_text().splitlines()) if line["event"] == "checkpoint"]
    assert [(line["reason"], line["signature"] != "", line["certificates"] != []) for line in checkpoints] == [
        ("start", True, True), ("stop", False, False)]
    # What was signed still vouches for what it covers.
    verified = run("audit", "verify", path, "--bundle", f"{trust.name}={trust.bundle}")
    assert verified.returncode == 0 and "who was trusted" in verified.stdout, verified


def test_what_is_no_workload_api_is_told(folder, agent, trust):
    agent.refuse(grpc.StatusCode.INVALID_ARGUMENT, "no")
    edge = relay_of(folder, trust, agent).start(identified=False)
    not_ready(edge, "does not answer as a SPIFFE Workload API")
    time.sleep(3)
    assert agent.calls == 1, "the standard asks not to try again"


def lies(trust, folder):
    """Answers that must change nothing, with what is said about them."""
    stranger = TrustDomain(folder / "stranger", "example.org")
    good = entry(trust.issue("relay/edge"), trust)

    def changed(**fields):
        return workload_pb2.X509SVIDResponse(svids=[_replaced(good, **fields)])

    expired = trust.issue("relay/edge", from_hours=-2, to_hours=-1)
    return {
        "no protobuf": (b"\xff\xff\xff", "no X509SVIDResponse"),
        "nothing": (workload_pb2.X509SVIDResponse(), "holds no SVID"),
        "no key": (changed(x509_svid_key=b""), "lacks x509_svid_key"),
        "another key": (changed(x509_svid_key=entry(trust.issue("x/y"), trust).x509_svid_key), "private key"),
        "another bundle": (changed(bundle=der_bundle(stranger)), "does not verify against its own bundle"),
        "another name": (changed(spiffe_id=trust.id("relay/other")), "the certificate of"),
        "half a certificate": (changed(x509_svid=der_chain(expired)[:-3]), "cannot be read"),
        "expired": (workload_pb2.X509SVIDResponse(svids=[entry(expired, trust)]), "expired"),
        "a leaf as bundle": (changed(bundle=der_chain(expired)), "cannot be used"),
    }


def _replaced(message, **fields):
    copy = type(message)()
    copy.CopyFrom(message)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def test_an_agent_that_lies_changes_nothing(folder, agent, trust):
    agent.offer(entry(trust.issue("relay/edge"), trust))
    edge = relay_of(folder, trust, agent).start()
    first = served_certificate(edge, trust)
    with client_of(edge, trust) as client:
        client.subscribe(TYPE_URL)
        client.sync(TYPE_URL)
        for name, (answer, said) in lies(trust, folder).items():
            agent.say(answer)
            eventually(lambda: warnings(edge), lambda text, said=said: said in text, 10, f"what is said of {name}")
            assert edge.get("/readyz")[0] == 200, name
        assert served_certificate(edge, trust) == first
        assert client.end_state is None
    agent.offer(entry(trust.issue("relay/edge"), trust))
    eventually(lambda: served_certificate(edge, trust), lambda now: now != first, 10, "the next good answer")
    assert warnings(edge) == ""


def test_our_own_trust_domain_never_comes_from_a_federation(folder, agent, trust):
    """A partner that claims to be us, and a bad bundle of another: neither is believed, both are survived."""
    stranger = TrustDomain(folder / "stranger", "example.org")
    agent.offer(
        entry(trust.issue("relay/edge"), trust),
        federated={"example.org": der_bundle(stranger), "partner.example": b"no certificate"})
    edge = relay_of(folder, trust, agent).start()
    assert edge.status["identity"]["trustDomains"] == ["example.org"]
    assert "partner.example" in warnings(edge)
    with StateOfTheWorld(edge.address, stranger.issue("cluster/all/istiod"), trust.bundle) as client:
        client.subscribe(TYPE_URL)
        client.wait_for_end(timeout=10)
        assert client.responses == []


def test_bundles_from_files_stand_beside_the_agents(folder, agent, trust):
    partner = TrustDomain(folder / "partner", "partner.example")
    policy = edge_policy()
    policy["clusters"].append(
        {"name": "partner", "identities": ["spiffe://partner.example/*"], "allow": [{"namespaces": ["shop"]}]})
    agent.offer(entry(trust.issue("relay/edge"), trust))
    edge = relay_of(
        folder, trust, agent, policy=policy, bundles={"partner.example": str(partner.bundle)}).start()
    with StateOfTheWorld(edge.address, partner.issue("istiod"), trust.bundle) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == {"shop/catalogue"}
        successor = TrustDomain(folder / "successor", "partner.example")
        successor.bundle.rename(partner.bundle)
        client.wait_for_end(timeout=6)


def test_a_trust_domain_that_nobody_named_fails_the_handshake(folder, agent, trust):
    """The agent federates; policy and sources do not speak of it."""
    partner = TrustDomain(folder / "partner", "partner.example")
    agent.offer(entry(trust.issue("relay/edge"), trust), federated={"partner.example": der_bundle(partner)})
    edge = relay_of(folder, trust, agent).start()
    with StateOfTheWorld(edge.address, partner.issue("istiod"), trust.bundle) as client:
        client.subscribe(TYPE_URL)
        code, _ = client.wait_for_end(timeout=10)
        assert code == grpc.StatusCode.UNAVAILABLE
    eventually(
        lambda: edge.metric("meshrelay_handshakes_total", result="untrusted"), lambda count: count >= 1, 5, "the count")


def test_an_upstream_is_followed_with_an_svid_of_the_agent(folder, agent, trust):
    """Both directions of a relay, and the companion: client and server with what an agent gave."""
    policy = edge_policy()
    policy["clusters"].append({"name": "edge", "identities": [trust.id("relay/edge")], "allow": [{}]})
    origin = Relay(
        folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(MANIFESTS)}}],
        policy=policy).start()
    agent.offer(entry(trust.issue("relay/edge"), trust))
    edge = relay_of(folder, trust, agent)
    edge.configuration["sources"] = [origin.as_upstream()]
    edge.write_configuration()
    edge.start()
    companion = Companion(
        folder, trust, trust.issue("cluster/all/istiod"), [origin],
        identity={"workloadAPI": agent.address, "select": {"hint": "istiod"}})
    agent.offer(
        entry(trust.issue("relay/edge"), trust), entry(trust.issue("cluster/all/istiod"), trust, hint="istiod"))
    companion.start()
    assert companion.status["identity"]["spiffeID"] == trust.id("cluster/all/istiod")
    with client_of(edge, trust) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == AT_START


def test_subscribe_asks_the_agent_too(folder, agent, trust):
    agent.offer(entry(trust.issue("relay/edge"), trust), entry(trust.issue("cluster/all/istiod"), trust, hint="c"))
    edge = relay_of(folder, trust, agent).start()
    client = relay_of(folder, trust, agent, name="client", select={"hint": "c"})
    answered = run(
        "subscribe", edge.address, "--type", TYPE_URL, "--config", client.configuration_path, "--once")
    assert answered.returncode == 0, answered.stderr
    assert '"resources"' in answered.stdout
    agent.refuse(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
    refused = run("subscribe", edge.address, "--type", TYPE_URL, "--config", client.configuration_path, "--once")
    assert refused.returncode != 0 and "spire-server entry create" in refused.stderr
