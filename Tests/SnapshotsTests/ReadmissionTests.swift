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

// Goal of the second half: objects that share a slab are the objects they were, one by one, and what is not written as we
// write it is judged as it always was. Method: both ways beside each other, over the same bytes.
struct SharedReadmissionTests {
  private static func objects() throws -> [Resource] {
    var generator = SeededGenerator(seed: 11)
    return try (0..<60).map { number in
      var one = draft(
        "r\(number)", body: String(repeating: "b", count: Int.random(in: 0..<300, using: &generator)))
      one.namespace = "ns\(number / 7)"
      for key in 0..<Int.random(in: 0..<4, using: &generator) {
        one.labels.append(("label\(key)", number % 3 == 0 ? "é ☃" : "plain"))
        one.annotations.append(("note\(key)", String(repeating: key == 1 ? "ü" : "x", count: number * 3)))
      }
      one.createTime = Timestamp(
        seconds: number % 5 == 0 ? 0 : Int64(number) - 30, nanoseconds: Int32(number % 2))
      if number % 11 == 0 { one.createTime = Timestamp(seconds: -62_135_596_800) }
      return try Admission.admit(type: virtualService, draft: one, limits: Limits())
    }
  }

  private static func ranges(_ parts: [[UInt8]]) -> [Range<Int>] {
    var end = 0
    return parts.map { part in
      defer { end += part.count }
      return end..<end + part.count
    }
  }

  @Test func givesTheSameObjects() throws {
    let before = try SharedReadmissionTests.objects()
    let encodings = before.map(\.encoded)
    let slab = Slab(encodings.flatMap { $0 })
    var readmission = Readmission(type: virtualService, slab: slab)
    var shared = 0
    for (old, range) in zip(before, SharedReadmissionTests.ranges(encodings)) {
      let new = try readmission.readmit(range, name: old.wireName, source: old.source)
      let alone = try Admission.readmit(type: virtualService, encoded: old.encoded, source: old.source)
      #expect(new.isInterchangeable(with: alone) && new.encoded == alone.encoded)
      #expect(new.namespace == alone.namespace && new.name == alone.name && new.body == alone.body)
      #expect(new.bodyMessage == alone.bodyMessage && new.byteCount == alone.byteCount)
      #expect(new.labels.map { [$0.key, $0.value] } == alone.labels.map { [$0.key, $0.value] })
      #expect(new.annotations.map { [$0.key, $0.value] } == old.annotations.map { [$0.key, $0.value] })
      #expect(new.segment.inner == alone.segment.inner && new.segment.core == alone.segment.core)
      if new.slab === slab { shared += 1 }
    }
    // All but those whose time says that there is none.
    #expect(shared == before.count { $0.createTime.seconds != -62_135_596_800 } && shared > 50)
    let collection = Collection(before)
    #expect(Collection(before.shuffled()).body(.whole).bytes == collection.body(.whole).bytes)
  }

  @Test func anotherNameIsRefused() throws {
    let object = try SharedReadmissionTests.objects()[3]
    var readmission = Readmission(type: virtualService, slab: Slab(object.encoded))
    #expect(throws: AdmissionError.self) {
      try readmission.readmit(0..<object.encoded.count, name: object.wireName + "x", source: "s")
    }
  }

  /// Whatever a bit does, both ways give the same object, or neither gives one.
  @Test func everyFlippedBitIsJudgedAlike() throws {
    var rich = draft("reviews", body: "some body")
    rich.labels = [("tier", "edge"), ("app", "reviews")]
    rich.annotations = [("note", "é ☃"), ("empty", "")]
    rich.createTime = Timestamp(seconds: 1_700_000_000, nanoseconds: 987_654_321)
    let bytes = try Admission.admit(type: virtualService, draft: rich, limits: Limits()).encoded
    var good = 0
    for bit in 0..<bytes.count * 8 {
      var flipped = bytes
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      let alone = try? Admission.readmit(type: virtualService, encoded: flipped, source: "s")
      var readmission = Readmission(type: virtualService, slab: Slab(flipped))
      let shared = try? readmission.readmit(
        0..<flipped.count, name: alone?.wireName ?? "prod/reviews", source: "s")
      #expect((alone == nil) == (shared == nil), "bit \(bit)")
      guard let alone, let shared else { continue }
      good += 1
      #expect(shared.encoded == alone.encoded && shared.isInterchangeable(with: alone), "bit \(bit)")
      #expect(shared.namespace == alone.namespace && shared.body == alone.body, "bit \(bit)")
      #expect(shared.annotations.map { [$0.key, $0.value] } == alone.annotations.map { [$0.key, $0.value] })
    }
    #expect(good > 100)
    for count in 0..<bytes.count {
      var readmission = Readmission(type: virtualService, slab: Slab(bytes))
      #expect(throws: AdmissionError.self) {
        try readmission.readmit(0..<count, name: "prod/reviews", source: "s")
      }
    }
  }
}
