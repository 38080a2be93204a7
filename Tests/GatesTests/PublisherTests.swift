// Goal: views kept up from changes equal views cut from the whole snapshot, under any sequence of changes
// and rules; nothing hidden is ever in a view; the reported changes lead from one generation to the next.
// Method: seeded histories beside a model that filters everything anew.

import Policy
import Primitives
import SPIFFE
import Snapshots
import Testing

@testable import Gates

private let virtualService = TypeName(group: "networking.istio.io", kind: "VirtualService")

struct PublisherTests {
  /// Rules of several shapes: by exact namespace, by pattern, by label, by source, with denials; and the
  /// rules in place of unusable ones.
  private static let files: [String?] = [
    """
    clusters:
      - name: a
        identities: ["spiffe://example.org/cluster/a/istiod"]
        allow: [{namespaces: [foo, bar]}]
      - name: b
        identities: ["spiffe://example.org/cluster/b/*"]
        allow: [{namespaces: ["f*"], labels: "tier=edge"}]
        deny: [{names: ["r1*"]}]
      - name: c
        identities: ["spiffe://example.org/cluster/c/*"]
        allow: [{}]
        deny: [{types: ["networking.istio.io/Gateway"]}]
        redact: {labels: ["t*"], annotations: ["example.org/*"]}
      - name: d
        identities: ["spiffe://example.org/cluster/d/*"]
        allow: [{namespaces: [foo, bar]}]
      - name: f
        identities: ["spiffe://example.org/cluster/f/*"]
        allow: [{namespaces: [baz]}]
        redact: {labels: ["t*"], annotations: ["example.org/*"]}
    blocked: ["spiffe://example.org/cluster/b/stolen"]
    """,
    """
    clusters:
      - name: a
        identities: ["spiffe://example.org/cluster/a/istiod"]
        allow: [{namespaces: [bar], sources: [local]}]
      - name: e
        identities: ["spiffe://example.org/cluster/e/*"]
        allow: [{namespaces: [foo]}, {types: ["networking.istio.io/*"], names: ["r2"]}]
        redact: {annotations: ["example.org/*"]}
    """,
    nil,
  ]

  private func rules(_ index: Int) throws -> PolicyRules {
    guard let text = PublisherTests.files[index] else { return .denyAll }
    let parsed = PolicyRules.parse(text, file: "policy.yaml")
    return try #require(parsed.rules, "\(parsed.problems)")
  }

  private func resource(_ generator: inout SeededGenerator, source: String) throws -> Resource {
    let type = Bool.random(using: &generator) ? virtualService : gateway
    return try Admission.admit(
      type: type,
      draft: ResourceDraft(
        namespace: ["foo", "bar", "baz"][Int.random(in: 0..<3, using: &generator)],
        name: "r\(Int.random(in: 0..<15, using: &generator))",
        labels: Bool.random(using: &generator) ? [("tier", "edge")] : [],
        annotations: Bool.random(using: &generator) ? [("example.org/cost", "1"), ("kept", "1")] : [],
        createTime: Timestamp(seconds: 1), bodyMessage: Kinds[type]?.bodyMessage ?? "",
        body: [UInt8.random(in: 0..<3, using: &generator)], source: source),
      limits: Limits())
  }

