// Goal: after a restart the last known is served until the sources have spoken, and nothing of it stays that
// they no longer have. Method: one merge is filled, a second restored from what the first served.

import Primitives
import Testing

@testable import Snapshots

struct MergeRestoreTests {
  private let position = Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: [])

  private func names(_ merge: Merge, _ type: TypeName = virtualService) -> [String]? {
    guard case .ready(let collection) = merge.snapshot(at: position).state(of: type) else { return nil }
    return collection.names
  }

  private func upstream(_ name: String, _ types: [TypeName] = [virtualService, gateway]) -> MergeSource {
    MergeSource(name: name, listsEverything: false, supplies: { types.contains($0) })
  }

  private func restored(
    _ sources: [MergeSource], _ resources: [Resource], complete: Set<String> = []
  ) -> Merge {
    var merge = Merge(sources: sources)
    _ = merge.restore([virtualService: Collection(resources)], completeSources: complete)
    return merge
  }

  @Test func servesTheLastKnownAtOnce() {
    var merge = Merge(sources: [upstream("up")])
    let kept = [resource("a", source: "up"), resource("b", source: "up")]
    let change = merge.restore(
      [virtualService: Collection(kept), gateway: .empty], completeSources: ["up"])
    #expect(names(merge) == ["prod/a", "prod/b"])
    #expect(names(merge, gateway) == [])
    #expect(change.types.map(\.type) == [virtualService] && change.readinessChanged)
    #expect(change.types[0].upserts.count == 2)
    #expect(merge.isComplete && merge.completeSources == ["up"])
    #expect(merge.held(by: "up")[virtualService]?.count == 2)
    // An answer of this life is still awaited: nothing restored counts as one.
    #expect(merge.pendingTypes.contains(virtualService))
  }

  @Test func whatWasNeverReadyStaysPending() {
    let merge = restored([upstream("up")], [resource("a", source: "up")])
    #expect(names(merge, gateway) == nil)
    #expect(!merge.isComplete)
  }

  @Test func aDeltaFromWhatIsHeldContinues() {
    var merge = restored([upstream("up")], ["a", "b"].map { resource($0, source: "up") })
    let change = merge.apply(
      SourceUpdate(
        source: "up",
        kind: .change(virtualService, upserts: [resource("c", source: "up")], removals: ["prod/a"])))
    #expect(names(merge) == ["prod/b", "prod/c"])
    #expect(change.types.count == 1 && change.types[0].removals == ["prod/a"])
    #expect(change.types[0].upserts.map(\.wireName) == ["prod/c"])
  }

  @Test func keepsTheLastKnownUntilAllHaveAnswered() {
    let both = [resource("a", source: "one"), resource("b", source: "two")]
    var merge = restored([upstream("one"), upstream("two")], both)
    var change = merge.apply(SourceUpdate(source: "one", kind: .replace(virtualService, [])))
    #expect(names(merge) == ["prod/a", "prod/b"] && change.types.isEmpty)
    change = merge.apply(SourceUpdate(source: "two", kind: .replace(virtualService, [both[1]])))
    #expect(names(merge) == ["prod/b"])
    #expect(change.types.map(\.removals) == [["prod/a"]] && change.types[0].upserts.isEmpty)
  }

  @Test func aFolderThatNoLongerHasATypeEmptiesIt() {
    let folder = MergeSource(name: "dir", listsEverything: true)
    var merge = restored([folder], [resource("a", source: "dir")], complete: ["dir"])
    #expect(names(merge) == ["prod/a"])
    let change = merge.apply(SourceUpdate(source: "dir", kind: .complete))
    #expect(names(merge) == [])
    #expect(change.types.map(\.removals) == [["prod/a"]])
  }

  @Test func leavesOutWhatMayNoLongerBeSupplied() {
    var strict = upstream("up")
    strict.admits = { $0.namespace != "secret" }
    let merge = restored(
      [strict], [resource("a", source: "up"), resource("x", namespace: "secret", source: "up")])
    #expect(names(merge) == ["prod/a"])
    let elsewhere = restored([upstream("up", [gateway])], [resource("a", source: "up")])
    #expect(elsewhere.snapshot(at: position).collections.isEmpty)
  }

  @Test func aSourceUnderANewNameDoesNotBeginWithNothing() {
    var merge = restored([upstream("new")], [resource("a", source: "old"), resource("b", source: "old")])
    #expect(names(merge) == ["prod/a", "prod/b"])
    #expect(merge.held(by: "new").isEmpty)
    let change = merge.apply(
      SourceUpdate(source: "new", kind: .replace(virtualService, [resource("a", source: "new")])))
    #expect(names(merge) == ["prod/a"])
    #expect(change.types.map(\.removals) == [["prod/b"]])
    #expect(change.types[0].upserts.map(\.source) == ["new"])
  }

  @Test func otherSourcesKeepWhatWasRestored() {
    var merge = restored([upstream("up")], [resource("a", source: "up")], complete: ["up"])
    _ = merge.replace(sources: [upstream("up"), upstream("more")])
    #expect(names(merge) == ["prod/a"])
    #expect(!merge.isComplete && merge.completeSources == ["up"])
    #expect(merge.pendingTypes.contains(virtualService))
  }

  @Test(arguments: UInt64(1)...8)
  func followsTheCollections(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    var old = Collection((0..<300).map { resource("r\($0)") })
    for _ in 0..<20 {
      let edits = generator.edits(names: 400, count: 12)
      var new = old.applying(upserts: edits.upserts, removals: edits.removals)
      if Bool.random(using: &generator), let some = new.resources.first {
        // The same content from another source.
        let other = resource(some.name, body: String(decoding: some.body, as: UTF8.self), source: "other")
        new = new.applying(upserts: [other])
      }
      let step = Collection.edits(from: old, to: new)
      let expected = new.resources.filter { old[$0.wireName]?.isInterchangeable(with: $0) != true }
      #expect(step.upserts.map(\.wireName) == expected.map(\.wireName), "seed \(seed)")
      #expect(step.removals == old.names.filter { !new.contains($0) }, "seed \(seed)")
      // Rebuilt from nothing it shares no chunk, and still only the change counts.
      let rebuilt = Collection.edits(from: Collection(old.resources), to: Collection(new.resources))
      #expect(rebuilt.upserts.map(\.wireName) == step.upserts.map(\.wireName), "seed \(seed)")
      #expect(rebuilt.removals == step.removals, "seed \(seed)")
      old = new
    }
  }

  @Test func aRestartedRelayIsTheEndOfItsPath() {
    let old = Position(
      origin: "o", sequence: 7, published: Timestamp(seconds: 1),
      path: [PathElement(instance: "1", node: "origin"), PathElement(instance: "2", node: "edge")])
    let resumed = old.resumed(by: PathElement(instance: "3", node: "edge"))
    #expect(resumed.path.map(\.instance) == ["1", "3"] && resumed.sequence == 7)
  }
}
