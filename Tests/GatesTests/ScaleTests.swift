// Goal: a change costs what changed times the classes that may see it, however many clusters and objects there are; an
// explanation costs a lookup.
// Method: meshes of several sizes with equal changes; counts of what was asked, which are exact, and times, which are
// only printed. MESHRELAY_SCALE=full takes 1,000 clusters and 60,000 objects (`make scale`).

import Foundation
import Policy
import Primitives
import SPIFFE
import Snapshots
import Testing

@testable import Gates

/// `clusters` that each see a namespace of their own, and every tenth of them one that they share.
private struct Mesh {
  let clusters: Int
  var publisher: Publisher
  private var merge = Merge(sources: [MergeSource(name: "s", listsEverything: true)])

  init(clusters: Int, resources: Int) throws {
    self.clusters = clusters
    let text = (0..<clusters).map { index in
      let shared = index % 10 == 0 ? ", shared" : ""
      return
        "  - {name: c\(index), identities: [\"spiffe://td/c\(index)\"], allow: [{namespaces: [n\(index)\(shared)], types: [\"networking.istio.io/*\"]}], deny: [{names: [\"secret-*\"]}]}\n"
    }
    publisher = Publisher(
      rules: try #require(PolicyRules.parse("clusters:\n" + text.joined(), file: "policy.yaml").rules),
      brake: Brake())
    let each = resources / clusters
    let all = try (0..<resources).map { number in
      try Mesh.resource("n\(number / max(each, 1) % clusters)", "r\(number)", body: 0)
    }
    apply(all)
  }

  static func resource(_ namespace: String, _ name: String, body: UInt8) throws -> Resource {
    try Admission.admit(
      type: gateway,
      draft: ResourceDraft(
        namespace: namespace, name: name, labels: [("tier", "edge")], createTime: Timestamp(seconds: 1),
        bodyMessage: Kinds[gateway]?.bodyMessage ?? "", body: [body], source: "s"), limits: Limits())
  }

  private mutating func apply(_ resources: [Resource]) {
    let change = merge.apply(
      SourceUpdate(source: "s", kind: .change(gateway, upserts: resources, removals: [])))
    let position = Position(origin: "o", sequence: 1, published: Timestamp(seconds: 1), path: [])
    _ = publisher.apply(change, snapshot: merge.snapshot(at: position), now: Timestamp(seconds: 1))
  }

  /// How many classes were asked about the objects of one change.
  mutating func cost(of resources: [Resource]) -> UInt64 {
    let before = publisher.views.evaluations
    apply(resources)
    return publisher.views.evaluations - before
  }
}

struct ScaleTests {
  private static let sizes: [(clusters: Int, resources: Int)] =
    ProcessInfo.processInfo.environment["MESHRELAY_SCALE"] == "full"
    ? [(100, 6_000), (1_000, 6_000), (1_000, 60_000)] : [(20, 400), (200, 400), (200, 4_000)]

  @Test func aChangeCostsWhatChangedTimesWhoMaySeeIt() throws {
    for size in ScaleTests.sizes {
      var mesh = try Mesh(clusters: size.clusters, resources: size.resources)
      let clock = ContinuousClock()
      let start = clock.now
      for changed in [1, 10, 100] {
        // One class may see it: whatever the size of the mesh.
        let own = try (0..<changed).map { try Mesh.resource("n7", "new\($0)", body: UInt8(changed)) }
        #expect(mesh.cost(of: own) == UInt64(changed), "\(size)")
        // Every tenth class may.
        let shared = try (0..<changed).map { try Mesh.resource("shared", "s\($0)", body: UInt8(changed)) }
        #expect(mesh.cost(of: shared) == UInt64(changed * size.clusters / 10), "\(size)")
        // Nobody may.
        let hidden = try (0..<changed).map { try Mesh.resource("other", "o\($0)", body: UInt8(changed)) }
        #expect(mesh.cost(of: hidden) == 0, "\(size)")
      }
      print(
        "\(size.clusters) clusters × \(size.resources) objects: evaluations per (changed object × matching class) = 1.00;"
          + " 9 changes of 333 objects took \(clock.now - start)")
    }
  }

  @Test func anExplanationCostsALookup() throws {
    guard let size = ScaleTests.sizes.last else { return }
    let mesh = try Mesh(clusters: size.clusters, resources: size.resources)
    let generation = mesh.publisher.current
    let id = try SPIFFEID(parsing: "spiffe://td/c7")
    let clock = ContinuousClock()
    var longest = Duration.zero
    var visible = 0
    for number in 0..<size.resources / 10 {
      let start = clock.now
      let collection = try #require(generation.snapshot.collections[gateway])
      let name = "n\(number * 10 / (size.resources / size.clusters) % size.clusters)/r\(number * 10)"
      let answer = generation.rules.explanation(of: collection[name], type: gateway, name: name, as: id)
      longest = max(longest, clock.now - start)
      if answer.visible { visible += 1 }
      #expect(answer.rule != nil || answer.effect == "none")
    }
    #expect(visible == size.resources / size.clusters / 10)
    print("explain among \(size.resources) objects and \(size.clusters) clusters: at most \(longest)")
  }
}
