// Goal: every rule of admission refuses what breaks it, and equal content has equal versions whoever
// sends it. Method: one table row per rule; envelopes are written field by field.

import Primitives
import Testing

@testable import Snapshots

struct AdmissionTests {
  private func admit(
    _ change: (inout ResourceDraft) -> Void, type: TypeName = virtualService, limits: Limits = Limits()
  ) -> Result<Resource, AdmissionError> {
    var subject = draft("reviews")
    change(&subject)
    do throws(AdmissionError) {
      return .success(try Admission.admit(type: type, draft: subject, limits: limits))
    } catch {
      return .failure(error)
    }
  }

  private func error(_ result: Result<Resource, AdmissionError>) -> AdmissionError? {
    guard case .failure(let error) = result else { return nil }
    return error
  }

  @Test func refusesEveryBrokenRule() {
    #expect(error(admit { $0.namespace = "" }) == .badNamespace(""))
    #expect(error(admit { $0.namespace = "a.b" }) == .badNamespace("a.b"))
    #expect(
      error(admit { $0.namespace = String(repeating: "a", count: 64) })
        == .badNamespace(String(repeating: "a", count: 64)))
    #expect(error(admit { $0.name = "" }) == .badName(""))
    #expect(error(admit { $0.name = "a/b" }) == .badName("a/b"))
    #expect(error(admit { $0.name = "A" }) == .badName("A"))
    #expect(error(admit { $0.name = String(repeating: "a", count: 254) }) != nil)
    #expect(
      error(admit { $0.bodyMessage = "google.protobuf.Struct" })
        == .wrongBody(expected: "istio.networking.v1alpha3.VirtualService", found: "google.protobuf.Struct"))
    #expect(error(admit { $0.labels = [("a", "1"), ("b", "1"), ("a", "2")] }) == .badKey("a"))
    #expect(error(admit { $0.annotations = [("", "1")] }) == .badKey(""))
    #expect(
      error(admit { $0.createTime = Timestamp(seconds: 253_402_300_800) })
        == .badTime(seconds: 253_402_300_800, nanoseconds: 0))
    #expect(
      error(admit { $0.createTime = Timestamp(seconds: 0, nanoseconds: -1) })
        == .badTime(seconds: 0, nanoseconds: -1))
    let gatewayClass = TypeName(group: "gateway.networking.k8s.io", kind: "GatewayClass")
    #expect(
      error(admit({ $0.bodyMessage = "google.protobuf.Struct" }, type: gatewayClass))
        == .unexpectedNamespace("prod"))
    let unknown = TypeName(group: "acme.io", kind: "Thing")
    #expect(error(admit({ $0.bodyMessage = "" }, type: unknown)) != nil)
    #expect(error(admit({ $0.namespace = "" }, type: unknown)) == nil)
  }

  @Test func countsTheWholeEncodingAgainstTheLimit() throws {
    var limits = Limits()
    let size = try admit({ _ in }).get().byteCount
    limits.resourceBytes = size
    #expect(error(admit({ _ in }, limits: limits)) == nil)
    limits.resourceBytes = size - 1
    #expect(error(admit({ _ in }, limits: limits)) == .tooLarge(bytes: size, limit: size - 1))
  }

  @Test func versionIsOfContentAlone() throws {
    let plain = try admit { _ in }.get().version
    #expect(try admit { $0.createTime = Timestamp(seconds: 1) }.get().version == plain)
    #expect(try admit { $0.source = "other" }.get().version == plain)
    #expect(try admit { $0.name = "ratings" }.get().version == plain)
    #expect(try admit { $0.annotations = [("ResourceVersion", "7")] }.get().version == plain)
    let others = [
      try admit { $0.body.append(0) }.get().version,
      try admit { $0.labels = [("a", "b")] }.get().version,
      try admit { $0.annotations = [("a", "b")] }.get().version,
      try admit { $0.labels = [("ab", "")] }.get().version,
    ]
    #expect(Set(others + [plain]).count == 5)
  }

  @Test func canonicalFormDecidesTheVersionAndBytesAreServed() throws {
    let sorting: BodyCanonicalizer = { _, body in body.sorted() }
    let one = try Admission.admit(
      type: virtualService, draft: draft("a", body: "ba"), limits: Limits(), canonicalize: sorting)
    let two = try Admission.admit(
      type: virtualService, draft: draft("a", body: "ab"), limits: Limits(), canonicalize: sorting)
    #expect(one.version == two.version)
    #expect(one.body == Array("ba".utf8))
    let refusing: BodyCanonicalizer = { (_, _) throws(BodyFault) in throw BodyFault("field 3 is cut") }
    #expect(throws: AdmissionError.brokenBody("field 3 is cut")) {
      try Admission.admit(type: virtualService, draft: draft("a"), limits: Limits(), canonicalize: refusing)
    }
  }

  /// An envelope made of these parts, in this order.
  private func envelope(_ body: (inout ProtobufWriter) -> Void) -> Result<Resource, AdmissionError> {
    do throws(AdmissionError) {
      return .success(
        try Admission.admit(
          type: virtualService, envelope: ProtobufWriter.fields(body), wrapperName: "prod/a",
          source: "s", seen: Timestamp(seconds: 3), limits: Limits()))
    } catch {
      return .failure(error)
    }
  }

  private func metadata(_ writer: inout ProtobufWriter, name: String = "prod/a") {
    writer.message(1) { $0.string(1, name) }
  }

  private func body(_ writer: inout ProtobufWriter) {
    writer.message(2) { $0.string(1, "x/istio.networking.v1alpha3.VirtualService") }
  }

  @Test func setsParseDifferentialsAside() throws {
    #expect(
      try envelope {
        metadata(&$0)
        body(&$0)
      }.get().createTime == Timestamp(seconds: 3))
    #expect(error(envelope { body(&$0) }) == .missing("metadata"))
    #expect(error(envelope { metadata(&$0) }) == .missing("body"))
    #expect(
      error(
        envelope {
          metadata(&$0)
          metadata(&$0)
          body(&$0)
        }) == .malformed(.repeatedField(1)))
    #expect(
      error(
        envelope {
          metadata(&$0)
          body(&$0)
          body(&$0)
        }) == .malformed(.repeatedField(2)))
    #expect(
      error(
        envelope {
          metadata(&$0, name: "prod/b")
          body(&$0)
        })
        == .namesDisagree(wrapper: "prod/a", metadata: "prod/b"))
    #expect(
      error(
        envelope {
          $0.message(1) { metadata in
            metadata.string(1, "prod/a")
            metadata.string(1, "prod/a")
          }
        }) == .malformed(.repeatedField(1)))
    #expect(
      error(
        envelope {
          $0.message(1) { metadata in
            metadata.string(1, "prod/a")
            metadata.map(4, [("k", "1"), ("k", "2")])
          }
          body(&$0)
        }) == .badKey("k"))
    #expect(error(envelope { $0.message(1, [0x0A, 2, 0xC3, 0x28]) }) == .malformed(.notUTF8(field: 1)))
    #expect(error(envelope { $0.integer(1, 5) }) == .malformed(.wrongWireType(field: 1)))
  }

  @Test func ignoresAndDropsUnknownFields() throws {
    let plain = try envelope {
      metadata(&$0)
      body(&$0)
    }.get()
    let extended = try envelope {
      metadata(&$0)
      body(&$0)
      $0.string(9, "later release")
    }.get()
    #expect(extended.encoded == plain.encoded)
  }

  @Test(arguments: ["a", "/a", "a/b/c", "prod//a", "", "/"])
  func refusesWireName(_ name: String) {
    #expect(throws: AdmissionError.self) {
      try Admission.admit(
        type: virtualService,
        envelope: ProtobufWriter.fields {
          metadata(&$0, name: name)
          body(&$0)
        }, wrapperName: name,
        source: "s", seen: Timestamp(seconds: 0), limits: Limits())
    }
  }

  @Test func labelGrammarByteByByte() {
    for byte in UInt8.min...UInt8.max {
      let character = String(decoding: [byte], as: UTF8.self)
      let isLetterOrDigit = "abcdefghijklmnopqrstuvwxyz0123456789".utf8.contains(byte)
      #expect(NameRules.isLabel(character) == isLetterOrDigit, "byte \(byte) alone")
      #expect(NameRules.isLabel("a\(character)b") == (isLetterOrDigit || character == "-"), "byte \(byte)")
      #expect(
        NameRules.isSubdomain("a\(character)b") == (isLetterOrDigit || ["-", "."].contains(character)),
        "byte \(byte) in a subdomain")
    }
    #expect(!NameRules.isSubdomain("a..b"))
    #expect(!NameRules.isSubdomain("a.-b"))
    #expect(NameRules.isSubdomain(String(repeating: "a", count: 253)))
  }

  @Test func randomEnvelopesNeverTrap() {
    var generator = SeededGenerator(seed: 11)
    let whole = resource("a", body: "some body").encoded
    for _ in 0..<20_000 {
      var bytes = whole
      for _ in 0..<Int.random(in: 1...4, using: &generator) {
        let index = Int.random(in: 0..<bytes.count, using: &generator)
        bytes[index] = UInt8.random(in: 0...255, using: &generator)
      }
      bytes.removeLast(Int.random(in: 0..<bytes.count, using: &generator) / 8)
      _ = try? DeltaElement(ProtobufReader(bytes))
      _ = try? Admission.admit(
        type: virtualService, envelope: bytes, wrapperName: nil, source: "s",
        seen: Timestamp(seconds: 0), limits: Limits())
    }
  }
}
