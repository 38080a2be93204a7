"""gRPC health, server reflection and client status, asked by the libraries that others use for them.

Method: grpcio-health-checking, grpcio-reflection and xds-protos against one relay with several serve loops.
"""

import threading

import grpc
import pytest
import yaml
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from harness.ads import Delta, StateOfTheWorld, channel
from harness.classic import VIRTUAL_SERVICES, ResourceSource
from harness.tiers import build_tiers
from harness.waiting import eventually
from test_03_changes import AT_START, TYPE_URL

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SERVICES = [
    ADS, "envoy.service.status.v3.ClientStatusDiscoveryService", "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
    "istio.mcp.v1alpha1.AggregatedMeshConfigService", "istio.mcp.v1alpha1.ResourceSource"]


@pytest.fixture
def tiers(folder):
    """Only the origin is started; it serves on four loops with the edge's policy."""
    tiers = build_tiers(folder, loops=4)
    tiers.origin.write_policy(yaml.safe_load((tiers.edge.folder / "policy.yaml").read_text()))
    tiers.origin.start()
    return tiers


@pytest.fixture
def dial(tiers):
    """Opens channels as members of a cluster."""
    channels = []

    def open_channel(cluster="all"):
        opened = channel(tiers.origin.address, tiers.identity(cluster), tiers.trust.bundle)
        channels.append(opened)
        return opened

    yield open_channel
    for opened in channels:
        opened.close()


def test_health_says_what_readyz_says(tiers, dial):
    stub = health_pb2_grpc.HealthStub(dial())
    assert tiers.origin.get("/readyz")[0] == 200
    for service in ["", *SERVICES]:
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == SERVING
    with pytest.raises(grpc.RpcError) as problem:
        stub.Check(health_pb2.HealthCheckRequest(service="no.Such"), timeout=5)
    assert problem.value.code() == grpc.StatusCode.NOT_FOUND
    listed = stub.List(health_pb2.HealthListRequest(), timeout=5).statuses
    assert set(listed) == {"", *SERVICES} and {each.status for each in listed.values()} == {SERVING}


def test_health_changes_are_pushed(folder):
    """A relay whose upstream was never there is not ready; it becomes so, and says goodbye when it drains."""
    tiers = build_tiers(folder)
    tiers.region.write_policy(yaml.safe_load((tiers.edge.folder / "policy.yaml").read_text()))
    tiers.region.start(ready=False)
    told = []
    with channel(tiers.region.address, tiers.identity("all"), tiers.trust.bundle) as opened:
        def watch():
            try:
                for answer in health_pb2_grpc.HealthStub(opened).Watch(health_pb2.HealthCheckRequest()):
                    told.append(answer.status)
            except grpc.RpcError as problem:
                told.append(problem.code())

        threading.Thread(target=watch, daemon=True).start()
        eventually(lambda: list(told), lambda got: got == [NOT_SERVING], 10, "the first answer")
        tiers.origin.write_policy({"clusters": [{
            "name": "region", "identities": ["spiffe://example.org/relay/region"], "allow": [{}]}]})
        tiers.origin.start()
        eventually(lambda: list(told), lambda got: got == [NOT_SERVING, SERVING], 20, "readiness")
        assert tiers.region.terminate() == 0
        eventually(
            lambda: list(told), lambda got: got[2:] == [NOT_SERVING, grpc.StatusCode.UNAVAILABLE], 10, "the goodbye")


def test_reflection_describes_every_service(dial):
    database = ProtoReflectionDescriptorDatabase(dial())
    assert sorted(database.get_services()) == SERVICES
    pool = descriptor_pool.DescriptorPool(database)
    methods = {
        service: [method.name for method in pool.FindServiceByName(service).methods] for service in SERVICES}
    assert methods[ADS] == ["StreamAggregatedResources", "DeltaAggregatedResources"]
    assert methods["grpc.health.v1.Health"] == ["Check", "Watch", "List"]
    assert methods["istio.mcp.v1alpha1.ResourceSource"] == ["EstablishResourceStream"]
    resources = pool.FindMessageTypeByName("istio.mcp.v1alpha1.Resources")
    assert resources.fields_by_name["system_version_info"].number == 1
    # What is described is what is spoken: field numbers are those of the published protocol.
    ours = pool.FindMessageTypeByName("envoy.service.discovery.v3.DeltaDiscoveryRequest")
    theirs = Delta.REQUEST.DESCRIPTOR
    for field in ours.fields:
        assert theirs.fields_by_name[field.name].number == field.number, field.name


