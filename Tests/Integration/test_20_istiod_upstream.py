"""istiod above a relay. Method: a double written from what istiod's discovery server does with a client of its own
kind: one version of each kind, identities of its root namespace only, objects of its own making.
"""

import grpc
import pytest
from harness import bodies
from harness.ads import StateOfTheWorld
from harness.galley import resource
from harness.istiod import IstiodServer
from harness.relay import Relay, run
from harness.trust import DNS_NAME, TrustDomain
from harness.waiting import eventually
from test_19_classic_upstreams import everything

_NETWORKING = "istio.networking.v1alpha3."
V1 = "networking.istio.io/v1/VirtualService"
OLD = "networking.istio.io/v1alpha3/VirtualService"
ENTRY = "networking.istio.io/v1/ServiceEntry"


def service(name, host="a.example.org", **more):
    body = bodies.message_class(_NETWORKING + "VirtualService")(hosts=[host])
    return resource(name, _NETWORKING + "VirtualService", body, version="4711", **more)


def entry(name, host="db.example.org"):
    body = bodies.message_class(_NETWORKING + "ServiceEntry")(hosts=[host])
    return resource(name, _NETWORKING + "ServiceEntry", body, version="4711")


class Place:
    def __init__(self, folder, svid="ns/istio-system/sa/relay", **upstream):
        self.folder = folder
        self.trust = TrustDomain(folder / "trust")
        # istiod's certificate comes from an authority of its own and names hosts only.
        self.mesh = TrustDomain(folder / "mesh", "cluster.local")
        self.certificate = self.mesh.issue("istiod", uris=[])
        self.svid = self.trust.issue(svid)
        self.upstream = {"dnsName": DNS_NAME, "ca": str(self.mesh.bundle), "protocol": "sotw", **upstream}

    def istiod(self, content, **habits):
        return IstiodServer(self.trust, self.certificate, content, **habits)

    def start(self, istiod, ready=True, **settings):
        source = {"name": "istiod", "upstream": {"addresses": [istiod.address], **self.upstream}, **settings}
        self.relay = Relay(self.folder, "top", self.trust, sources=[source], policy=everything())
        files = {"svid": str(self.svid.certificate), "key": str(self.svid.key)}
        self.relay.configuration["identity"]["files"] = files
        self.relay.write_configuration()
        return self.relay.start(ready=ready)

    def client(self):
        return StateOfTheWorld(self.relay.address, self.trust.issue("cluster/all/istiod"), self.trust.bundle)

    def names(self, *urls):
        with self.client() as client:
            client.subscribe(*urls)
            return [set(client.sync(url)) for url in urls]

    @property
    def source(self):
        return self.relay.status["sources"][0]

    def wait_for_state(self, state):
        return eventually(
            lambda: self.source, lambda source: source["state"] == state, 15, f"the source becomes {state}")


def test_an_istiod_is_followed_and_what_it_made_itself_is_left_out(folder):
    place = Place(folder)
    content = {
        V1: [service("shop/a"), service("shop/derived", annotations={"internal.istio.io/parents": "HTTPRoute/x"})],
        ENTRY: [entry("shop/db"), entry("shop/synthetic-web", "web.shop.svc.cluster.local")],
    }
    with place.istiod(content) as istiod:
        place.start(istiod)
        assert place.names(V1, OLD, ENTRY) == [{"shop/a"}, {"shop/a"}, {"shop/db"}]
        assert place.source["state"] == "synced" and place.source["rejected"] == []
        assert istiod.stream.requests[0].node.id.startswith("waypoint~127.0.0.1~mcp-relay.istio-system~")
        with place.client() as client:
            client.subscribe(V1)
            before = client.sync(V1)["shop/a"].metadata.version
            # A push of all types, each with a new version and the same content: nothing goes down.
            mark = client.mark
            istiod.push()
            client.expect_silence(2, since=mark)
            istiod.content[V1].append(service("shop/b"))
            istiod.push()
            later = bodies.envelopes(client.wait_for(V1, since=mark))
            assert set(later) == {"shop/a", "shop/b"} and later["shop/a"].metadata.version == before


def test_what_it_made_itself_can_be_wanted(folder):
    place = Place(folder, generated=True)
    with place.istiod({ENTRY: [entry("shop/synthetic-web")]}) as istiod:
        place.start(istiod)
        assert place.names(ENTRY) == [{"shop/synthetic-web"}]


