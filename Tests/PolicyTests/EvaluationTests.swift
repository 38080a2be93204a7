// Goal: the rules mean what DESIGN.md §6 says, for every identity and object; equal rules are one class.
// Method: seeded random policies against the reference, then the promises one by one.

import Documents
import Foundation
import Policy
import Primitives
import SPIFFE
import Snapshots
import Testing

/// Rules of a sound text; a problem that is no warning fails the test.
func rules(_ text: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> PolicyRules {
  let (rules, problems) = PolicyRules.parse(text, file: "p.yaml")
  #expect(problems.filter { $0.severity == .error }.isEmpty, sourceLocation: sourceLocation)
  return try #require(rules, sourceLocation: sourceLocation)
}

func facts(
  _ type: String, _ namespace: String, _ name: String, _ labels: [(key: String, value: String)] = [],
  source: String = "central"
) -> ResourceFacts {
  let parts = type.split(separator: "/").map(String.init)
  return ResourceFacts(
    type: TypeName(group: parts[0], kind: parts[1]), namespace: namespace, name: name, labels: labels,
    source: source)
}

struct EvaluationTests {
  /// Seeds of this run: the few that every run repeats, or MESHRELAY_SEEDS fresh ones (`make evaluate SEEDS=100`).
  private static var seeds: [UInt64] {
    let environment = ProcessInfo.processInfo.environment
    if let seed = environment["MESHRELAY_SEED"].flatMap({ UInt64($0) }) { return [seed] }
    guard let count = environment["MESHRELAY_SEEDS"].flatMap({ Int($0) }) else { return Array(0..<8) }
    let seeds = (0..<count).map { _ in UInt64.random(in: 0..<1 << 32) }
    print("policy seeds: \(seeds.map(String.init).joined(separator: " ")); \(count * 60_000) cases")
    return seeds
  }

  /// 8 seeds × 100 policies × 6 identities × 100 objects = 480,000 cases.
  @Test(arguments: seeds)
  func agreesWithTheReference(_ seed: UInt64) throws {
    var random = RandomPolicy(generator: SeededGenerator(seed: seed))
    for _ in 0..<100 {
      let reference = random.policy()
      let (parsed, problems) = PolicyRules.parse(reference.yaml, file: "p.yaml")
      let rules = try #require(parsed, "seed \(seed): \(problems)\n\(reference.yaml)")
      let objects = (0..<100).map { _ in random.object() }
      for id in RandomPolicy.ids {
        let match = rules.cluster(for: try SPIFFEID(parsing: id))
        for object in objects {
          let expected = reference.isVisible(object, to: id)
          let explanation = rules.explain(object.facts, as: try SPIFFEID(parsing: id))
          #expect(explanation.visible == expected, "seed \(seed): \(id) \(object)\n\(reference.yaml)")
          guard case .cluster(let index, let name) = match else {
            #expect(reference.cluster(of: id) == nil, "seed \(seed): \(id)")
            continue
          }
          #expect(reference.cluster(of: id)?.name == name)
          let visible = rules.isVisible(object.facts, class: rules.clusters[index].classIndex)
          #expect(visible == expected, "seed \(seed): \(id) \(object)\n\(reference.yaml)")
          if let served = reference.served(object, to: id) {
            let form = object.redacted(rules.clusters[index].redaction)
            #expect(
              form.labels == served.labels && form.annotations == served.annotations,
              "seed \(seed): \(id) \(object)\n\(reference.yaml)")
          }
        }
      }
    }
  }

  @Test func denyAllDenies() throws {
    let id = try SPIFFEID(parsing: "spiffe://td/a")
    #expect(PolicyRules.denyAll.cluster(for: id) == .none)
    #expect(PolicyRules.denyAll.classes.isEmpty)
    #expect(PolicyRules.denyAll.explain(facts("g/K", "n", "x"), as: id).visible == false)
  }

  @Test func anEmptyRuleAllowsAllAndNoRuleNothing() throws {
    let rules = try rules(
      """
      clusters:
        - {name: all, identities: ["spiffe://td/all"], allow: [{}]}
        - {name: none, identities: ["spiffe://td/none"]}
        - {name: denied, identities: ["spiffe://td/denied"], allow: [{}], deny: [{}]}
      """)
    for (id, expected) in [("all", true), ("none", false), ("denied", false)] {
      let identity = try SPIFFEID(parsing: "spiffe://td/\(id)")
      #expect(rules.explain(facts("core/MeshConfig", "", "x"), as: identity).visible == expected, "\(id)")
    }
  }

  @Test func blockedBeatsClusters() throws {
    let rules = try rules(
      """
      clusters: [{name: a, identities: ["spiffe://td/*"], allow: [{}]}]
      blocked: ["spiffe://td/stolen/*", "spiffe://td/x"]
      """)
    for (id, match) in [
      ("spiffe://td/ok", ClusterMatch.cluster(index: 0, name: "a")), ("spiffe://td/stolen/1", .blocked),
      ("spiffe://td/stolen", .cluster(index: 0, name: "a")), ("spiffe://td/x", .blocked),
      ("spiffe://te/x", .none),
      ("spiffe://td", .none),
    ] {
      #expect(rules.cluster(for: try SPIFFEID(parsing: id)) == match, "\(id)")
    }
    #expect(rules.trustDomains.map(\.name) == ["td"])
  }

  @Test func clustersWithEqualRulesShareAClass() throws {
    let rules = try rules(
      """
      clusters:
        - {name: z, identities: ["spiffe://td/z"], allow: [{types: ["a.io/*"], namespaces: [x, y]}, {names: [q]}]}
        - {name: a, identities: ["spiffe://td/a"], allow: [{names: [q, q]}, {namespaces: [y, x], types: ["a.io/*"]}]}
        - {name: m, identities: ["spiffe://td/m"], allow: [{names: [q]}]}
        - {name: n, identities: ["spiffe://td/n"], deny: [{names: [q]}]}
      """)
    #expect(rules.clusters.map(\.name) == ["a", "m", "n", "z"])
    #expect(rules.clusters.map(\.classIndex) == [0, 1, 2, 0])
    #expect(rules.classes.map(\.clusters) == [[0, 3], [1], [2]])
  }

  @Test func theHashIsOfTheMeaningOnly() throws {
    let first = try rules(
      "clusters: [{name: a, identities: [\"spiffe://td/a\"], allow: [{names: [x, y]}]}, {name: b, identities: [\"spiffe://td/b\"]}]"
    )
    let same = try rules(
      """
      # another order, a test more
      clusters:
        - name: b
          identities: ["spiffe://td/b"]
        - name: a
          allow: [{names: ["y", "x"]}]
          identities: ["spiffe://td/a"]
      tests: [{as: "spiffe://td/a", hidden: ["core/MeshConfig z"]}]
      """)
    let other = try rules(
      "clusters: [{name: a, identities: [\"spiffe://td/a\"], deny: [{names: [x, y]}]}, {name: b, identities: [\"spiffe://td/b\"]}]"
    )
    #expect(first.hash == same.hash)
    #expect(first.hash != other.hash)
    #expect(first.hash != PolicyRules.denyAll.hash)
    #expect(first.hash.utf8.count == 32)
  }

  @Test func explainNamesTheDecidingRule() throws {
    let rules = try rules(
      """
      clusters:
        - name: a
          identities: ["spiffe://td/a"]
          allow:
            - namespaces: [foo]
            - types: ["n.io/VS"]
          deny:
            - names: [secret]
      blocked: ["spiffe://td/b"]
      """)
    func answer(_ id: String, _ facts: ResourceFacts) throws -> String {
      let answer = rules.explain(facts, as: try SPIFFEID(parsing: id))
      return
        "\(answer.visible) \(answer.cluster ?? "-") \(answer.effect) \(answer.rule?.description ?? "-") \(answer.reason)"
    }
    #expect(
      try answer("spiffe://td/a", facts("n.io/DR", "foo", "x"))
        == "true a allow p.yaml:5:9 The rule at p.yaml:5:9 allows it to a")
    #expect(
      try answer("spiffe://td/a", facts("n.io/VS", "bar", "secret"))
        == "false a deny p.yaml:8:9 The rule at p.yaml:8:9 denies it to a")
    #expect(
      try answer("spiffe://td/a", facts("n.io/DR", "bar", "x")) == "false a none - No rule of a allows it")
    #expect(
      try answer("spiffe://td/b", facts("n.io/DR", "foo", "x"))
        == "false - blocked p.yaml:9:11 spiffe://td/b is blocked by spiffe://td/b at p.yaml:9:11")
    #expect(
      try answer("spiffe://td/c", facts("n.io/DR", "foo", "x"))
        == "false - unknown - No cluster has the identity spiffe://td/c")
  }

  @Test func whoIsServedNothingIsToldWhereThatIsSaid() throws {
    let rules = try #require(
      PolicyRules.parse([
        FileText(
          path: "one.yaml", bytes: Array("clusters: [{name: a, identities: [\"spiffe://td/a\"]}]".utf8)),
        FileText(
          path: "two.yaml", bytes: Array("blocked:\n  - spiffe://td/x\n  - spiffe://td/stolen/*\n".utf8)),
      ]).rules)
    let id = try SPIFFEID(parsing: "spiffe://td/stolen/1")
    #expect(
      rules.refusal(of: id)?.description
        == "The identity spiffe://td/stolen/1 is blocked. spiffe://td/stolen/* stands under blocked at two.yaml:3:5. "
        + "If it should be served, take it out there and reload.")
    #expect(
      rules.refusal(of: try SPIFFEID(parsing: "spiffe://td/b"))?.description
        == "No cluster has the identity spiffe://td/b. The policy is one.yaml, two.yaml. "
        + "If it should be served, add it to the identities of a cluster and reload.")
    #expect(rules.refusal(of: try SPIFFEID(parsing: "spiffe://td/a")) == nil)
    #expect(PolicyRules.denyAll.refusal(of: id)?.why == "There is no policy")
    // It would see it as little if it were there.
    let type = TypeName(group: "n.io", kind: "VS")
    let absent = rules.explanation(of: nil, type: type, name: "foo/x", as: id)
    #expect(absent.effect == "blocked" && absent.rule?.line == 3 && absent.cluster == nil)
    #expect(
      absent.reason.hasSuffix("at two.yaml:3:5. n.io/VS foo/x is not in the snapshot"), "\(absent.reason)")
  }

  @Test func tenThousandClustersAreFound() throws {
    let clusters = (0..<10_000).map {
      "  - {name: c\($0), identities: [\"spiffe://td/c\($0)/*\"], allow: [{}]}\n"
    }
    let rules = try rules("clusters:\n" + clusters.joined())
    #expect(rules.classes.count == 1)
    #expect(rules.cluster(for: try SPIFFEID(parsing: "spiffe://td/c77/x")) != .none)
    #expect(rules.cluster(for: try SPIFFEID(parsing: "spiffe://td/c77")) == .none)
  }
}