  @Test(arguments: UInt64(1)...12)
  func incrementalViewsEqualFilteredSnapshots(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let sources = ["central", "local"]
    var merge = Merge(sources: sources.map { MergeSource(name: $0, listsEverything: true) })
    var publisher = Publisher(rules: try rules(0), brake: .off)
    let position = Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: [])
    var last = publisher.current
    for step in 0..<60 {
      let publication: Publication
      if Int.random(in: 0..<8, using: &generator) == 0 {
        publication = publisher.replace(rules: try rules(Int.random(in: 0..<3, using: &generator)))
      } else {
        let source = sources[Int.random(in: 0..<2, using: &generator)]
        publication = publisher.apply(
          merge.apply(try update(source, step, &generator)), snapshot: merge.snapshot(at: position),
          now: Timestamp(seconds: 1))
      }
      let generation = publication.generation
      #expect(generation.number == last.number + 1)
      for (index, view) in generation.views.enumerated() {
        #expect(view.number == View.number(generation.number, index))
        for type in [virtualService, gateway] { expectCut(generation, index, type, view, seed) }
      }
      expectReported(publication, last, seed)
      last = generation
    }
  }

  private func update(
    _ source: String, _ step: Int, _ generator: inout SeededGenerator
  ) throws -> SourceUpdate {
    if step < 2 { return SourceUpdate(source: ["central", "local"][step], kind: .complete) }
    let type = Bool.random(using: &generator) ? virtualService : gateway
    var upserts: [Resource] = []
    for _ in 0..<6 {
      let made = try resource(&generator, source: source)
      if made.type == type { upserts.append(made) }
    }
    let removals = (0..<3).map { _ in "foo/r\(Int.random(in: 0..<15, using: &generator))" }
    return SourceUpdate(source: source, kind: .change(type, upserts: upserts, removals: removals))
  }

  private func expectCut(
    _ generation: Generation, _ index: Int, _ type: TypeName, _ view: View, _ seed: UInt64
  ) {
    let whole = generation.snapshot.collections[type] ?? .empty
    let redaction = generation.rules.classes[index].redaction
    let expected = Collection(
      whole.resources.filter { generation.rules.isVisible(ResourceFacts($0), class: index) }
        .map { redaction?.form(of: $0, nil) ?? $0 })
    let actual = view.collections[type] ?? .empty
    #expect(actual.names == expected.names, "seed \(seed) class \(index)")
    #expect(actual.version == expected.version, "seed \(seed) class \(index)")
    let hidden = actual.resources.flatMap { redaction?.hidden(of: $0) ?? [] }
    #expect(hidden.isEmpty, "seed \(seed) class \(index)")
  }

  @Test func classesThatHideTheSameShareTheForm() throws {
    let text = ["a", "b"].map { name in
      "{name: \(name), identities: [\"spiffe://td/\(name)\"], allow: [{namespaces: [foo, \(name)]}], redact: {labels: [tier]}}"
    }
    let parsed = PolicyRules.parse("clusters: [\(text.joined(separator: ", "))]", file: "p").rules
    var publisher = Publisher(rules: try #require(parsed), brake: .off)
    var merge = Merge(sources: [MergeSource(name: "s", listsEverything: true)])
    let position = Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: [])
    func views(_ labels: [(key: String, value: String)], _ cost: String) throws -> [Resource] {
      let resource = try Admission.admit(
        type: gateway,
        draft: ResourceDraft(
          namespace: "foo", name: "g", labels: labels, annotations: [("cost", cost)],
          createTime: Timestamp(seconds: 1), bodyMessage: Kinds[gateway]?.bodyMessage ?? "", body: [],
          source: "s"), limits: Limits())
      let change = merge.apply(
        SourceUpdate(source: "s", kind: .change(gateway, upserts: [resource], removals: [])))
      let made = publisher.apply(change, snapshot: merge.snapshot(at: position), now: Timestamp(seconds: 1))
      #expect(made.generation.snapshot.collections[gateway]?["foo/g"] === resource)
      return made.generation.views.compactMap { $0.collections[gateway]?["foo/g"] }
    }
    let first = try views([("tier", "edge")], "1")
    #expect(first.count == 2 && first[0] === first[1] && first[0].labels.isEmpty, "made once for both")
    let hidden = try views([("tier", "core")], "1")
    #expect(hidden[0] === first[0], "only what is hidden changed")
    let plain = try views([], "1")
    #expect(plain[0].version == first[0].version, "nothing to hide: the same content, the same version")
    #expect(try views([("tier", "edge")], "2")[1].version != first[1].version)
  }

  @Test func whoHeldAFormLosesItByPolicy() throws {
    func rules(_ namespace: String) throws -> PolicyRules {
      let text =
        "clusters: [{name: a, identities: [\"spiffe://td/a\"], allow: [{namespaces: [\(namespace)]}], redact: {labels: [tier]}}]"
      return try #require(PolicyRules.parse(text, file: "p").rules)
    }
    var publisher = Publisher(rules: try rules("foo"), brake: .off)
    var merge = Merge(sources: [MergeSource(name: "s", listsEverything: true)])
    let resource = try Admission.admit(
      type: gateway,
      draft: ResourceDraft(
        namespace: "foo", name: "g", labels: [("tier", "edge")], createTime: Timestamp(seconds: 1),
        bodyMessage: Kinds[gateway]?.bodyMessage ?? "", body: [], source: "s"), limits: Limits())
    let change = merge.apply(
      SourceUpdate(source: "s", kind: .change(gateway, upserts: [resource], removals: [])))
    let position = Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: [])
    let before = publisher.apply(
      change, snapshot: merge.snapshot(at: position), now: Timestamp(seconds: 1)
    ).generation.views[0]
    let form = try #require(before.collections[gateway]?["foo/g"])
    let after = publisher.replace(rules: try rules("bar")).generation.views[0]
    func cause(_ version: String) -> RemovalCause {
      after.removalCause(of: "foo/g", type: gateway, claimedVersion: version)
    }
    #expect(form.version != resource.version)
    #expect(cause(form.version.description) == .policy, "what it held proves that it once might")
    #expect(cause("guessed") == .source)
  }

  /// Applies the reported names to the last generation's views of clusters that existed already.
  private func expectReported(_ publication: Publication, _ last: Generation, _ seed: UInt64) {
    let generation = publication.generation
    for policy in generation.rules.classes {
      let cluster = generation.rules.clusters[policy.clusters[0]].name
      let before = last.rules.clusters.first { $0.name == cluster }.map { last.views[$0.classIndex] }
      for type in [virtualService, gateway] {
        let old = before?.collections[type] ?? .empty
        let new = generation.views[policy.index].collections[type] ?? .empty
        let reported = publication.changes.filter { $0.classIndex == policy.index && $0.type == type }
        #expect(reported.count == (old.version == new.version ? 0 : 1), "seed \(seed)")
        guard let change = reported.first else { continue }
        #expect(change.version == new.version)
        #expect(change.added == new.names.filter { !old.contains($0) })
        #expect(change.removed == old.names.filter { !new.contains($0) })
        #expect(
          change.changed
            == new.names.filter { old[$0].map { $0.version } != new[$0]?.version && old.contains($0) })
      }
    }
  }

  @Test func decisions() throws {
    let publisher = Publisher(rules: try rules(0), brake: .off)
    func decide(_ path: String) throws -> Generation.Decision {
      publisher.current.decision(for: try SPIFFEID(parsing: "spiffe://example.org" + path))
    }
    guard case .granted(let grant) = try decide("/cluster/a/istiod") else {
      Issue.record("a is refused")
      return
    }
    #expect(grant.cluster == "a")
    #expect(try decide("/cluster/b/stolen") == .refused(.blocked))
    #expect(try decide("/cluster/x") == .refused(.noCluster))
    #expect(
      Generation.first.decision(for: try SPIFFEID(parsing: "spiffe://example.org/x")) == .refused(.noCluster))
    // Clusters with the same rules share one class, and so one view.
    guard case .granted(let same) = try decide("/cluster/d/istiod") else {
      Issue.record("d is refused")
      return
    }
    #expect(same.classIndex == grant.classIndex)
  }

  @Test func pendingTypesArePendingForAll() throws {
    var merge = Merge(sources: [MergeSource(name: "up", listsEverything: false)])
    var publisher = Publisher(rules: try rules(0), brake: .off)
    let position = Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: [])
    let change = merge.apply(
      SourceUpdate(source: "up", kind: .change(virtualService, upserts: [], removals: [])))
    let generation = publisher.apply(
      change, snapshot: merge.snapshot(at: position), now: Timestamp(seconds: 1)
    ).generation
    for view in generation.views {
      guard case .ready(let collection) = view.state(of: virtualService),
        case .pending = view.state(of: gateway)
      else {
        Issue.record("readiness is lost in a view")
        continue
      }
      #expect(collection.isEmpty)
    }
  }
}
