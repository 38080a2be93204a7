"""The chain most tests need: origin → region → edge, two clusters with different grants."""

import dataclasses
import pathlib
import shutil

from .ads import Delta, StateOfTheWorld
from .relay import Relay
from .trust import TrustDomain

MANIFESTS = pathlib.Path(__file__).parents[1] / "manifests"


def relays_only(*relays):
    """The policy of a tier that serves other relays and trusts them with everything."""
    return {
        "clusters": [
            {"name": f"relay-{relay}", "identities": [f"spiffe://example.org/relay/{relay}"], "allow": [{}]}
            for relay in relays]}


def edge_policy():
    """What the edge grants: everything to `all`, one namespace each to `shop` and `bank`, by label to `tier`."""
    def cluster(name, *rules, deny=()):
        entry = {"name": name, "identities": [f"spiffe://example.org/cluster/{name}/istiod"]}
        # An empty list is an error in a policy file; a missing key allows nothing.
        entry.update({effect: list(given) for effect, given in (("allow", rules), ("deny", deny)) if given})
        return entry

    return {
        "clusters": [
            cluster("all", {}),
            cluster("shop", {"namespaces": ["shop"]}, deny=[{"types": ["extensions.istio.io/*"]}]),
            cluster("bank", {"namespaces": ["ba*"]}),
            cluster("tier", {"namespaces": ["shop", "bank"], "labels": "tier in (edge,all),team!=nobody"}),
            cluster("nothing"),
        ],
        "blocked": ["spiffe://example.org/cluster/stolen/*"],
    }


@dataclasses.dataclass
class Tiers:
    folder: pathlib.Path
    trust: TrustDomain
    manifests: pathlib.Path
    origin: Relay
    region: Relay
    edge: Relay

    @property
    def relays(self):
        return [self.origin, self.region, self.edge]

    def identity(self, cluster):
        return self.trust.issue(f"cluster/{cluster}/istiod")

    def client(self, cluster="all", relay=None, kind=StateOfTheWorld, svid=None, **options):
        svid = svid or self.identity(cluster)
        return kind((relay or self.edge).address, svid, self.trust.bundle, **options)

    def delta_client(self, cluster="all", **options):
        return self.client(cluster, kind=Delta, **options)


def build_tiers(folder, **settings):
    """Three relays, configured and not yet started; `settings` are further keys of every configuration."""
    folder = pathlib.Path(folder)
    trust = TrustDomain(folder / "trust")
    manifests = folder / "manifests"
    shutil.copytree(MANIFESTS, manifests)
    # Three tiers deep, a client may also ask the upper tiers: the tests compare versions.
    observers = edge_policy()["clusters"][:1]
    origin = Relay(
        folder, "origin", trust, sources=[{"name": "files", "directory": {"path": str(manifests)}}],
        policy={"clusters": relays_only("region")["clusters"] + observers}, origin="mesh-test", **settings)
    region = Relay(
        folder, "region", trust, sources=[origin.as_upstream()],
        policy={"clusters": relays_only("edge")["clusters"] + observers}, **settings)
    edge = Relay(folder, "edge", trust, sources=[region.as_upstream()], policy=edge_policy(), **settings)
    return Tiers(folder, trust, manifests, origin, region, edge)


def start_all(tiers):
    for relay in tiers.relays:
        relay.start(ready=False)
    for relay in tiers.relays:
        relay.wait_ready()
    return tiers
