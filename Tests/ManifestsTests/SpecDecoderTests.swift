// Goal: what the schema says about a body is what a manifest would have to say to give that body; no bytes stop it.
// Method: reference vectors and every sample manifest of the repository there and back; hostile text and times; then
// seeded damage to real bodies, judged by the canonical form, and random bytes for every known message.

import Documents
import Foundation
import Manifests
import Primitives
import Snapshots
import Testing

@Suite struct SpecDecoderTests {
  private let form = CanonicalForm()

  private func json(_ body: [UInt8], _ message: String) -> String? {
    Schema.istio.json(body, message: message)
  }

  /// The bytes that `spec` gives in a manifest of `kind`; nil, with the problems, when it is refused.
  private func encode(_ spec: String, _ kind: Kind) -> (body: [UInt8]?, problems: [String]) {
    let apiVersion = kind.typeURL.type.group + "/" + kind.versions[0]
    let manifest =
      #"{"apiVersion":"\#(apiVersion)","kind":"\#(kind.type.kind)","metadata":{"name":"x"},"spec":\#(spec)}"#
    let contents = ManifestFile.read(Array(manifest.utf8), file: "x.json")
    let draft = contents.objects.first?.draft(source: "test", firstSeen: Timestamp(seconds: 0))
    return (draft?.body, contents.problems.map(\.description))
  }

  private func expectRoundTrip(_ body: [UInt8], _ kind: Kind) throws {
    let spec = try #require(json(body, kind.bodyMessage))
    #expect(!spec.contains("\n"))
    let (back, problems) = encode(spec, kind)
    #expect(problems == [])
    #expect(back.map { Hex.encode($0) } == Hex.encode(body), "\(spec)")
  }

  @Test(arguments: EncodingVector.all)
  func referenceVectorsComeBack(_ vector: EncodingVector) throws {
    let kind = try #require(
      Kinds.all.first { $0.type.kind == vector.kind && $0.bodyMessage == vector.message })
    try expectRoundTrip(try #require(Hex.decode(vector.hex)), kind)
  }

  /// Bodies of the demo and of the integration tests: what people really write.
  private static func samples() throws -> [ManifestObject] {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return try ["demo/manifests", "Tests/Integration/manifests"].flatMap { folder in
      let files =
        FileManager.default.enumerator(
          at: root.appendingPathComponent(folder), includingPropertiesForKeys: nil)?
        .compactMap { $0 as? URL }.filter { ManifestFile.isManifest(name: $0.lastPathComponent) } ?? []
      #expect(!files.isEmpty)
      return try files.sorted { $0.path < $1.path }.flatMap { file in
        ManifestFile.read(Array(try Data(contentsOf: file)), file: file.lastPathComponent).objects
      }
    }
  }

  @Test func sampleManifestsComeBack() throws {
    for object in try Self.samples() {
      let kind = try #require(Kinds[object.identity.type])
      if kind.isBare { continue }
      try expectRoundTrip(object.draft(source: "test", firstSeen: Timestamp(seconds: 0)).body, kind)
    }
  }

