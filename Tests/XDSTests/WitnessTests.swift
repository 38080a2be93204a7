// Goal: what we write by hand, generated code reads as meant, and the other way round. Method: the
// messages of the published definitions, compiled by protoc, as the witness.

import Primitives
import Protos
import Snapshots
import SwiftProtobuf
import Testing

@testable import XDS

struct WitnessTests {
  private let served = view(
    3,
    ["VirtualService": [resource("VirtualService", "a", "one"), resource("VirtualService", "b", "two")]],
    hidden: ["VirtualService": [resource("VirtualService", "c", "three")]])

  private func respond(_ dialect: ADSDialect, _ request: [UInt8]) throws -> ADSResponse {
    var server = ADSServer(dialect: dialect, limits: Limits())
    server.update(served)
    try server.receive(request, now: at(0))
    let response = try server.nextResponse(now: at(0))
    return try #require(response)
  }

  private func expectEnvelope(_ any: Google_Protobuf_Any, _ expected: Resource) throws {
    let envelope = try Istio_Mcp_V1alpha1_Resource(unpackingAny: any)
    #expect(envelope.metadata.name == expected.wireName)
    #expect(envelope.metadata.version == expected.version.description)
    #expect(envelope.metadata.createTime.seconds == expected.createTime.seconds)
    #expect(envelope.body.typeURL == "type.googleapis.com/" + expected.bodyMessage)
    #expect(Array(envelope.body.value) == expected.body)
  }

  @Test func stateOfTheWorld() throws {
    var request = Envoy_Service_Discovery_V3_DiscoveryRequest()
    request.typeURL = "networking.istio.io/v1/VirtualService"
    request.node.id = "sidecar~1~2~3"
    request.node.metadata.fields["GENERATOR"] = Google_Protobuf_Value(stringValue: "api")
    let sent = try respond(.stateOfTheWorld, request.serializedBytes())
    let read = try Envoy_Service_Discovery_V3_DiscoveryResponse(serializedBytes: sent.bytes)
    #expect(read.typeURL == request.typeURL)
    #expect(read.versionInfo == sent.version)
    #expect(read.nonce == "1")
    #expect(ControlPlane(json: read.controlPlane.identifier)?.position == served.position)
    let expected = try #require(served.collections[type("VirtualService")]).resources
    #expect(read.resources.count == expected.count)
    for (any, resource) in zip(read.resources, expected) { try expectEnvelope(any, resource) }
    #expect(read.unknownFields.data.isEmpty)
  }

  @Test func delta() throws {
    var request = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
    request.typeURL = "networking.istio.io/v1/VirtualService"
    request.initialResourceVersions = ["prod/gone": "x", "prod/a": "stale"]
    let sent = try respond(.delta, request.serializedBytes())
    let read = try Envoy_Service_Discovery_V3_DeltaDiscoveryResponse(serializedBytes: sent.bytes)
    #expect(read.typeURL == request.typeURL)
    #expect(read.removedResources == ["prod/gone"])
    let expected = try #require(served.collections[type("VirtualService")]).resources
    #expect(read.resources.map(\.name) == expected.map(\.wireName))
    #expect(read.resources.map(\.version) == expected.map(\.version.description))
    for (element, resource) in zip(read.resources, expected) {
      try expectEnvelope(element.resource, resource)
    }
  }

  @Test func requests() throws {
    var generated = Envoy_Service_Discovery_V3_DeltaDiscoveryRequest()
    generated.node.id = "edge"
    generated.node.userAgentName = "meshrelay"
    generated.typeURL = "a/b/C"
    generated.resourceNamesSubscribe = ["x", "*"]
    generated.resourceNamesUnsubscribe = ["y"]
    generated.initialResourceVersions = ["x": "1"]
    generated.responseNonce = "7"
    generated.errorDetail.code = 3
    generated.errorDetail.message = "bad"
    let read = try DeltaDiscoveryRequest(generated.serializedBytes(), namesMax: 10)
    let again = try Envoy_Service_Discovery_V3_DeltaDiscoveryRequest(
      serializedBytes: read.encoded(node: Node(id: "edge")))
    #expect(again == generated)
  }

  @Test func classicElements() throws {
    let collection = try #require(served.collections[type("VirtualService")])
    let bytes = collection.body(.core).bytes
    let read = try Istio_Mcp_V1alpha1_MeshConfigResponse(serializedBytes: bytes)
    #expect(read.resources.map(\.metadata.name) == collection.names)
  }
}
