// Goal: an object that went through a store is the object it was, and bytes that are no such object are
// refused without a trap. Method: admit, encode, readmit, compare; then cut and flip every byte.

import Primitives
import Testing

@testable import Snapshots

struct ReadmissionTests {
  private static func rich() throws -> Resource {
    var rich = draft("reviews", body: "some body", source: "central")
    rich.labels = [("tier", "edge"), ("app", "reviews")]
    rich.annotations = [("note", "é ☃"), ("empty", "")]
    rich.createTime = Timestamp(seconds: 1_700_000_000, nanoseconds: 987_654_321)
    // A version that no hash of the bytes gives: it rests on a descriptor.
    return try Admission.admit(
      type: virtualService, draft: rich, limits: Limits(), canonicalize: { _, _ in Array("canonical".utf8) })
  }

  @Test func givesTheSameObject() throws {
    let before = try ReadmissionTests.rich()
    let after = try Admission.readmit(type: before.type, encoded: before.encoded, source: before.source)
    #expect(after.encoded == before.encoded)
    #expect(after.isInterchangeable(with: before))
    #expect(after.namespace == "prod" && after.name == "reviews")
    #expect(after.labels.map(\.key) == ["app", "tier"] && after.annotations.map(\.value) == ["", "é ☃"])
    #expect(after.createTime == before.createTime)
    #expect(after.body == before.body && after.bodyMessage == before.bodyMessage)
    for (old, new) in [
      (before.segment.inner, after.segment.inner), (before.segment.core, after.segment.core),
    ] {
      #expect(old == new)
    }
  }

  @Test func givesTheSameBareObject() throws {
    let bare = ResourceDraft(
      namespace: "", name: "", createTime: Timestamp(seconds: 5),
      bodyMessage: "istio.mesh.v1alpha1.MeshConfig",
      body: [8, 1], source: "central")
    let before = try Admission.admit(type: meshConfig, draft: bare, limits: Limits())
    let after = try Admission.readmit(type: meshConfig, encoded: before.encoded, source: "central")
    #expect(after.encoded == before.encoded && after.isInterchangeable(with: before))
  }

  @Test func givesTheSameClusterScopedObject() throws {
    let gatewayClass = TypeName(group: "gateway.networking.k8s.io", kind: "GatewayClass")
    let kind = try #require(Kinds[gatewayClass])
    let before = try Admission.admit(
      type: gatewayClass,
      draft: ResourceDraft(
        namespace: "", name: "istio", createTime: Timestamp(seconds: 5), bodyMessage: kind.bodyMessage,
        body: [], source: "s"), limits: Limits())
    let after = try Admission.readmit(type: gatewayClass, encoded: before.encoded, source: "s")
    #expect(after.encoded == before.encoded && after.name == "istio" && after.namespace.isEmpty)
  }

  @Test func refusesWhatIsNotWhole() throws {
    let bytes = try ReadmissionTests.rich().encoded
    for count in 0..<bytes.count {
      #expect(throws: AdmissionError.self) {
        try Admission.readmit(type: virtualService, encoded: Array(bytes[..<count]), source: "s")
      }
    }
    #expect(throws: AdmissionError.self) {
      try Admission.readmit(type: virtualService, encoded: bytes + [0], source: "s")
    }
  }

  @Test func survivesEveryFlippedBit() throws {
    let bytes = try ReadmissionTests.rich().encoded
    for bit in 0..<bytes.count * 8 {
      var flipped = bytes
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      // Which of them still read is a matter of seals; none may trap.
      _ = try? Admission.readmit(type: virtualService, encoded: flipped, source: "s")
    }
  }
}