def test_an_older_istiod_is_found_out_and_its_upgrade_deletes_nothing(folder):
    place = Place(folder)
    with place.istiod({OLD: [service("shop/a")]}, waypoint=False) as istiod:
        place.start(istiod, ready=False)
        place.relay.wait_ready()
        assert place.names(V1) == [{"shop/a"}]
        assert istiod.stream.requests[0].node.id.startswith("router~")
        port = istiod.port
    place.wait_for_state("stale")
    with place.client() as client:
        client.subscribe(V1)
        client.sync(V1)
        mark = client.mark
        # Istio 1.24 and later list it as v1 and answer the old name with nothing.
        with place.istiod({V1: [service("shop/a")]}, port=port) as istiod:
            place.wait_for_state("synced")
            client.expect_silence(1, since=mark)
            istiod.content[V1].append(service("shop/b"))
            istiod.push()
            client.wait_for_names(V1, {"shop/a", "shop/b"}, since=mark)


def test_an_istiod_that_comes_back_with_nothing_is_a_fault(folder):
    place = Place(folder)
    with place.istiod({V1: [service("shop/a")]}) as istiod:
        place.start(istiod)
        port = istiod.port
    with place.istiod({}, port=port):
        said = place.wait_for_state("failed")["lastError"]
        assert "it answers nothing for networking.istio.io/v1" in said
        assert place.names(V1) == [{"shop/a"}]


@pytest.mark.parametrize("path, words", [
    ("relay/top", "/ns/NAMESPACE/sa/NAME"),
    ("ns/shop/sa/relay", "root namespace"),
])
def test_an_identity_that_istiod_does_not_want_is_told(folder, path, words):
    place = Place(folder, svid=path)
    with place.istiod({V1: [service("shop/a")]}) as istiod:
        place.start(istiod, ready=False)
        said = place.wait_for_state("failed")["lastError"]
        assert "PERMISSION_DENIED" in said and words in said
        assert istiod.streams == []


@pytest.mark.parametrize("upstream, words", [
    ({"dnsName": "istiod.istio-system.svc"}, "must be istiod.istio-system.svc"),
    ({"ca": "other"}, "configured authority"),
    ({"ca": "missing.pem"}, "missing.pem cannot be read"),
])
def test_another_server_is_not_followed(folder, upstream, words):
    place = Place(folder)
    if upstream.get("ca") == "other":
        upstream = {"ca": str(TrustDomain(folder / "other").bundle)}
    place.upstream.update(upstream)
    with place.istiod({V1: [service("shop/a")]}) as istiod:
        place.start(istiod, ready=False)
        said = eventually(lambda: place.source["lastError"], bool, 15, "why it is not followed")
        assert words in said
        assert istiod.streams == []


def test_the_authority_is_watched(folder):
    place = Place(folder)
    late = folder / "late.pem"
    place.upstream["ca"] = str(late)
    with place.istiod({V1: [service("shop/a")]}) as istiod:
        place.start(istiod, ready=False)
        eventually(lambda: place.source["lastError"], bool, 15, "why it is not followed")
        late.write_bytes(place.mesh.bundle.read_bytes())
        place.relay.wait_ready()
        assert place.names(V1) == [{"shop/a"}]


def test_short_names_are_completed_at_the_tier_that_knows_the_cluster(folder):
    place = Place(folder)
    with place.istiod({V1: [service("shop/a", "reviews"), service("shop/b", "b.example.org")]}) as istiod:
        place.start(istiod, expandHosts="cluster.local")
        with place.client() as client:
            client.subscribe(V1)
            hosts = {
                name: list(bodies.decode_any(found.body).hosts) for name, found in client.sync(V1).items()}
        assert hosts == {"shop/a": ["reviews.shop.svc.cluster.local"], "shop/b": ["b.example.org"]}
        result = run("check", "--config", place.relay.configuration_path)
        assert result.returncode == 0, result.stdout + result.stderr


def test_a_refusal_while_it_is_followed_changes_nothing(folder):
    place = Place(folder)
    with place.istiod({V1: [service("shop/a")]}) as istiod:
        place.start(istiod)
        istiod.root_namespace = "elsewhere"
        istiod.end(grpc.StatusCode.UNAUTHENTICATED, "authentication failure")
        place.wait_for_state("failed")
        assert place.names(V1) == [{"shop/a"}]
        istiod.root_namespace = "istio-system"
        place.wait_for_state("synced")
