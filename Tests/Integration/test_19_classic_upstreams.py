"""Servers of the classic protocol above a relay: what they say reaches every dialect below, and what they do wrong
costs nobody anything. Method: servers on grpcio that are not ours, with the habits that Galley was seen to have.
"""

import grpc
import pytest
from harness import bodies
from harness.ads import Delta, StateOfTheWorld
from harness.galley import GALLEY_1_2, GATEWAYS, POLICIES, RULES, SERVICES, Galley, resource
from harness.relay import Relay
from harness.tiers import relays_only
from harness.trust import TrustDomain
from harness.waiting import eventually

VIRTUAL_SERVICE = "istio.networking.v1alpha3.VirtualService"
TYPE_URL = "networking.istio.io/v1/VirtualService"
POLICY_URL = "authentication.istio.io/v1alpha1/Policy"


def service(name, host="a.example.org", version="v0"):
    body = bodies.message_class(VIRTUAL_SERVICE)(hosts=[host])
    return resource(name, VIRTUAL_SERVICE, body, version)


def policy(name):
    # A message that nobody below has a descriptor of.
    return resource(name, "istio.authentication.v1alpha1.Policy", b"\x0a\x05\x0a\x03svc")


def everything(*more):
    clusters = [{"name": "all", "identities": ["spiffe://example.org/cluster/all/istiod"], "allow": [{}]}]
    return {"clusters": clusters + [c for name in more for c in relays_only(name)["clusters"]]}


class Place:
    """A relay whose one source is a server that is not ours."""

    def __init__(self, folder, protocol="mcp"):
        self.folder = folder
        self.trust = TrustDomain(folder / "trust")
        self.svid = self.trust.issue("galley")
        self.protocol = protocol
        self.relay = None

    def galley(self, content=None, **habits):
        return Galley(self.trust, self.svid, content, **habits)

    def start(self, *servers, ready=True, **settings):
        source = {
            "name": "galley",
            "upstream": {
                "addresses": [server.address for server in servers], "spiffeID": self.svid.uri,
                "protocol": self.protocol},
            **settings,
        }
        self.relay = Relay(self.folder, "top", self.trust, sources=[source], policy=everything("below"))
        return self.relay.start(ready=ready)

    def client(self, relay=None, kind=StateOfTheWorld):
        return kind((relay or self.relay).address, self.trust.issue("cluster/all/istiod"), self.trust.bundle)

    @property
    def source(self):
        return self.relay.status["sources"][0]

    def wait_for_state(self, state, timeout=15):
        return eventually(
            lambda: self.source, lambda source: source["state"] == state, timeout, f"the source becomes {state}")

    def held(self):
        """{wire name: first host} of VirtualServices as a client of the relay has them."""
        with self.client() as client:
            client.subscribe(TYPE_URL)
            return {
                name: bodies.decode_any(found.body).hosts[0]
                for name, found in client.sync(TYPE_URL).items()}

    def wait_for(self, held):
        eventually(self.held, lambda found: found == held, 15, "VirtualServices at a client")


@pytest.fixture
def place(folder):
    return Place(folder)


@pytest.mark.parametrize("protocol", ["mcp", "mcp-aggregated"])
def test_what_a_classic_server_says_reaches_every_dialect_and_tier(folder, protocol):
    place = Place(folder, protocol)
    content = {SERVICES: [service("shop/a")], POLICIES: [policy("shop/p")]}
    with place.galley(content, has=GALLEY_1_2) as galley:
        top = place.start(galley)
        below = Relay(
            folder, "below", place.trust, sources=[top.as_upstream(protocol="delta")], policy=everything()).start()
        assert place.source["state"] == "synced" and place.source["resources"] == 2
        assert top.status["snapshot"]["origin"] == "top"
        with place.client(below) as client, place.client(below, Delta) as changes:
            client.subscribe(TYPE_URL, "networking.istio.io/v1alpha3/VirtualService", POLICY_URL)
            changes.subscribe(TYPE_URL)
            for url in (TYPE_URL, "networking.istio.io/v1alpha3/VirtualService"):
                assert set(client.sync(url)) == {"shop/a"}
            body = client.sync(POLICY_URL)["shop/p"].body
            assert body.type_url.endswith("istio.authentication.v1alpha1.Policy")
            assert body.value == b"\x0a\x05\x0a\x03svc", "an unknown body is carried as it is"
            # A time that the server does not know is when it was first seen, not the year 1.
            assert client.sync(TYPE_URL)["shop/a"].metadata.create_time.seconds > 1_700_000_000
            mark = client.mark
            galley.update(SERVICES, [service("shop/a"), service("shop/b")])
            client.wait_for_names(TYPE_URL, {"shop/a", "shop/b"}, since=mark)
            changes.wait_for_state(TYPE_URL, {"shop/a", "shop/b"})


def test_collections_it_does_not_have_are_left_out(place):
    with place.galley({SERVICES: [service("shop/a")]}, has=GALLEY_1_2) as galley:
        place.start(galley)
        place.wait_for({"shop/a": "a.example.org"})
        assert set(galley.asked()) <= GALLEY_1_2 and SERVICES in galley.asked()
        # One stream for each collection it does not have, and the one that stays.
        streams = len(galley.streams)
        missing = {name for stream in galley.streams for name in galley.asked(stream)} - GALLEY_1_2
        assert streams == len(missing) + 1
        assert place.source["state"] == "synced" and place.source["lastError"] is None


