// Goal: the one encoding of a resource is byte for byte what Google's protobuf makes of it, in every
// dialect. Method: vectors made with Google's Python protobuf from the published descriptors.

import Primitives
import Testing

@testable import Snapshots

struct EncodingTests {
  /// istio.mcp.v1alpha1.Resource: prod/deny-all, 1700000000 s, version 9812, {app: x}, empty policy.
  static let envelope =
    "0a270a0d70726f642f64656e792d616c6c12060880e2cfaa061a043938313222080a0361707012017812400a3e"
    + "747970652e676f6f676c65617069732e636f6d2f697374696f2e73656375726974792e763162657461312e"
    + "417574686f72697a6174696f6e506f6c696379"
  /// The same in an Any as field 2 of a DiscoveryResponse.
  static let element =
    "129e010a2f747970652e676f6f676c65617069732e636f6d2f697374696f2e6d63702e7631616c706861312e"
    + "5265736f75726365126b" + envelope

  private var encoding: ResourceEncoding {
    ResourceEncoding(
      ResourceDraft(
        namespace: "prod", name: "deny-all", labels: [("app", "x")],
        createTime: Timestamp(seconds: 1_700_000_000),
        bodyMessage: "istio.security.v1beta1.AuthorizationPolicy", body: [], source: "central"),
      wireName: "prod/deny-all", version: "9812", isBare: false)
  }

  @Test func stateOfTheWorldElementIsASuffix() {
    #expect(Hex.encode(encoding.bytes[encoding.inner...]) == EncodingTests.element)
  }

  @Test func classicElementIsASuffix() {
    #expect(Hex.encode(encoding.bytes[encoding.core...]) == "126b" + EncodingTests.envelope)
  }

  @Test func deltaElementIsTheWhole() throws {
    var reader = ProtobufReader(encoding.bytes)
    let field = try #require(try reader.next())
    #expect(field.number == 2)
    let element = try DeltaElement(reader.message(field))
    #expect(element.name == "prod/deny-all")
    #expect(element.version == "9812")
    #expect(element.payload?.messageName == "istio.mcp.v1alpha1.Resource")
    #expect(element.payload.map { Hex.encode($0.value) } == EncodingTests.envelope)
    #expect(try reader.next() == nil)
  }

  @Test func collectionBodiesAreTheElementsInOrder() {
    let resources = (0..<300).map { resource("r\($0)", body: "b\($0)") }
    let collection = Collection(resources)
    let sorted = resources.sorted { $0.wireName < $1.wireName }
    #expect(collection.body(.whole).bytes == sorted.flatMap(\.encoded))
    #expect(
      collection.body(.inner).bytes == sorted.flatMap { $0.encoded[Int($0.segment.inner)...] })
    #expect(collection.body(.core).bytes == sorted.flatMap { $0.encoded[Int($0.segment.core)...] })
  }

  /// Lengths of one, two and three bytes, in every nested part.
  @Test(arguments: [0, 1, 90, 127, 128, 129, 16_000, 16_384, 300_000])
  func survivesReadmission(bodyBytes: Int) throws {
    let body = (0..<bodyBytes).map { UInt8(truncatingIfNeeded: $0) }
    var first = draft("r")
    first.body = body
    first.labels = [("z", "1"), ("a", "2")]
    first.annotations = [("note", String(repeating: "x", count: bodyBytes / 10))]
    let admitted = try Admission.admit(type: virtualService, draft: first, limits: Limits())
    #expect(admitted.body == body)
    var reader = ProtobufReader(admitted.encoded)
    let field = try #require(try reader.next())
    let element = try DeltaElement(reader.message(field))
    let payload = try #require(element.payload)
    let again = try Admission.admit(
      type: virtualService, payload: payload, wrapperName: element.name, source: "other",
      seen: Timestamp(seconds: 5), limits: Limits())
    #expect(again.encoded == admitted.encoded)
    #expect(again.labels.map(\.key) == ["a", "z"])
    #expect(again.createTime == admitted.createTime)
    #expect(again.source == "other")
  }

  @Test func bareKindTravelsAlone() throws {
    let config = try Admission.admit(
      type: meshConfig,
      payload: EncodedAny(typeURL: "type.googleapis.com/istio.mesh.v1alpha1.MeshConfig", value: [8, 1]),
      wrapperName: "anything", source: "s", seen: Timestamp(seconds: 9), limits: Limits())
    #expect(config.wireName == "meshconfig")
    let any = ProtobufWriter.fields { writer in
      writer.message(2) { any in
        any.string(1, "type.googleapis.com/istio.mesh.v1alpha1.MeshConfig")
        any.data(2, [8, 1])
      }
    }
    #expect(Array(config.encoded[Int(config.segment.inner)...]) == any)
    #expect(config.segment.byteCount(.core) == 0)
  }
}

extension ProtobufWriter {
  static func fields(_ body: (inout ProtobufWriter) -> Void) -> [UInt8] {
    var writer = ProtobufWriter()
    body(&writer)
    return writer.bytes
  }
}
