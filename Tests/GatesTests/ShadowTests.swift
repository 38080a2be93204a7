// Goal: the numbers of a shadow policy are those of comparing both policies anew, under any history of changes, and
// what a change costs is what may differ, not how many clusters there are.
// Method: seeded histories beside a model that judges every object for every cluster; counts of evaluations.

import Policy
import Primitives
import Snapshots
import Testing

@testable import Gates

private func rules(_ text: String) throws -> PolicyRules {
  let parsed = PolicyRules.parse("clusters:\n" + text, file: "policy.yaml")
  return try #require(parsed.rules, "\(parsed.problems)")
}

private func resource(
  _ type: TypeName, _ namespace: String, _ name: String, labels: [(key: String, value: String)] = [],
  annotations: [(key: String, value: String)] = [], body: UInt8 = 0
) throws -> Resource {
  try Admission.admit(
    type: type,
    draft: ResourceDraft(
      namespace: namespace, name: name, labels: labels, annotations: annotations,
      createTime: Timestamp(seconds: 1), bodyMessage: Kinds[type]?.bodyMessage ?? "", body: [body],
      source: "s"), limits: Limits())
}

private let position = Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: [])

struct ShadowTests {
  private static let files = [
    """
      - {name: a, identities: ["spiffe://td/a"], allow: [{namespaces: [foo, bar]}]}
      - {name: b, identities: ["spiffe://td/b"], allow: [{namespaces: ["*"], labels: "tier=edge"}]}
      - {name: c, identities: ["spiffe://td/c"], allow: [{}], redact: {annotations: [cost]}}
      - {name: d, identities: ["spiffe://td/d"], allow: [{namespaces: [foo, bar]}]}
    """,
    """
      - {name: a, identities: ["spiffe://td/a"], allow: [{namespaces: [foo]}]}
      - {name: b, identities: ["spiffe://td/b"], allow: [{namespaces: ["*"], labels: "tier=edge"}]}
      - {name: c, identities: ["spiffe://td/c"], allow: [{}], deny: [{names: ["r1*"]}]}
      - {name: e, identities: ["spiffe://td/e"], allow: [{types: ["networking.istio.io/Gateway"]}]}
    """,
    """
      - {name: a, identities: ["spiffe://td/a"], allow: [{namespaces: [bar, foo]}]}
      - {name: d, identities: ["spiffe://td/d"], allow: [{namespaces: [foo, bar, baz]}], redact: {labels: ["*"]}}
    """,
  ]

  @Test(arguments: UInt64(1)...20)
  func countsWhatComparingAnewCounts(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    var merge = Merge(sources: [MergeSource(name: "s", listsEverything: true)])
    _ = merge.apply(SourceUpdate(source: "s", kind: .complete))
    var snapshot = merge.snapshot(at: position)
    var pair = [0, 1, 2].shuffled(using: &generator)
    var book = ShadowBook(
      enforced: try rules(ShadowTests.files[pair[0]]), shadow: try rules(ShadowTests.files[pair[1]]), snapshot
    )
    for step in 0..<60 {
      if Int.random(in: 0..<8, using: &generator) == 0 {
        pair.shuffle(using: &generator)
        book = ShadowBook(
          enforced: book.rules, shadow: try rules(ShadowTests.files[pair[1]]), snapshot)
        book = book.beside(try rules(ShadowTests.files[pair[0]]), snapshot)
      } else {
        // Several steps in one change, which may take back what an earlier one set.
        var change = Merge.Change()
        for _ in 0..<Int.random(in: 1...3, using: &generator) {
          let next = merge.apply(try update(&generator))
          change.types += next.types
        }
        let before = snapshot
        snapshot = merge.snapshot(at: position)
        book.apply(change, from: before, to: snapshot)
      }
      let expected = try model(pair, snapshot)
      let found = Dictionary(uniqueKeysWithValues: book.differences.map { ($0.cluster, $0.counts) })
      #expect(found == expected, "seed \(seed) step \(step) policies \(pair)")
    }
  }

  private func update(_ generator: inout SeededGenerator) throws -> SourceUpdate {
    let type = Bool.random(using: &generator) ? gateway : service
    let upserts = try (0..<6).map { _ in
      try resource(
        type, ["foo", "bar", "baz"][Int.random(in: 0..<3, using: &generator)],
        "r\(Int.random(in: 0..<14, using: &generator))",
        labels: Bool.random(using: &generator) ? [("tier", "edge")] : [],
        annotations: Bool.random(using: &generator) ? [("cost", "1")] : [],
        body: UInt8.random(in: 0..<3, using: &generator))
    }
    let removals = (0..<5).map { _ in "foo/r\(Int.random(in: 0..<14, using: &generator))" }
    return SourceUpdate(source: "s", kind: .change(type, upserts: upserts, removals: removals))
  }

  private func model(_ pair: [Int], _ snapshot: Snapshot) throws -> [String: ShadowBook.Counts] {
    let (now, then) = (try rules(ShadowTests.files[pair[0]]), try rules(ShadowTests.files[pair[1]]))
    var all: [String: ShadowBook.Counts] = [:]
    for name in ["a", "b", "c", "d", "e"] {
      var counts = ShadowBook.Counts()
      let (old, new) = (now.cluster(named: name), then.cluster(named: name))
      for resource in snapshot.collections.values.flatMap(\.resources) {
        let facts = ResourceFacts(resource)
        let sees = old.map { now.isVisible(facts, class: $0.classIndex) } ?? false
        let wouldSee = new.map { then.isVisible(facts, class: $0.classIndex) } ?? false
        if sees, !wouldSee { counts.removed += 1 }
        if !sees, wouldSee { counts.added += 1 }
        if sees, wouldSee,
          old?.redaction?.form(of: resource, nil).version ?? resource.version
            != new?.redaction?.form(of: resource, nil).version ?? resource.version
        {
          counts.changed += 1
        }
      }
      if !counts.isEmpty { all[name] = counts }
    }
    return all
  }

  @Test func clustersThatDoNotDifferCostNothing() throws {
    func policy(_ lastSees: String) throws -> PolicyRules {
      try rules(
        (0..<200).map { index in
          "  - {name: c\(index), identities: [\"spiffe://td/c\(index)\"], allow: [{namespaces: [n\(index)]}, {namespaces: [\(index == 199 ? lastSees : "shared")]}]}\n"
        }.joined())
    }
    var merge = Merge(sources: [MergeSource(name: "s", listsEverything: true)])
    func change(_ namespace: String, _ body: UInt8) throws -> (Merge.Change, Snapshot) {
      let made = try resource(gateway, namespace, "g", body: body)
      let change = merge.apply(
        SourceUpdate(source: "s", kind: .change(gateway, upserts: [made], removals: [])))
      return (change, merge.snapshot(at: position))
    }
    var (_, snapshot) = try change("shared", 0)
    var book = ShadowBook(enforced: try policy("shared"), shadow: try policy("other"), snapshot)
    #expect(book.differences.map(\.cluster) == ["c199"])
    let start = book.evaluations
    #expect(start <= 2)
    for body in UInt8(1)...100 {
      let before = snapshot
      let (step, next) = try change("shared", body)
      snapshot = next
      book.apply(step, from: before, to: next)
    }
    // Of 200 clusters that see the object one differs: twice a change, as it was and as it is.
    #expect(book.evaluations - start <= 2 * 100, "\(book.evaluations)")
    #expect(book.differences.first?.counts.removed == 1)
    let same = ShadowBook(enforced: try policy("shared"), shadow: try policy("shared"), snapshot)
    #expect(same.evaluations == 0 && same.differences.isEmpty)
  }
}
