"""A grant that ends is gone: an expired SVID, a withdrawn bundle, an upstream whose SVID runs out.

Method: short-lived certificates and a second trust domain; streams that were good must end within 5 s.
"""

import time

import grpc
import pytest
from harness.ads import StateOfTheWorld
from harness.tiers import build_tiers, edge_policy
from harness.trust import TrustDomain
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL, virtual_service

SECONDS = 1 / 3600


@pytest.fixture
def origin(folder):
    """One relay that serves clusters directly, and a partner whose trust domain it federates with."""
    tiers = build_tiers(folder)
    tiers.partner = TrustDomain(folder / "partner", "partner.example")
    policy = edge_policy()
    policy["clusters"].append(
        {"name": "partner", "identities": ["spiffe://partner.example/*"], "allow": [{"namespaces": ["shop"]}]})
    tiers.origin.write_policy(policy)
    tiers.origin.configuration["identity"]["bundles"]["partner.example"] = str(tiers.partner.bundle)
    tiers.origin.write_configuration()
    tiers.origin.start()
    return tiers


def partner_client(tiers):
    return StateOfTheWorld(tiers.origin.address, tiers.partner.issue("istiod"), tiers.trust.bundle)


@pytest.mark.slow
def test_an_expired_svid_ends_its_stream(origin):
    svid = origin.trust.issue("cluster/all/istiod", to_hours=4 * SECONDS)
    expiry = time.monotonic() + 4
    with origin.client(svid=svid, relay=origin.origin) as client, origin.client(relay=origin.origin) as other:
        for each in (client, other):
            each.subscribe(TYPE_URL)
            assert set(each.sync(TYPE_URL)) == AT_START
        client.wait_for_end(timeout=12)
        assert -1 <= time.monotonic() - expiry <= 5.5, "not before it expires, and not 5 s after"
        assert other.end_state is None


def test_a_federated_trust_domain_is_served_by_its_own_bundle(origin):
    with partner_client(origin) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == {"shop/catalogue"}


def test_roots_are_never_pooled(origin):
    """The partner's CA signs an ID of our trust domain: nothing."""
    forged = origin.partner.issue("forged", uris=[origin.trust.id("cluster/all/istiod")])
    with origin.client(svid=forged, relay=origin.origin) as client:
        client.subscribe(TYPE_URL)
        code, _ = client.wait_for_end(timeout=10)
        assert code == grpc.StatusCode.UNAVAILABLE and client.responses == []


def test_a_withdrawn_bundle_ends_the_streams_of_its_trust_domain(origin):
    with partner_client(origin) as client, origin.client(relay=origin.origin) as other:
        for each in (client, other):
            each.subscribe(TYPE_URL)
            each.wait_for(TYPE_URL)
        del origin.origin.configuration["identity"]["bundles"]["partner.example"]
        origin.origin.write_configuration()
        origin.origin.reload()
        client.wait_for_end(timeout=5)
        assert other.end_state is None
    with partner_client(origin) as client:
        client.subscribe(TYPE_URL)
        client.wait_for_end(timeout=10)
        assert client.responses == []


def test_a_replaced_bundle_ends_the_streams_it_no_longer_vouches_for(origin):
    """Bundles are watched: a new CA in the partner's file takes effect without a signal."""
    with partner_client(origin) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        successor = TrustDomain(origin.folder / "successor", "partner.example")
        successor.bundle.rename(origin.partner.bundle)
        client.wait_for_end(timeout=6)
    renewed = successor.issue("istiod")
    with StateOfTheWorld(origin.origin.address, renewed, origin.trust.bundle) as client:
        client.subscribe(TYPE_URL)
        assert set(client.sync(TYPE_URL)) == {"shop/catalogue"}


@pytest.mark.slow
def test_a_relay_that_must_renew_its_svid_does_so_on_its_upstream_too(folder):
    """The region's SVID runs out while it streams from the origin; a renewed one lies there in time."""
    tiers = build_tiers(folder)
    short = tiers.trust.issue("relay/region", to_hours=5 * SECONDS)
    short.certificate.rename(tiers.region.svid.certificate)
    short.key.rename(tiers.region.svid.key)
    tiers.origin.start()
    tiers.region.start()
    tiers.edge.start()
    renewed = tiers.trust.issue("relay/region")
    renewed.key.rename(tiers.region.svid.key)
    renewed.certificate.rename(tiers.region.svid.certificate)
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        time.sleep(8)
        mark = client.mark
        (tiers.manifests / "new.yaml").write_text(virtual_service("after-renewal"))
        client.wait_for_names(TYPE_URL, AT_START | {"shop/after-renewal"}, since=mark, timeout=10)
        assert client.end_state is None
    eventually(
        lambda: tiers.region.status["sources"][0]["state"], lambda state: state == "synced", 5, "region is synced")
