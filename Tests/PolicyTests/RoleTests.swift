// Goal: a role says for each of its clusters what the cluster could have said itself, and nothing wider; what the
// tier above must grant covers all of it. Method: policies written both ways, tables of mistakes, random policies.

import Documents
import Primitives
import SPIFFE
import Testing

@testable import Policy

private let roles = """
  roles:
    - name: tenant
      identities: ["spiffe://td/cluster/{cluster}/istiod"]
      allow:
        - namespaces: ["{cluster}", "{cluster}-*"]
          types: ["networking.istio.io/*"]
        - namespaces: ["shared-*"]
          labels: "audience in (all,{cluster})"
    - name: careful
      deny:
        - types: ["networking.istio.io/EnvoyFilter"]

  """

private func problems(_ text: String) -> [String] {
  Problem.sorted(PolicyRules.parse(text, file: "p").problems).map(\.description)
}

struct RoleTests {
  @Test func aClusterIsOneLine() throws {
    let short = try rules(roles + "clusters: [{name: a, use: [tenant, careful]}, {name: b, use: [tenant]}]\n")
    let long = try rules(
      """
      clusters:
        - name: a
          identities: ["spiffe://td/cluster/a/istiod"]
          allow:
            - {namespaces: [a, "a-*"], types: ["networking.istio.io/*"]}
            - {namespaces: ["shared-*"], labels: "audience in (all,a)"}
          deny: [{types: ["networking.istio.io/EnvoyFilter"]}]
        - name: b
          identities: ["spiffe://td/cluster/b/istiod"]
          allow:
            - {namespaces: [b, "b-*"], types: ["networking.istio.io/*"]}
            - {namespaces: ["shared-*"], labels: "audience in (all,b)"}
      """)
    // The hash is of what the rules say.
    let unused = try rules(
      roles + "clusters: [{name: a, use: [tenant, careful]}, {name: b, use: [tenant]}]\n# x\n")
    #expect(short.hash == long.hash)
    #expect(short.hash == unused.hash)
  }

  @Test func aRoleIsExplainedByItsOwnPlace() throws {
    let rules = try rules(roles + "clusters: [{name: a, use: [tenant, careful]}]\n")
    let id = try SPIFFEID(parsing: "spiffe://td/cluster/a/istiod")
    let allowed = rules.explain(facts("networking.istio.io/Gateway", "a-web", "x"), as: id)
    #expect(allowed.visible && allowed.rule?.line == 5)
    let denied = rules.explain(facts("networking.istio.io/EnvoyFilter", "a", "x"), as: id)
    #expect(denied.effect == .deny && denied.rule?.line == 11)
  }

  @Test func ownRulesAndIdentitiesAreAdded() throws {
    let rules = try rules(
      roles + """
        clusters:
          - name: a
            use: [tenant]
            identities: ["spiffe://td/old/{cluster}"]
            allow: [{namespaces: [extra]}]
        """)
    for id in ["spiffe://td/cluster/a/istiod", "spiffe://td/old/a"] {
      let id = try SPIFFEID(parsing: id)
      #expect(rules.explain(facts("networking.istio.io/Gateway", "extra", "x"), as: id).visible)
      #expect(rules.explain(facts("networking.istio.io/Gateway", "a", "x"), as: id).visible)
      #expect(!rules.explain(facts("networking.istio.io/Gateway", "b", "x"), as: id).visible)
    }
  }

  @Test(arguments: [
    ("{name: a, use: [tenants]}", "12:28: there is no role \"tenants\", did you mean \"tenant\"?"),
    (
      "{name: \"*\", use: [tenant]}",
      "12:19: \"*\" cannot stand for {cluster}, in a pattern it would mean more than itself, use only a-z, 0-9 and - in the name, at most 63 of them"
    ),
    (
      "{name: a, use: [careful]}",
      "12:12: the cluster \"a\" has no identities, nobody would be it, add identities to it or to one of its roles"
    ),
    (
      "{name: a}",
      "12:12: the key \"identities\" is missing in clusters, nobody would be this cluster, add identities, or use a role that has them"
    ),
    (
      "{name: a, use: [tenant]}, {name: b, identities: [\"spiffe://td/cluster/a/*\"]}",
      "3:18: the identity spiffe://td/cluster/a/istiod of \"a\" overlaps spiffe://td/cluster/a/* of \"b\", an identity belongs to one cluster, remove or narrow one of them"
    ),
  ])
  func mistakesAreTold(clusters: String, expected: String) {
    let found = problems(roles + "clusters: [\(clusters)]\n")
    #expect(found.contains("p:" + expected), "\(found)")
  }

