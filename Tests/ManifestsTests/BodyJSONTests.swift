// Goal: a body shown as JSON is the spec it was made from: written back into a manifest it gives the same bytes.
// Method: every rule's and vector's body there and back; the exact text for what has more than one spelling.

import Documents
import Manifests
import Primitives
import Snapshots
import Testing

@Suite struct BodyJSONTests {
  private let json = BodyJSON()

  /// Bytes → JSON → manifest → bytes.
  private func roundTrip(_ body: [UInt8], kind: String, apiVersion: String, message: String) throws {
    let text = try #require(json.text(of: body, message: message))
    let manifest =
      #"{"apiVersion": "\#(apiVersion)", "kind": "\#(kind)", "metadata": {"name": "x"}, "spec": \#(text)}"#
    #expect(Hex.encode(try encodedBody(manifest)) == Hex.encode(body), "\(text)")
  }

  @Test(arguments: EncodingVector.all)
  func vectorsComeBack(_ vector: EncodingVector) throws {
    let body = try #require(Hex.decode(vector.hex))
    try roundTrip(body, kind: vector.kind, apiVersion: vector.apiVersion, message: vector.message)
  }

  @Test(arguments: EncodingRuleTests.cases)
  func rulesComeBack(_ rule: RuleCase) throws {
    let contents = ManifestFile.read(Array(manifest(rule.kind, spec: rule.spec).utf8), file: "x.yaml")
    let object = try #require(contents.objects.first)
    let draft = object.draft(source: "s", firstSeen: Timestamp(seconds: 0))
    let kind = try #require(Kinds[object.identity.type])
    try roundTrip(
      draft.body, kind: rule.kind, apiVersion: kind.typeURL.type.group + "/" + kind.versions[0],
      message: draft.bodyMessage)
  }

  static let spellings: [(message: String, hex: String, text: String)] = [
    ("istio.networking.v1alpha3.HTTPRoute", "3202085a", #"{"timeout":"90s"}"#),
    ("istio.networking.v1alpha3.HTTPRoute", "3205108092f401", #"{"timeout":"0.004s"}"#),
    ("istio.networking.v1alpha3.HTTPRoute", "3200", #"{"timeout":"0s"}"#),
    ("istio.networking.v1beta1.ProxyConfig", "1200", #"{"concurrency":0}"#),
    ("istio.security.v1beta1.PeerAuthentication", "12020863", #"{"mtls":{"mode":99}}"#),
    ("istio.security.v1beta1.PeerAuthentication", "1a0408501200", #"{"portLevelMtls":{"80":{}}}"#),
    (
      "istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.MagLev", "088180808080808010",
      #"{"tableSize":"9007199254740993"}"#
    ),
    ("istio.networking.v1alpha3.HTTPBody", "12026869", #"{"bytes":"aGk="}"#),
    ("istio.networking.v1alpha3.Percent", "09000000000000f87f", #"{"value":"NaN"}"#),
    ("istio.networking.v1alpha3.StringMatch", "0a01227a00", #"{"exact":"\""}"#),
    ("google.protobuf.Timestamp", "0880e2cfaa06", #""2023-11-14T22:13:20Z""#),
    ("google.protobuf.Struct", "0a070a016112020800", #"{"a":null}"#),
    ("google.protobuf.StringValue", "", #""""#),
  ]

  @Test(arguments: spellings.indices)
  func textIsExact(_ index: Int) throws {
    let (message, hex, text) = Self.spellings[index]
    #expect(json.text(of: try #require(Hex.decode(hex)), message: message) == text)
  }

  @Test func malformedBodiesHaveNoText() {
    #expect(json.text(of: [0x0A], message: "istio.networking.v1alpha3.StringMatch") == nil)
    #expect(json.text(of: [], message: "istio.rbac.v1alpha1.ServiceRole") == nil)
  }
}
