// Goal: a form without some keys is an object like any other: the tier below computes its version and finds nothing of
// what was hidden in its bytes; a form can be made whatever the body holds.
// Method: forms are read as a tier below reads them.

import Primitives
import Testing

@testable import Snapshots

struct RedactingTests {
  private func resource(_ canonicalize: BodyCanonicalizer? = nil) throws -> Resource {
    var subject = draft("reviews")
    subject.labels = [("owner", "TEAM-SECRET"), ("tier", "edge")]
    subject.annotations = [("example.org/cost", "COST-SECRET"), ("note", "seen")]
    return try Admission.admit(
      type: virtualService, draft: subject, limits: Limits(), canonicalize: canonicalize)
  }

  private func form(_ resource: Resource, _ canonicalize: BodyCanonicalizer? = nil) -> Resource {
    resource.without(
      labels: { $0 == "owner" }, annotations: { $0.hasPrefix("example.org/") }, canonicalize: canonicalize)
  }

  /// Puts the bytes of a body into an order of their own, as canonical forms do.
  private let sorting: BodyCanonicalizer = { _, body in body.sorted() }

  @Test func theTierBelowComputesItsVersion() throws {
    let form = form(try resource(sorting), sorting)
    var reader = ProtobufReader(form.encoded)
    let field = try #require(try reader.next())
    let element = try DeltaElement(reader.message(field))
    let below = try Admission.admit(
      type: virtualService, payload: try #require(element.payload), wrapperName: element.name,
      source: "above", seen: Timestamp(seconds: 9), limits: Limits(), intake: Intake(canonicalize: sorting))
    #expect(below.version == form.version && below.version.description == element.version)
    #expect(below.labels.map(\.key) == ["tier"] && below.annotations.map(\.key) == ["note"])
    #expect(below.createTime == form.createTime && below.body == form.body)
  }

  @Test func nothingOfWhatIsHiddenIsInItsBytes() throws {
    let whole = try resource()
    let text = String(decoding: form(whole).encoded, as: UTF8.self)
    #expect(!text.contains("SECRET") && !text.contains("owner") && text.contains("edge"))
    #expect(
      String(decoding: whole.encoded, as: UTF8.self).contains("COST-SECRET"), "the object stays as it is")
  }

  @Test func whatHasNothingToHideIsItself() throws {
    let whole = try resource()
    #expect(
      whole.without(labels: { _ in false }, annotations: { $0 == "other" }, canonicalize: nil) === whole)
  }

  @Test func aBodyThatNobodyCanReadIsNoReason() throws {
    let broken: BodyCanonicalizer = { _, _ throws(BodyFault) in throw BodyFault("not that message") }
    let whole = try resource()
    let form = form(whole, broken)
    #expect(form.labels.map(\.key) == ["tier"] && form.version == self.form(whole).version)
  }
}