  @Test func rolesAreCheckedWithoutTheirClusters() {
    let found = problems(
      """
      roles:
        - name: r
          identities: ["http://{cluster}"]
          allow: [{labels: "a=={cluster}="}]
        - name: r
      clusters: [{name: a, identities: ["spiffe://td/a"]}]
      blocked: ["spiffe://td/{cluster}"]
      """)
    #expect(found.contains { $0.hasPrefix("p:3:18: \"http://{cluster}\" is no SPIFFE ID") }, "\(found)")
    #expect(found.contains { $0.hasPrefix("p:4:22: the label selector") }, "\(found)")
    #expect(found.contains { $0.contains("must also say namespaces") }, "\(found)")
    #expect(found.contains { $0.hasPrefix("p:5:11: the role \"r\" is defined twice") }, "\(found)")
    #expect(found.contains { $0.hasPrefix("p:7:11: {cluster} means nothing in blocked") }, "\(found)")
  }

  /// Whatever some cluster sees, one that is given the union sees.
  @Test(arguments: UInt64(0)..<4) func theUnionCoversEveryCluster(_ seed: UInt64) throws {
    var random = RandomPolicy(generator: SeededGenerator(seed: seed))
    for _ in 0..<60 {
      let rules = try rules(random.policy().yaml)
      let (allow, deny) = rules.union
      for object in (0..<60).map({ _ in random.object() }) {
        let granted =
          allow.contains { $0.matches(object.facts) } && !deny.contains { $0.matches(object.facts) }
        let isSeen = rules.classes.contains { $0.isVisible(object.facts) }
        #expect(granted || !isSeen, "seed \(seed): \(object)")
      }
    }
  }

  /// What is left is what nothing else covers, found by comparing each with each.
  @Test(arguments: UInt64(0)..<4) func theUnionIsTheWidest(_ seed: UInt64) throws {
    var random = RandomPolicy(generator: SeededGenerator(seed: seed))
    for _ in 0..<60 {
      let allow = try rules(random.policy().yaml).clusters.flatMap(\.allow).map(\.anywhere)
      var kept: [Rule] = []
      for rule in allow where !kept.contains(where: { $0.covers(rule) }) {
        kept.removeAll { rule.covers($0) }
        kept.append(rule)
      }
      #expect(
        PolicyRules.widest(allow).map(\.canonicalText) == kept.map(\.canonicalText).sorted(), "seed \(seed)")
    }
  }

  @Test func theUnionSaysNothingTwice() throws {
    let text = """
      clusters:
        - name: a
          identities: ["spiffe://td/a"]
          allow: [{namespaces: [a]}, {namespaces: ["team-*"], types: ["networking.istio.io/*"]}]
          deny: [{types: ["networking.istio.io/EnvoyFilter"]}, {namespaces: [x]}]
        - name: b
          identities: ["spiffe://td/b"]
          allow: [{namespaces: [a], sources: [local]}, {namespaces: [team-x], types: ["networking.istio.io/Gateway"]}]
          deny: [{types: ["networking.istio.io/EnvoyFilter"]}]

      """
    let policy = try rules(text)
    #expect(policy.union.allow.map { $0.namespaces?.patterns.map(\.text) } == [["a"], ["team-*"]])
    #expect(policy.union.deny.map { $0.types?.patterns.map(\.text) } == [["networking.istio.io/EnvoyFilter"]])
    // A cluster that is allowed nothing is no reason to be granted what all others are denied.
    let more = try rules(text + "  - {name: none, identities: [\"spiffe://td/none\"]}\n")
    #expect(more.union.deny.map(\.canonicalText) == policy.union.deny.map(\.canonicalText))
  }
}
