// Goal: merging gives what the naive reading of its rules gives, however updates arrive, and readiness
// follows the sources. Method: seeded random updates beside a model that recomputes everything.

import Primitives
import Testing

@testable import Snapshots

struct MergeTests {
  private let position = Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: [])

  private func collection(_ merge: Merge, _ type: TypeName) -> Collection? {
    guard case .ready(let collection) = merge.snapshot(at: position).state(of: type) else { return nil }
    return collection
  }

  @Test(arguments: UInt64(1)...8)
  func agreesWithTheNaiveModel(seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    var names = ["a", "b", "c"]
    var merge = Merge(sources: names.map { MergeSource(name: $0, listsEverything: true) })
    var model: [String: [String: Resource]] = [:]
    var follower: [String: Resource] = [:]
    for name in names { take(merge.apply(SourceUpdate(source: name, kind: .complete)), &follower) }
    for _ in 0..<200 {
      if Int.random(in: 0..<8, using: &generator) == 0 {
        // Sources go, come and change places; one that was away begins with nothing.
        let next = Array(["a", "b", "c"].shuffled(using: &generator).prefix(1 + Int(generator.next() % 3)))
        for name in model.keys where !next.contains(name) { model[name] = nil }
        take(merge.replace(sources: next.map { MergeSource(name: $0, listsEverything: true) }), &follower)
        for name in next where !names.contains(name) {
          take(merge.apply(SourceUpdate(source: name, kind: .complete)), &follower)
        }
        names = next
      }
      let source = names[Int.random(in: 0..<names.count, using: &generator)]
      let some = (0..<Int.random(in: 0..<8, using: &generator)).map { _ in
        resource(
          "r\(Int.random(in: 0..<20, using: &generator))",
          body: "b\(Int.random(in: 0..<3, using: &generator))",
          source: source)
      }
      let gone = (0..<3).map { _ in "prod/r\(Int.random(in: 0..<20, using: &generator))" }
      let latest = Dictionary(some.map { ($0.wireName, $0) }) { $1 }
      if Int.random(in: 0..<4, using: &generator) == 0 {
        model[source] = latest
        take(merge.apply(SourceUpdate(source: source, kind: .replace(virtualService, some))), &follower)
      } else {
        for name in gone { model[source]?[name] = nil }
        model[source, default: [:]].merge(latest) { $1 }
        let kind = SourceUpdate.Kind.change(virtualService, upserts: some, removals: gone)
        take(merge.apply(SourceUpdate(source: source, kind: kind)), &follower)
      }
      var expected: [String: Resource] = [:]
      for name in names { expected.merge(model[name] ?? [:]) { first, _ in first } }
      let merged = collection(merge, virtualService)
      #expect(merged?.names == expected.keys.sorted(), "seed \(seed)")
      for (name, resource) in expected {
        #expect(merged?[name]?.version == resource.version, "seed \(seed)")
        #expect(merged?[name]?.source == resource.source, "seed \(seed)")
      }
      #expect(follower.keys.sorted() == expected.keys.sorted(), "seed \(seed)")
      #expect(follower.allSatisfy { merged?[$0.key] === $0.value }, "seed \(seed)")
      let doubles = expected.keys.filter { name in model.values.filter { $0[name] != nil }.count > 1 }
      #expect(merge.conflicts.map(\.name) == doubles.sorted(), "seed \(seed)")
    }
  }

  /// Applies a change as a publisher would.
  private func take(_ change: Merge.Change, _ follower: inout [String: Resource]) {
    for type in change.types where type.type == virtualService {
      for name in type.removals { follower[name] = nil }
      for resource in type.upserts { follower[resource.wireName] = resource }
    }
  }

  @Test func aTypeWaitsForThoseThatCanSupplyIt() {
    var merge = Merge(sources: [
      MergeSource(name: "up", listsEverything: false, supplies: { $0 == virtualService || $0 == gateway }),
      MergeSource(name: "dir", listsEverything: true),
    ])
    let unknown = TypeName(group: "acme.io", kind: "Thing")
    var change = merge.apply(
      SourceUpdate(source: "up", kind: .change(virtualService, upserts: [resource("a")], removals: [])))
    #expect(change.types.isEmpty, "the directory has not spoken")
    #expect(collection(merge, virtualService) == nil)

    change = merge.apply(SourceUpdate(source: "dir", kind: .complete))
    #expect(change.types.map(\.type) == [virtualService])
    #expect(change.types.first?.upserts.map(\.wireName) == ["prod/a"])
    #expect(collection(merge, virtualService)?.count == 1)
    #expect(collection(merge, meshConfig)?.isEmpty == true, "only the directory could have one")
    #expect(collection(merge, gateway) == nil, "asked for and not answered")
    #expect(collection(merge, unknown) == nil, "not everybody has spoken")
    #expect(merge.pendingTypes == [gateway])
    #expect(!merge.isComplete)

    change = merge.apply(SourceUpdate(source: "up", kind: .complete))
    #expect(change.readinessChanged)
    #expect(merge.isComplete)
    #expect(collection(merge, unknown)?.isEmpty == true)
    #expect(collection(merge, gateway) == nil, "stays unanswered")
    #expect(merge.pendingTypes == [gateway])
  }

  @Test func onlyDecidesWhatASourceMaySupply() {
    var merge = Merge(sources: [
      MergeSource(name: "dir", listsEverything: true, admits: { $0.namespace == "prod" })
    ])
    _ = merge.apply(SourceUpdate(source: "dir", kind: .complete))
    let kind = SourceUpdate.Kind.replace(
      virtualService, [resource("a"), resource("b", namespace: "test")])
    let change = merge.apply(SourceUpdate(source: "dir", kind: kind))
    #expect(change.setAside.map(\.resource) == ["networking.istio.io/VirtualService test/b"])
    #expect(collection(merge, virtualService)?.names == ["prod/a"])
  }

  @Test func conflictsAreReportedOnce() {
    var merge = Merge(sources: ["a", "b"].map { MergeSource(name: $0, listsEverything: true) })
    func update(_ source: String, _ kind: SourceUpdate.Kind) -> [Merge.Conflict] {
      merge.apply(SourceUpdate(source: source, kind: kind)).conflicts
    }
    #expect(update("b", .replace(virtualService, [resource("x", source: "b")])).isEmpty)
    let conflict = Merge.Conflict(type: virtualService, name: "prod/x", winner: "a", losers: ["b"])
    #expect(update("a", .replace(virtualService, [resource("x", source: "a")])) == [conflict])
    #expect(update("a", .replace(virtualService, [resource("x", body: "2", source: "a")])).isEmpty)
    #expect(update("a", .replace(virtualService, [])).isEmpty)
    #expect(merge.conflicts.isEmpty)
  }

  @Test func aNewSourceTakesNothingAwayBeforeItHasSpoken() {
    var merge = Merge(sources: [MergeSource(name: "old", listsEverything: true)])
    _ = merge.apply(
      SourceUpdate(source: "old", kind: .replace(virtualService, [resource("a", source: "old")])))
    _ = merge.apply(SourceUpdate(source: "old", kind: .complete))
    let change = merge.replace(sources: [MergeSource(name: "new", listsEverything: true)])
    #expect(change.types.isEmpty)
    #expect(collection(merge, virtualService)?.names == ["prod/a"])
    _ = merge.apply(
      SourceUpdate(source: "new", kind: .replace(virtualService, [resource("b", source: "new")])))
    let last = merge.apply(SourceUpdate(source: "new", kind: .complete))
    #expect(collection(merge, virtualService)?.names == ["prod/b"])
    #expect(last.types.isEmpty || last.types.first?.removals == ["prod/a"])
  }

  @Test func causesOfRemovalsAreKept() {
    var merge = Merge(sources: [MergeSource(name: "up", listsEverything: true)])
    _ = merge.apply(SourceUpdate(source: "up", kind: .complete))
    _ = merge.apply(
      SourceUpdate(source: "up", kind: .replace(virtualService, [resource("a"), resource("b")])))
    let kind = SourceUpdate.Kind.change(virtualService, upserts: [], removals: ["prod/a"])
    _ = merge.apply(SourceUpdate(source: "up", kind: kind, removals: .policy))
    let snapshot = merge.snapshot(at: position)
    let view = View(number: 1, collections: [:], snapshot: snapshot)
    #expect(view.removalCause(of: "prod/a", type: virtualService) == .policy)
    #expect(view.removalCause(of: "prod/b", type: virtualService) == .policy, "hidden, not gone")
    #expect(view.removalCause(of: "prod/c", type: virtualService) == .source)
    _ = merge.apply(
      SourceUpdate(source: "up", kind: .change(virtualService, upserts: [resource("a")], removals: [])))
    _ = merge.apply(
      SourceUpdate(source: "up", kind: .change(virtualService, upserts: [], removals: ["prod/a"])))
    #expect(merge.snapshot(at: position).removalCauses[virtualService, "prod/a"] == nil)
  }

  @Test func snapshotVersionIgnoresEmptyTypes() {
    var merge = Merge(sources: [MergeSource(name: "up", listsEverything: true)])
    _ = merge.apply(SourceUpdate(source: "up", kind: .complete))
    let before = merge.snapshot(at: position).version
    _ = merge.apply(SourceUpdate(source: "up", kind: .replace(gateway, [])))
    #expect(merge.snapshot(at: position).version == before)
  }
}