@pytest.mark.slow
def test_a_collection_that_is_never_answered_holds_up_nothing_else(place):
    with place.galley({SERVICES: [service("shop/a")]}, has=GALLEY_1_2, silent=[RULES]) as galley:
        place.start(galley, ready=False)
        place.wait_for({"shop/a": "a.example.org"})
        place.relay.wait_ready(timeout=25)
        said = eventually(
            lambda: place.source, lambda source: source["lastError"], 5, "what the silent collection is called")
        assert said["state"] == "synced" and "networking.istio.io/v1/DestinationRule" in said["lastError"]


def test_versions_that_repeat_with_other_content_are_noticed(place):
    with place.galley({SERVICES: [service("shop/a", "old.example.org", "v0")]}) as galley:
        place.start(galley)
        place.wait_for({"shop/a": "old.example.org"})
        port = galley.port
    place.wait_for_state("stale")
    # A restart counts from v0 again.
    with place.galley({SERVICES: [service("shop/a", "new.example.org", "v0")]}, port=port):
        place.wait_for({"shop/a": "new.example.org"})


def test_what_is_gone_after_a_restart_is_gone(place):
    """Galley ignores what a sink says it holds, and sends everything as if it were new."""
    with place.galley({SERVICES: [service("shop/a"), service("shop/b")]}) as galley:
        place.start(galley)
        place.wait_for({"shop/a": "a.example.org", "shop/b": "a.example.org"})
        assert galley.stream.requests[0].incremental
        port = galley.port
    with place.galley(port=port, silent=[SERVICES]) as galley:
        eventually(lambda: SERVICES in (galley.asked() if galley.streams else ()), bool, 15, "asked again")
        held = next(r for r in galley.stream.requests if r.collection == SERVICES).initial_resource_versions
        assert set(held) == {"shop/a", "shop/b"}
        galley.say(galley.stream, SERVICES, [service("shop/b")], incremental=True, version="0")
        place.wait_for({"shop/b": "a.example.org"})


def test_a_server_that_turns_empty_is_a_fault_and_no_deletion(place):
    with place.galley({SERVICES: [service("shop/a")]}) as galley:
        place.start(galley)
        place.wait_for({"shop/a": "a.example.org"})
        port = galley.port
    with place.galley(port=port) as galley:
        said = place.wait_for_state("failed")["lastError"]
        assert SERVICES in said and "what it had is kept" in said
        assert place.held() == {"shop/a": "a.example.org"}
        assert [name for name, code, _ in galley.refusals() if code == 3] == [SERVICES]
        galley.update(SERVICES, [service("shop/c")])
        place.wait_for({"shop/c": "a.example.org"})
        place.wait_for_state("synced")


def test_a_server_that_misbehaves_harms_nobody(place):
    broken = resource("shop/broken", VIRTUAL_SERVICE, b"\x0a\xff\xff")
    foreign = resource("shop/foreign", "istio.networking.v1alpha3.Gateway", b"")
    with place.galley({SERVICES: [service("shop/a"), broken, foreign]}) as galley:
        place.start(galley)
        place.wait_for({"shop/a": "a.example.org"})
        rejected = {entry["resource"].split()[-1]: entry["reason"] for entry in place.source["rejected"]}
        assert set(rejected) == {"shop/broken", "shop/foreign"}
        stream = galley.stream
        # The same nonce for everything, a collection that nobody asked for, a name twice, one that is no name.
        galley.say(stream, SERVICES, [service("shop/a"), service("shop/b")], nonce="1")
        galley.say(stream, GATEWAYS, [], nonce="1")
        galley.say(stream, "acme/v1/things", [service("shop/x")], nonce="1")
        galley.say(stream, SERVICES, [service("shop/d"), service("shop/d", "b.example.org")], nonce="1")
        galley.say(stream, SERVICES, [service("shop/a"), service("shop/b"), service("no slash")], nonce="")
        refused = eventually(galley.refusals, lambda found: len(found) >= 2, 15, "refusals")
        assert ("acme/v1/things", 12) in [(name, code) for name, code, _ in refused]
        assert any(name == SERVICES and "twice" in message for name, _, message in refused)
        galley.update(SERVICES, [service("shop/a"), service("shop/b"), service("shop/e")])
        place.wait_for({name: "a.example.org" for name in ("shop/a", "shop/b", "shop/e")})
        assert len(galley.streams) == 1, "none of it was worth a stream"


def test_a_refusal_is_a_fault_that_names_itself(place):
    with place.galley({SERVICES: [service("shop/a")]}) as galley:
        place.start(galley)
        place.wait_for({"shop/a": "a.example.org"})
        galley.end(grpc.StatusCode.PERMISSION_DENIED, "peer is not on the list")
        eventually(lambda: "PERMISSION_DENIED" in place.relay.log, bool, 15, "the refusal in the log")
        assert place.held() == {"shop/a": "a.example.org"}
        place.wait_for_state("synced")


def test_another_server_than_the_one_meant_is_not_asked(place):
    with Galley(place.trust, place.trust.issue("impostor"), {SERVICES: [service("shop/a")]}) as galley:
        place.start(galley, ready=False)
        said = eventually(lambda: place.source["lastError"], bool, 15, "why it is not followed")
        assert "spiffe://example.org/impostor" in said
        assert galley.streams == []


def test_the_next_address_serves_when_the_first_is_gone(place):
    content = {SERVICES: [service("shop/a")]}
    with place.galley(content) as first, place.galley(content) as second:
        place.start(first, second)
        place.wait_for({"shop/a": "a.example.org"})
        assert second.streams == [] and place.source["address"] == first.address
        first.stop()
        second.wait_for_stream()
        second.update(SERVICES, [service("shop/a"), service("shop/b")])
        place.wait_for({"shop/a": "a.example.org", "shop/b": "a.example.org"})
        assert place.source["address"] == second.address
