"""The life of one stream: acknowledgements, refusals, nonces, slow readers and departures."""

import time

import pytest
from harness import bodies
from harness.http2 import Connection, subscription
from harness.waiting import eventually
from test_03_changes import AT_START, OTHER, TYPE_URL, hosts_of, virtual_service


def write(tiers, host):
    (tiers.manifests / "new.yaml").write_text(virtual_service("fresh", host))


def client_status(relay, svid):
    return [client for client in relay.status["clients"] if client["spiffeID"] == svid.uri]


def test_acknowledgements_are_in_the_status(tiers):
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        version = client.wait_for(TYPE_URL).version_info
        [entry] = eventually(
            lambda: client_status(tiers.edge, tiers.identity("all")),
            lambda found: len(found) == 1 and found[0]["types"][TYPE_URL]["acked"] == version, 5, "the ACK in /status")
        assert entry["cluster"] == "all"
        assert entry["protocol"]
        assert entry["address"].startswith("127.0.0.1:")
        assert entry["types"][TYPE_URL] == {"sent": version, "acked": version, "nacks": 0, "lastNack": None}
        assert tiers.edge.metric("meshrelay_clients") == 1
        assert tiers.edge.metric("meshrelay_acks_total") >= 1


def test_a_departed_client_leaves_the_status(tiers):
    client = tiers.client("all").subscribe(TYPE_URL)
    client.wait_for(TYPE_URL)
    eventually(lambda: len(tiers.edge.status["clients"]), lambda count: count == 1, 5, "one client")
    client.close()
    eventually(lambda: len(tiers.edge.status["clients"]), lambda count: count == 0, 5, "no client")


def test_a_half_closed_stream_ends_well(tiers):
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        client.half_close()
        code, _ = client.wait_for_end(timeout=5)
        assert code.name == "OK"


def test_a_refused_content_is_not_sent_again(tiers):
    with tiers.client("all", acknowledge=False) as client:
        client.subscribe(TYPE_URL)
        first = client.wait_for(TYPE_URL)
        mark = client.mark
        client.nack(first, "hosts are ugly")
        client.expect_silence(1.5, since=mark)
        entry = eventually(
            lambda: client_status(tiers.edge, tiers.identity("all"))[0]["types"][TYPE_URL],
            lambda entry: entry["nacks"] == 1, 5, "the NACK in /status")
        assert entry["acked"] is None
        assert "hosts are ugly" in entry["lastNack"]
        assert tiers.edge.metric("meshrelay_nacks_total") == 1

        write(tiers, "a.example.org")
        second = client.wait_for(TYPE_URL, since=mark)
        assert second.version_info != first.version_info
        assert set(bodies.envelopes(second)) == AT_START | {"shop/fresh"}

        # Back to the refused content: the client said no to it on this stream.
        client.ack(second)
        mark = client.mark
        (tiers.manifests / "new.yaml").unlink()
        client.expect_silence(1.5, since=mark)


def test_one_response_of_a_type_is_in_flight_and_the_next_is_the_newest(tiers):
    with tiers.client("all", acknowledge=False) as client:
        client.subscribe(TYPE_URL)
        first = client.wait_for(TYPE_URL)
        mark = client.mark
        for turn in range(4):
            write(tiers, f"turn-{turn}.example.org")
            time.sleep(0.4)
        assert client.responses[mark:] == [], "the first response is not yet acknowledged"
        client.ack(first)
        second = client.wait_for(TYPE_URL, since=mark)
        assert hosts_of(second)["shop/fresh"] == "turn-3.example.org", "a slow client skips to the newest"
        assert second.nonce != first.nonce


@pytest.mark.slow
def test_a_client_that_never_acknowledges_is_not_forgotten(tiers):
    """istiod never acknowledges some types: an ACK missing for 10 s no longer blocks."""
    with tiers.client("all", acknowledge=False) as client:
        client.subscribe(TYPE_URL)
        client.wait_for(TYPE_URL)
        mark = client.mark
        write(tiers, "a.example.org")
        response = client.wait_for(TYPE_URL, since=mark, timeout=14)
        assert hosts_of(response)["shop/fresh"] == "a.example.org"


def test_a_stale_nonce_is_not_answered(tiers):
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        first = client.wait_for(TYPE_URL)
        mark = client.mark
        client.send(type_url=TYPE_URL, version_info=first.version_info, response_nonce="never sent")
        client.expect_silence(1, since=mark)
        write(tiers, "a.example.org")
        client.wait_for_names(TYPE_URL, AT_START | {"shop/fresh"}, since=mark)