  static let spellings: [(message: String, hex: String, json: String)] = [
    // Number order, whatever the order of the bytes; JSON names.
    ("networking.v1alpha3.VirtualService", "32012e0a0161", #"{"hosts":["a"],"exportTo":["."]}"#),
    // A oneof member is there even when zero; so are wrappers and empty messages.
    ("networking.v1alpha3.LoadBalancerSettings", "0800", #"{"simple":"UNSPECIFIED"}"#),
    ("networking.v1beta1.ProxyConfig", "1200", #"{"concurrency":0}"#),
    ("security.v1beta1.AuthorizationPolicy", "12001801", #"{"rules":[{}],"action":"DENY"}"#),
    // Enums by name; numbers that have none, as they are.
    ("security.v1beta1.PeerAuthentication", "12020803", #"{"mtls":{"mode":"STRICT"}}"#),
    (
      "security.v1beta1.PeerAuthentication", "120b08ffffffffffffffffff01",
      #"{"mtls":{"mode":-1}}"#
    ),
    // Durations in seconds.
    ("networking.v1alpha3.HTTPRoute", "320308ac02", #"{"timeout":"300s"}"#),
    ("networking.v1alpha3.HTTPRoute", "320808011080cab5ee01", #"{"timeout":"1.5s"}"#),
    ("networking.v1alpha3.HTTPRoute", "32021001", #"{"timeout":"0.000000001s"}"#),
    ("networking.v1alpha3.HTTPRoute", "320b1080b6ca91feffffffff01", #"{"timeout":"-0.5s"}"#),
    // Maps by key: numbers by value, not by text.
    (
      "security.v1beta1.PeerAuthentication", "1a0508901c12001a0408501200",
      #"{"portLevelMtls":{"80":{},"3600":{}}}"#
    ),
    // Lists packed or not.
    (
      "networking.v1alpha3.OutlierDetection", "50015202ac02",
      #"{"outlierDetectionHttpErrorCodes":[1,300]}"#
    ),
    // Unknown fields have no name; a known number in another wire type is unknown.
    ("networking.v1alpha3.StringMatch", "a006010a0161", #"{"exact":"a"}"#),
    ("networking.v1alpha3.StringMatch", "08010a0161", #"{"exact":"a"}"#),
  ]

  @Test(arguments: spellings.indices)
  func spellingIsExact(_ index: Int) throws {
    let (message, hex, expected) = Self.spellings[index]
    #expect(json(try #require(Hex.decode(hex)), "istio." + message) == expected)
  }

  /// Text that JSON, YAML or a terminal would take for something else comes back as it was.
  @Test func everyCharacterComesBack() throws {
    let kind = try #require(Kinds.all.first { $0.type.kind == "VirtualService" })
    let ranges: [ClosedRange<UInt32>] = [0...0x2FF, 0x2000...0x206F, 0xE000...0xE010, 0xFEFE...0xFFFF]
    for value in ranges.joined() + [0x1F600, 0x1FFFE, 0x10FFFF] {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let text = Array("a\(Character(scalar))b".utf8)
      try expectRoundTrip([0x0A, UInt8(text.count)] + text, kind)
    }
  }

  @Test(arguments: [
    "yes", "null", "~", "1", "0x10", "1.5", "- a", "{}", "<<", "*a", "&a", "!x", "a: b", "#", " ",
  ])
  func textStaysText(_ text: String) throws {
    let service = try #require(Kinds.all.first { $0.type.kind == "VirtualService" })
    let length = UInt8(text.utf8.count)
    try expectRoundTrip([0x0A, length] + Array(text.utf8), service)
    let entry = try #require(Kinds.all.first { $0.type.kind == "WorkloadEntry" })
    let pair = [0x0A, length] + Array(text.utf8) + [0x12, length] + Array(text.utf8)
    try expectRoundTrip([0x1A, UInt8(pair.count)] + pair, entry)
  }

  @Test func longKeysComeBack() throws {
    let entry = try #require(Kinds.all.first { $0.type.kind == "WorkloadEntry" })
    let key = [UInt8](repeating: UInt8(ascii: "k"), count: 1000)
    try expectRoundTrip(delimited(3, delimited(1, key) + delimited(2, [])), entry)
  }

  @Test func whatIsNoMessageHasNoText() {
    let message = "istio.networking.v1alpha3.StringMatch"
    #expect(json([], message) == "{}")
    for body: [UInt8] in [[0x0A], [0x0A, 5, 0x61], [0x08], [0x0B], [0, 0], [0x0A, 1, 0xFF]] {
      #expect(json(body, message) == nil)
    }
    for unknown in [
      "", "VirtualService", ".istio.networking.v1alpha3.VirtualService", "istio.mcp.v1alpha1.Resource",
    ] {
      #expect(json([], unknown) == nil)
    }
  }

  @Test func depthIsBounded() {
    func nested(_ levels: Int) -> [UInt8] {
      (0..<levels).reduce([]) { body, _ in delimited(1, [0x0A, 0] + delimited(2, delimited(5, body))) }
    }
    #expect(json(nested(40), "google.protobuf.Struct") != nil)
    #expect(json(nested(60), "google.protobuf.Struct") == nil)
    #expect(json(nested(5000), "google.protobuf.Struct") == nil)
  }

  /// Times that no manifest can say are for a peer to send: there is an answer, or none, but always an end.
  @Test func timesOutOfRangeNeverTrap() {
    let numbers: [UInt64] = [0, 1, 1_000_000_000, 1 << 31, 1 << 62, 1 << 63, .max]
    for seconds in numbers {
      for nanos in numbers {
        let body = [0x08] + varint(seconds) + [0x10] + varint(nanos)
        for message in ["google.protobuf.Timestamp", "google.protobuf.Duration"] { _ = json(body, message) }
      }
    }
  }

  /// Damaged bodies either have no canonical form and no text, or text that gives the canonical form again.
  @Test func damagedBodiesComeBack() throws {
    let seed: UInt64 = 20_261_123
    var generator = SeededGenerator(seed: seed)
    var comparisons = 0
    for object in try Self.samples() {
      let kind = try #require(Kinds[object.identity.type])
      let original = object.draft(source: "test", firstSeen: Timestamp(seconds: 0)).body
      if kind.isBare || original.isEmpty { continue }
      for round in 0..<300 {
        let bytes = damaged(original, using: &generator)
        let canonical = form.canonicalBody(bytes, message: kind.bodyMessage)
        let spec = json(bytes, kind.bodyMessage)
        let place: Comment = "seed \(seed), \(object.identity), round \(round): \(Hex.encode(bytes))"
        #expect((spec == nil) == (canonical == nil), place)
        guard let spec, let back = encode(spec, kind).body else { continue }
        // Unknown fields are gone, nothing else: saying it once more changes nothing.
        #expect(json(back, kind.bodyMessage) == spec, place)
        if back == canonical { comparisons += 1 }
      }
    }
    #expect(comparisons > 1000)
  }

  @Test func randomBytesNeverTrap() {
    let seed: UInt64 = 20_261_124
    var generator = SeededGenerator(seed: seed)
    let messages = Kinds.all.map(\.bodyMessage) + ["google.protobuf.Struct", "google.protobuf.Timestamp"]
    for message in messages {
      for _ in 0..<500 {
        // Small numbers, because they are tags and lengths more often.
        let count = Int.random(in: 0..<48, using: &generator)
        let bytes = (0..<count).map { _ in
          UInt8.random(in: 0...(Bool.random(using: &generator) ? 0x3F : 0xFF), using: &generator)
        }
        let text = json(bytes, message)
        #expect(text == json(bytes, message), "seed \(seed)")
        #expect((text?.utf8.count ?? 0) <= 64 * (bytes.count + 1), "seed \(seed): \(Hex.encode(bytes))")
      }
    }
  }

  private func damaged(_ original: [UInt8], using generator: inout SeededGenerator) -> [UInt8] {
    var bytes = original
    for _ in 0...Int.random(in: 0..<3, using: &generator) {
      let place = Int.random(in: 0..<bytes.count, using: &generator)
      switch Int.random(in: 0..<4, using: &generator) {
      case 0: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
      case 1 where bytes.count > 1: bytes.remove(at: place)
      default: bytes[place] = UInt8.random(in: 0...255, using: &generator)
      }
    }
    return bytes
  }

  private func delimited(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
    [number << 3 | 2] + varint(UInt64(content.count)) + content
  }

  private func varint(_ value: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = value
    repeat {
      bytes.append(UInt8(rest & 0x7F) | (rest > 0x7F ? 0x80 : 0))
      rest >>= 7
    } while rest > 0
    return bytes
  }
}
