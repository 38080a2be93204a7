// Goal: what we write by hand, generated code reads as meant, and the other way round. Method: the
// messages of the published definitions, compiled by protoc, as the witness.

import Primitives
import Protos
import Snapshots
import SwiftProtobuf
import Testing

@testable import MCP

struct WitnessTests {
  private let served = view(
    3, [virtualService("a", "one"), virtualService("b", "two"), resource("m", of: "MeshConfig", "mesh")],
    hidden: [virtualService("c", "three")])

  private func respond(_ method: MCPMethod, _ request: [UInt8]) throws -> [UInt8] {
    var source = MCPSource(method: method, limits: Limits())
    source.update(served)
    try source.receive(request, now: at(0))
    let response = try source.nextResponse(now: at(0))
    let sent = try #require(response)
    #expect(sent.bytes.count == sent.byteCount)
    return sent.bytes
  }

  private func expect(_ envelopes: [Istio_Mcp_V1alpha1_Resource], are resources: [Resource]) {
    #expect(envelopes.map(\.metadata.name) == resources.map(\.wireName))
    #expect(envelopes.map(\.metadata.version) == resources.map(\.version.description))
    #expect(envelopes.map(\.metadata.createTime.seconds) == resources.map(\.createTime.seconds))
    #expect(
      envelopes.map(\.body.typeURL) == resources.map { "type.googleapis.com/" + $0.bodyMessage })
    #expect(envelopes.map { Array($0.body.value) } == resources.map(\.body))
  }

  @Test(arguments: [false, true])
  func resources(incremental: Bool) throws {
    var request = Istio_Mcp_V1alpha1_RequestResources()
    request.sinkNode.id = "pilot"
    request.sinkNode.annotations = ["zone": "a"]
    request.collection = services
    request.incremental = incremental
    if incremental { request.initialResourceVersions = ["prod/a": "old", "prod/gone": "x"] }
    let read = try Istio_Mcp_V1alpha1_Resources(
      serializedBytes: respond(.resourceSource, request.serializedBytes()))
    #expect(read.collection == services && read.nonce == "1" && read.incremental == incremental)
    #expect(read.systemVersionInfo == served.collections[kind("VirtualService").type]?.version.description)
    #expect(read.removedResources == (incremental ? ["prod/gone"] : []))
    expect(read.resources, are: [virtualService("a", "one"), virtualService("b", "two")])
    #expect(read.unknownFields.data.isEmpty)
  }

  @Test func meshConfigGetsAnEnvelope() throws {
    var request = Istio_Mcp_V1alpha1_RequestResources()
    request.collection = "istio/mesh/v1alpha1/MeshConfig"
    let read = try Istio_Mcp_V1alpha1_Resources(
      serializedBytes: respond(.resourceSource, request.serializedBytes()))
    #expect(read.resources.map(\.metadata.name) == ["istio-system/meshconfig"])
    #expect(read.resources.map(\.body.typeURL) == ["type.googleapis.com/istio.mesh.v1alpha1.MeshConfig"])
    #expect(read.resources.map { Array($0.body.value) } == [Array("mesh".utf8)])
  }

  @Test func aggregated() throws {
    var request = Istio_Mcp_V1alpha1_MeshConfigRequest()
    request.typeURL = "type.googleapis.com/istio.networking.v1alpha3.VirtualService"
    request.versionInfo = "older"
    let read = try Istio_Mcp_V1alpha1_MeshConfigResponse(
      serializedBytes: respond(.aggregated, request.serializedBytes()))
    #expect(read.typeURL == request.typeURL && read.nonce == "1")
    expect(read.resources, are: [virtualService("a", "one"), virtualService("b", "two")])
    #expect(read.unknownFields.data.isEmpty)
  }

  @Test func incrementalAggregated() throws {
    var request = Istio_Mcp_V1alpha1_IncrementalMeshConfigRequest()
    request.typeURL = services
    request.initialResourceVersions = ["prod/gone": "x"]
    let read = try Istio_Mcp_V1alpha1_IncrementalMeshConfigResponse(
      serializedBytes: respond(.incrementalAggregated, request.serializedBytes()))
    #expect(read.nonce == "1" && read.removedResources == ["prod/gone"])
    expect(read.resources, are: [virtualService("a", "one"), virtualService("b", "two")])
    #expect(read.unknownFields.data.isEmpty)
  }

  @Test func requests() throws {
    var said = request(
      services, nonce: "7", holds: ["prod/a": "1"], incremental: true,
      fault: RequestFault(code: 12, message: "no"))
    let node = SinkNode(id: "edge", annotations: ["zone": "a"])
    let stream = try Istio_Mcp_V1alpha1_RequestResources(
      serializedBytes: said.encoded(method: .resourceSource, node: node))
    #expect(stream.sinkNode.id == "edge" && stream.sinkNode.annotations == ["zone": "a"])
    #expect(stream.collection == services && stream.responseNonce == "7" && stream.incremental)
    #expect(stream.initialResourceVersions == ["prod/a": "1"])
    #expect(stream.errorDetail.code == 12 && stream.errorDetail.message == "no")
    said.version = "v5"
    let whole = try Istio_Mcp_V1alpha1_MeshConfigRequest(
      serializedBytes: said.encoded(method: .aggregated, node: node))
    #expect(whole.versionInfo == "v5" && whole.typeURL == services && whole.responseNonce == "7")
    #expect(whole.sinkNode.id == "edge" && whole.errorDetail.code == 12)
    #expect(whole.unknownFields.data.isEmpty)
    let again = try SinkRequest(
      said.encoded(method: .incrementalAggregated, node: node), method: .incrementalAggregated, namesMax: 10)
    let changes = try Istio_Mcp_V1alpha1_IncrementalMeshConfigRequest(
      serializedBytes: said.encoded(method: .incrementalAggregated, node: node))
    #expect(changes.typeURL == services && changes.initialResourceVersions == again.initialVersions)
    #expect(again.isIncremental && again.nodeID == "edge" && again.fault == said.fault)
  }

  /// Istio 1.0 says `Client`: its metadata is a Struct where later ones have a map of strings.
  @Test func clientsOfIstio10AreUnderstood() throws {
    var metadata = Google_Protobuf_Struct()
    metadata.fields["zone"] = Google_Protobuf_Value(stringValue: "a")
    var node = ProtobufWriter()
    node.string(1, "default")
    node.message(2, try metadata.serializedBytes())
    var bytes = ProtobufWriter()
    bytes.message(2, node.bytes)
    bytes.string(3, services)
    let read = try SinkRequest(bytes.bytes, method: .aggregated, namesMax: 10)
    #expect(read.nodeID == "default" && read.collection == services)
  }
}
