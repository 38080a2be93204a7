// Goal: a collection reached by any history equals one built from nothing: same resources, same chunks,
// same version, same bytes; and differences lead from one to the other. Method: seeded random edits
// beside a dictionary.

import Primitives
import Testing

@testable import Snapshots

struct CollectionTests {
  @Test(arguments: UInt64(1)...6)
  func historyLeavesNoTrace(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    var collection = Collection.empty
    var model: [String: Resource] = [:]
    for round in 0..<30 {
      let (upserts, removals) = generator.edits(names: 2_000, count: round == 0 ? 1_500 : 60)
      for name in removals { model[name] = nil }
      for resource in upserts { model[resource.wireName] = resource }
      let before = collection
      collection = collection.applying(upserts: upserts, removals: removals)
      let rebuilt = Collection(Array(model.values))
      #expect(collection.names == model.keys.sorted(), "seed \(seed)")
      #expect(collection.version == rebuilt.version, "seed \(seed)")
      #expect(collection.chunks.map(\.digest) == rebuilt.chunks.map(\.digest), "seed \(seed)")
      #expect(collection.chunks.map(\.resources.count) == rebuilt.chunks.map(\.resources.count))
      #expect(model.allSatisfy { collection[$0.key] === $0.value })
      #expect(collection[removals.first { model[$0] == nil } ?? "prod/none"] == nil)
      expectDifference(from: before, to: collection, seed)
      expectDifference(from: before, to: rebuilt, seed)
      expectDifference(from: rebuilt, to: before, seed)
    }
    #expect(collection.body(.whole).bytes == model.sorted { $0.key < $1.key }.flatMap(\.value.encoded))
  }

  private func expectDifference(from old: Collection, to new: Collection, _ seed: UInt64) {
    let difference = Collection.difference(from: old, to: new)
    let changed = new.resources.filter { old[$0.wireName]?.version != $0.version }
    #expect(difference.changed.map(\.wireName) == changed.map(\.wireName), "seed \(seed)")
    #expect(difference.removed == old.names.filter { !new.contains($0) }, "seed \(seed)")
    let reached = old.applying(upserts: difference.changed, removals: difference.removed)
    #expect(reached.version == new.version, "seed \(seed)")
  }

  @Test func smallChangesCopySmallParts() {
    let large = Collection((0..<20_000).map { resource("r\($0)") })
    let changed = large.applying(upserts: [resource("r77", body: "new")], removals: ["prod/r19999"])
    let kept = Set(large.chunks.map(ObjectIdentifier.init))
    let copied = changed.chunks.filter { !kept.contains(ObjectIdentifier($0)) }
    #expect(copied.count <= 3)
    #expect(large.chunks.count > 100)
  }

  @Test func followingIsTheSameWithItsStep() {
    let old = Collection((0..<300).map { resource("r\($0)") })
    let new = Collection((5..<310).map { resource("r\($0)", body: $0 % 3 == 0 ? "new" : "body") })
    let plain = Collection.difference(from: old, to: new)
    let following = new.following(old)
    #expect(following.version == new.version && following.names == new.names)
    #expect(following.body(.whole).bytes == new.body(.whole).bytes)
    let first = Collection.difference(from: old, to: following)
    #expect(first.changed.map(\.wireName) == plain.changed.map(\.wireName) && first.removed == plain.removed)
    // Worked out once: whoever asks is given the same.
    #expect(first.segments === Collection.difference(from: old, to: following).segments)
    #expect(Collection.difference(from: old, to: new).segments !== plain.segments)
  }

  @Test func onePartIsThatOfItsSource() {
    let whole = Collection([resource("a"), resource("b"), resource("c")])
    #expect(whole.part(of: "central").version == whole.version && whole.part(of: "else").isEmpty)
    let mixed = whole.applying(
      upserts: [
        try? Admission.admit(
          type: virtualService, draft: draft("b", body: "other", source: "else"), limits: Limits())
      ].compactMap { $0 })
    #expect(
      mixed.part(of: "central").names == ["prod/a", "prod/c"] && mixed.part(of: "else").names == ["prod/b"])
  }

  @Test func emptyIsEmpty() {
    #expect(Collection.empty.version == Collection([]).version)
    #expect(
      Collection([resource("a")]).applying(upserts: [], removals: ["prod/a"]).version
        == Collection.empty.version)
    #expect(Collection.empty["prod/a"] == nil)
    #expect(Collection.empty.body(.whole).byteCount == 0)
    #expect(Collection.difference(from: .empty, to: .empty).isEmpty)
  }

  @Test func latestOfTwoWithOneNameStands() {
    let second = resource("a", body: "2")
    #expect(Collection([resource("a", body: "1"), second])["prod/a"] === second)
    #expect(Collection.empty.applying(upserts: [resource("a", body: "1"), second])["prod/a"] === second)
    let kept = Collection.empty.applying(upserts: [second], removals: ["prod/a"])
    #expect(kept["prod/a"] === second, "removals come first")
  }

  @Test func restriction() {
    let all = Collection((0..<500).map { resource("r\($0)") })
    let some = all.restricted(to: ["prod/r3", "prod/r4", "prod/none"])
    #expect(some.names == ["prod/r3", "prod/r4"])
    #expect(some.version == Collection([resource("r4"), resource("r3")]).version)
  }

  /// The hash and its mask are part of the wire contract between releases: versions depend on them.
  @Test func bordersStayWhereTheyAre() {
    let borders = (0..<1_000).filter { Chunk.isBorder("prod/r\($0)") }
    #expect(borders == [135, 203, 438, 467, 612, 615, 616, 933])
    #expect(Version(hashing: Array("abc".utf8)).description == "ba7816bf8f01cfea414140de5dae2223")
  }
}