def test_a_repeated_request_without_nonce_is_answered_in_full(tiers):
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL)
        first = client.wait_for(TYPE_URL)
        mark = client.mark
        client.subscribe(TYPE_URL)
        again = client.wait_for(TYPE_URL, since=mark)
        assert again.version_info == first.version_info
        assert set(bodies.envelopes(again)) == AT_START


def test_two_spellings_on_one_stream_are_two_subscriptions(tiers):
    older = "networking.istio.io/v1alpha3/VirtualService"
    with tiers.client("all") as client:
        client.subscribe(TYPE_URL, older)
        client.wait_for(TYPE_URL)
        client.wait_for(older)
        mark = client.mark
        write(tiers, "a.example.org")
        for type_url in (TYPE_URL, older):
            client.wait_for_names(type_url, AT_START | {"shop/fresh"}, since=mark)


def test_a_request_that_is_no_protobuf_ends_its_stream_only(tiers):
    edge = tiers.edge
    with tiers.client("all") as witness:
        witness.subscribe(TYPE_URL)
        witness.wait_for(TYPE_URL)
        with Connection(edge.address, tiers.identity("all"), tiers.trust.bundle) as connection:
            good = connection.call(subscription(TYPE_URL))
            bad = connection.call(b"\0\0\0\0\x04\xff\xff\xff\xff")
            connection.receive(5, until=lambda: "grpc-status" in connection.headers.get(bad, {}))
            assert connection.headers[bad]["grpc-status"] in ("3", "13")
            connection.receive(5, until=lambda: connection.data.get(good))
            assert connection.data[good] and connection.ended is None
        assert witness.end_state is None


def big_manifests(tiers, count=60, kilobytes=40):
    """A few MiB of VirtualServices, more than any window or socket buffer holds."""
    for index in range(count):
        text = virtual_service(f"big-{index}").replace(
            "metadata: {", "metadata: { annotations: { filler: \"" + "x" * (kilobytes * 1024) + "\" },")
        (tiers.manifests / f"big-{index}.yaml").write_text(text)


def test_a_client_that_reads_nothing_holds_nobody_up(tiers):
    big_manifests(tiers)
    with tiers.client("all") as witness:
        witness.subscribe(TYPE_URL, OTHER)
        witness.wait_for(TYPE_URL, lambda r: len(r.resources) == 62, timeout=20)
        sleepers = [
            Connection(
                tiers.edge.address, tiers.identity("all"), tiers.trust.bundle, initial_window=2**24,
                receive_buffer=4096)
            for _ in range(4)]
        try:
            for sleeper in sleepers:
                sleeper.h2.increment_flow_control_window(2**24)
                sleeper.call(subscription(TYPE_URL))
            time.sleep(0.5)
            for turn in range(3):
                mark = witness.mark
                begun = time.monotonic()
                write(tiers, f"turn-{turn}.example.org")
                witness.wait_for(
                    TYPE_URL, lambda r: hosts_of(r).get("shop/fresh") == f"turn-{turn}.example.org", since=mark)
                assert time.monotonic() - begun < 5
            # Whoever wakes up gets one complete answer.
            sleeper = sleepers[0]
            sleeper.receive(20, until=lambda: sum(map(len, sleeper.data.values())) > 2 * 1024 * 1024)
            assert sum(map(len, sleeper.data.values())) > 2 * 1024 * 1024
        finally:
            for sleeper in sleepers:
                sleeper.socket.close()


def test_a_stream_without_window_holds_no_other_stream_up(tiers):
    """Two streams on one connection: the first may send nothing, the second is served."""
    big_manifests(tiers)
    with tiers.client("all") as witness:
        witness.subscribe(TYPE_URL)
        witness.wait_for(TYPE_URL, lambda r: len(r.resources) == 62, timeout=20)
    with Connection(
            tiers.edge.address, tiers.identity("all"), tiers.trust.bundle, initial_window=1000) as connection:
        connection.h2.increment_flow_control_window(2**20)
        stuck = connection.call(subscription(TYPE_URL))
        served = connection.call(subscription(OTHER))
        connection.receive(10, until=lambda: len(connection.data.get(served, b"")) > 400)
        assert len(connection.data.get(stuck, b"")) <= 1000
        assert len(connection.data[served]) > 400, "a small answer passes the stuck one"
        connection.h2.increment_flow_control_window(2**24, stream_id=stuck)
        connection.h2.increment_flow_control_window(2**24)
        connection.flush()
        connection.receive(20, until=lambda: len(connection.data[stuck]) > 2 * 1024 * 1024)
        assert len(connection.data[stuck]) > 2 * 1024 * 1024
