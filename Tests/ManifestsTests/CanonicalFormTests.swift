// Goal: equal messages have equal canonical bytes however they were encoded; no bytes of a peer trap.
// Method: hand-made encodings that decoders treat alike, then seeded mutations of real bodies.

import Manifests
import Primitives
import Snapshots
import Testing

@Suite struct CanonicalFormTests {
  private let form = CanonicalForm()

  private func canonical(_ hex: String, _ message: String) throws -> String? {
    form.canonicalBody(try #require(Hex.decode(hex)), message: "istio.\(message)").map { Hex.encode($0) }
  }

  static let equalEncodings: [(message: String, given: String, canonical: String)] = [
    // Fields in another order.
    ("security.v1beta1.AuthorizationPolicy", "18011200", "12001801"),
    // A zero that is written, and one that is not.
    ("security.v1beta1.AuthorizationPolicy", "1800", ""),
    // The last of two scalars.
    ("networking.v1alpha3.EnvoyFilter", "28012802", "2802"),
    // A varint with padding; a negative int32 cut to five bytes; high bits beyond 32.
    ("networking.v1alpha3.EnvoyFilter", "288100", "2801"),
    ("networking.v1alpha3.EnvoyFilter", "28ffffffff0f", "28ffffffffffffffffff01"),
    ("networking.v1alpha3.WorkloadEntry", "308180808010", "3001"),
    // Maps sorted, the last of equal keys, key and value in either order or missing.
    (
      "networking.v1alpha3.WorkloadEntry", "1a060a01621201321a060a0161120131",
      "1a060a01611201311a060a0162120132"
    ),
    ("networking.v1alpha3.WorkloadEntry", "1a060a01611201311a060a0161120132", "1a060a0161120132"),
    ("networking.v1alpha3.WorkloadEntry", "1a061201310a0161", "1a060a0161120131"),
    ("networking.v1alpha3.WorkloadEntry", "1a00", "1a040a001200"),
    // Map keys by value, not by text.
    ("security.v1beta1.PeerAuthentication", "1a0508901c12001a0408501200", "1a04085012001a0508901c1200"),
    // Singular messages merge.
    ("security.v1beta1.PeerAuthentication", "1200120208031200", "12020803"),
    // Unpacked and packed numbers are one list.
    ("networking.v1alpha3.OutlierDetection", "50015202ac02", "520301ac02"),
    // Of a oneof the last member counts, and what it replaced is gone.
    ("networking.v1alpha3.StringMatch", "0a01611201620a0163", "0a0163"),
    ("networking.v1alpha3.StringMatch", "0a0161120162", "120162"),
    ("networking.v1alpha3.LoadBalancerSettings", "08031200", "1200"),
    ("networking.v1alpha3.LoadBalancerSettings", "12001a000800", "08001a00"),
    // Unknown fields stay, in number order, each kind of payload, groups too.
    ("networking.v1alpha3.StringMatch", "a006017a0161", "7a0161a00601"),
    ("networking.v1alpha3.StringMatch", "7d000000007b08017c0a0161", "0a01617d000000007b08017c"),
    // A known number in another wire type is unknown.
    ("networking.v1alpha3.StringMatch", "08010a0161", "0a01610801"),
  ]

  @Test(arguments: equalEncodings.indices)
  func equalMessagesHaveOneForm(_ index: Int) throws {
    let (message, given, expected) = Self.equalEncodings[index]
    #expect(try canonical(given, message) == expected, "\(message) \(given)")
  }

  static let malformed = [
    "0a", "0a05616263", "08", "0affffffffffffffffff01", "0bff", "0c", "0f00", "00", "ffffffffffffffffffff01",
    "0a02c328", "0a01ff", "0b08",
  ]

  @Test(arguments: malformed)
  func malformedBytesHaveNoForm(_ hex: String) throws {
    #expect(try canonical(hex, "networking.v1alpha3.StringMatch") == nil)
    #expect(throws: BodyFault.self) {
      _ = try form.bodyCanonicalizer("istio.networking.v1alpha3.StringMatch", try #require(Hex.decode(hex)))
    }
  }

  @Test func unknownMessagesAreNobodysBusiness() throws {
    #expect(form.canonicalBody([1, 2, 3], message: "istio.rbac.v1alpha1.ServiceRole") == nil)
    #expect(try form.bodyCanonicalizer("istio.rbac.v1alpha1.ServiceRole", [1, 2, 3]) == nil)
  }

  @Test func depthIsBounded() {
    // Struct within Value within Struct …: field 1 entry {key "", value field 5 struct}.
    func nested(_ levels: Int) -> [UInt8] {
      var body: [UInt8] = []
      for _ in 0..<levels {
        let value = delimited(5, body)
        let entry: [UInt8] = [0x0A, 0] + delimited(2, value)
        body = delimited(1, entry)
      }
      return body
    }
    #expect(form.canonicalBody(nested(40), message: "google.protobuf.Struct") != nil)
    #expect(form.canonicalBody(nested(60), message: "google.protobuf.Struct") == nil)
    // Groups are skipped without recursion beyond the bound.
    let groups = [UInt8](repeating: 0x7B, count: 100_000) + [UInt8](repeating: 0x7C, count: 100_000)
    #expect(form.canonicalBody(groups, message: "google.protobuf.Struct") == nil)
  }

  private func delimited(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
    var length: [UInt8] = []
    var rest = content.count
    repeat {
      length.append(UInt8(rest & 0x7F) | (rest > 0x7F ? 0x80 : 0))
      rest >>= 7
    } while rest > 0
    return [number << 3 | 2] + length + content
  }

  /// Alternating members of a oneof must not cost the square of their number.
  @Test func manyOneofMembersAreCheap() {
    var bytes: [UInt8] = []
    for _ in 0..<100_000 { bytes += [0x0A, 0, 0x12, 0] }
    #expect(form.canonicalBody(bytes, message: "istio.networking.v1alpha3.StringMatch") == [0x12, 0])
  }

  @Test func mutationsNeverTrapAndFormsAreStable() throws {
    let seed: UInt64 = 20_260_101
    var generator = SeededGenerator(seed: seed)
    for vector in EncodingVector.all {
      let original = try #require(Hex.decode(vector.hex))
      for round in 0..<2000 {
        var bytes = original
        for _ in 0...Int.random(in: 0..<4, using: &generator) {
          let place = Int.random(in: 0..<bytes.count, using: &generator)
          switch Int.random(in: 0..<3, using: &generator) {
          case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
          case 1: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
          default: if bytes.count > 1 { bytes.remove(at: place) }
          }
        }
        guard let once = form.canonicalBody(bytes, message: vector.message) else { continue }
        #expect(
          form.canonicalBody(once, message: vector.message) == once,
          "seed \(seed), \(vector.kind), round \(round): \(Hex.encode(bytes))")
      }
    }
  }
}