def test_reflection_answers_under_its_newer_name_too(dial):
    call = dial().stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.Such")]
    listed, missing = call(iter(requests), timeout=5)
    assert [service.name for service in listed.list_services_response.service] == SERVICES
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def scopes(response):
    return sorted(config.client_scope for config in response.config)


def entries(config):
    return {entry.name: csds_pb2.ConfigStatus.Name(entry.config_status) for entry in config.generic_xds_configs}


def test_a_caller_sees_its_own_streams_on_every_loop(tiers, dial):
    with tiers.client("shop", relay=tiers.origin, kind=Delta) as delta, \
            tiers.client("shop", relay=tiers.origin, kind=StateOfTheWorld, node="second") as world, \
            tiers.client("shop", relay=tiers.origin, kind=ResourceSource) as classic, \
            tiers.client("bank", relay=tiers.origin, kind=Delta) as other:
        for each in (delta, world, other):
            each.subscribe(TYPE_URL)
            each.wait_for(TYPE_URL)
        classic.subscribe(VIRTUAL_SERVICES)
        classic.wait_for(VIRTUAL_SERVICES)
        eventually(
            lambda: tiers.origin.metric("meshrelay_acks_total"), lambda acks: acks == 4, 5, "all acknowledgements")
        # Whichever loop a connection landed on, the answer is the same.
        for _ in range(6):
            stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(dial("shop"))
            response = stub.FetchClientStatus(csds_pb2.ClientStatusRequest(), timeout=5)
            assert scopes(response) == ["delta", "mcp", "sotw"]
            for config in response.config:
                assert entries(config) == {"*": "SYNCED", "shop/catalogue": "SYNCED"}
            only = csds_pb2.ClientStatusRequest()
            only.node_matchers.add().node_id.exact = "second"
            [config] = stub.FetchClientStatus(only, timeout=5).config
            assert config.node.id == "second" and config.client_scope == "sotw"
        stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(dial("bank"))
        answers = list(stub.StreamClientStatus(iter([csds_pb2.ClientStatusRequest()] * 2), timeout=5))
        assert [scopes(answer) for answer in answers] == [["delta"], ["delta"]]
        assert set(entries(answers[0].config[0])) == {"*", *(name for name in AT_START if name.startswith("bank"))}
        by_metadata = csds_pb2.ClientStatusRequest()
        condition = by_metadata.node_matchers.add().node_metadatas.add()
        condition.path.add().key = "ISTIO_VERSION"
        condition.value.present_match = False
        assert len(stub.FetchClientStatus(by_metadata, timeout=5).config) == 1
        condition.value.present_match = True
        assert len(stub.FetchClientStatus(by_metadata, timeout=5).config) == 0
        unanswerable = csds_pb2.ClientStatusRequest()
        unanswerable.node_matchers.add().node_id.safe_regex.regex = "a+"
        with pytest.raises(grpc.RpcError) as problem:
            stub.FetchClientStatus(unanswerable, timeout=5)
        assert problem.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_refusal_shows_in_the_client_status(tiers, dial):
    with tiers.client("shop", relay=tiers.origin, kind=StateOfTheWorld, acknowledge=False) as client:
        client.subscribe(TYPE_URL)
        client.nack(client.wait_for(TYPE_URL), "hosts are ugly")
        stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(dial("shop"))
        config = eventually(
            lambda: stub.FetchClientStatus(csds_pb2.ClientStatusRequest(), timeout=5).config[0],
            lambda config: entries(config) == {"*": "ERROR", "shop/catalogue": "ERROR"}, 5, "the refusal")
        [whole] = [entry for entry in config.generic_xds_configs if entry.name == "*"]
        assert whole.error_state.details == "hosts are ugly"


def test_strangers_are_refused_everywhere(dial):
    stranger = dial("nobody")
    for call in (
            lambda: health_pb2_grpc.HealthStub(stranger).Check(health_pb2.HealthCheckRequest(), timeout=10),
            lambda: ProtoReflectionDescriptorDatabase(stranger).get_services(),
            lambda: csds_pb2_grpc.ClientStatusDiscoveryServiceStub(stranger).FetchClientStatus(
                csds_pb2.ClientStatusRequest(), timeout=10)):
        with pytest.raises(grpc.RpcError) as problem:
            call()
        assert problem.value.code() == grpc.StatusCode.PERMISSION_DENIED
