// Goal: a relay that knows what it is granted names the rules that go beyond it, and only those; what a tier tells is
// never less than what it grants.
// Method: cases by hand, and seeded random policies and grants over few words, judged by trying every object there
// could be.

import Documents
import Policy
import Primitives
import SPIFFE
import Snapshots
import Testing

private func policy(_ allow: String, deny: String = "[]") throws -> PolicyRules {
  let rest = deny == "[]" ? "" : ", deny: \(deny)"
  return try rules("clusters: [{name: a, identities: [\"spiffe://td/a\"], allow: \(allow)\(rest)}]")
}

private func grant(_ allow: String, deny: String = "[]") throws -> Grant {
  try #require(Grant(parsing: Grant.text(of: policy(allow, deny: deny).classes[0])))
}

struct UngrantedTests {
  @Test(arguments: [
    // ours, our denials, granted, denied above, what is found
    ("[{namespaces: [foo]}]", "[]", "[{namespaces: [foo, bar]}]", "[]", "-"),
    ("[{namespaces: [foo]}]", "[]", "[{namespaces: [\"f*\"]}]", "[]", "-"),
    ("[{namespaces: [foo]}]", "[]", "[{namespaces: [bar]}]", "[]", "all"),
    ("[{namespaces: [foo, bar]}]", "[]", "[{namespaces: [bar]}]", "[]", "part"),
    ("[{namespaces: [\"*\"]}]", "[]", "[{namespaces: [bar]}]", "[]", "part"),
    ("[{}]", "[]", "[{namespaces: [bar]}]", "[]", "-"),
    ("[{namespaces: [foo]}]", "[]", "[{}]", "[{namespaces: [foo]}]", "all"),
    ("[{namespaces: [foo]}]", "[]", "[{}]", "[{namespaces: [foo], names: [x]}]", "part"),
    ("[{namespaces: [foo]}]", "[{names: [x]}]", "[{}]", "[{namespaces: [foo], names: [x]}]", "-"),
    ("[{types: [\"networking.istio.io/*\"]}]", "[]", "[{types: [\"security.istio.io/*\"]}]", "[]", "all"),
    (
      "[{namespaces: [foo], labels: \"tier=edge\"}]", "[]", "[{namespaces: [foo], labels: \"tier=core\"}]",
      "[]", "all"
    ),
    (
      "[{namespaces: [foo], labels: \"tier=edge\"}]", "[]",
      "[{namespaces: [foo], labels: \"tier in (edge,core)\"}]", "[]", "-"
    ),
    ("[{namespaces: [foo]}]", "[]", "[{namespaces: [foo], labels: \"tier\"}]", "[]", "part"),
  ])
  func namesWhatGoesBeyond(
    _ ours: String, _ denials: String, _ allowed: String, _ denied: String, _ expected: String
  ) throws {
    let found = try policy(ours, deny: denials).ungranted(
      by: ["central": grant(allowed, deny: denied)], of: ["central"])
    #expect(found.undecided == 0)
    #expect((found.rules.first?.extent.rawValue ?? "-") == expected, "\(found.rules)")
  }

  @Test func aSourceThatTellsNothingMaySendAnything() throws {
    let rules = try policy("[{namespaces: [foo], sources: [central]}, {namespaces: [bar]}]")
    let central = try grant("[{namespaces: [other]}]")
    let found = rules.ungranted(by: ["central": central], of: ["central", "local"])
    #expect(found.rules.map(\.position.line) == [1])
    #expect(found.rules.map(\.example).allSatisfy { $0.contains(" foo/") }, "\(found.rules)")
    #expect(rules.ungranted(by: [:], of: ["central"]).rules.isEmpty)
    let both = rules.ungranted(
      by: ["central": central, "local": try grant("[{}]")], of: ["central", "local"])
    #expect(both.rules.count == 1)
  }

  @Test func clustersOfOneRoleAreToldApart() throws {
    let rules = try rules(
      """
      roles: [{name: r, identities: ["spiffe://td/{cluster}"], allow: [{namespaces: ["{cluster}"]}]}]
      clusters: [{name: a, use: [r]}, {name: b, use: [r]}, {name: c, use: [r]}]
      """)
    let found = rules.ungranted(by: ["s": try grant("[{namespaces: [b]}]")], of: ["s"])
    #expect(found.rules.map(\.clusters) == [["a", "c"]])
    #expect(found.rules.map(\.extent) == [.all])
  }

  @Test(arguments: [
    "", "[", "allow", "{\"allow\": []}", "{\"allow\": [{\"colour\": [\"red\"]}]}", "{\"permit\": [{}]}",
    "{\"allow\": [{\"labels\": \"tier in (\"}]}",
  ])
  func wordsThatAreNotUnderstoodAreNoGrant(_ text: String) { #expect(Grant(parsing: text) == nil) }

  @Test func nothingGrantedIsAGrant() throws {
    let nothing = try #require(Grant(parsing: "{}"))
    let found = try policy("[{}]").ungranted(by: ["s": nothing], of: ["s"])
    #expect(found.rules.map(\.extent) == [.all])
    #expect(!nothing.mayGrant(TypeName(group: "a", kind: "B"), namespace: "n", name: "x"))
  }

  /// Every object over the words of the random policies, and some that no rule names.
  private static let universe: [PlainObject] = {
    var objects: [PlainObject] = []
    for type in RandomPolicy.types + ["z.io/Z"] {
      for namespace in RandomPolicy.namespaces + ["q"] {
        for name in RandomPolicy.names + ["q"] {
          for tier in [nil, "edge", "core", "q"] {
            for draft in [nil, "all"] {
              var labels: [String: String] = [:]
              labels["tier"] = tier
              labels["draft"] = draft
              objects.append(
                PlainObject(type: type, namespace: namespace, name: name, labels: labels, source: "central"))
            }
          }
        }
      }
    }
    return objects
  }()

  @Test(arguments: 0..<6)
  func agreesWithTryingEverything(_ seed: UInt64) throws {
    var random = RandomPolicy(generator: SeededGenerator(seed: seed))
    for _ in 0..<8 {
      let (above, below) = (random.policy().clusters[0], random.policy().clusters[0])
      let rulesAbove = try rules(Reference(clusters: [above], blocked: []).yaml)
      let told = try #require(Grant(parsing: Grant.text(of: rulesAbove.classes[0])), "seed \(seed)")
      let ours = Reference(clusters: [below], blocked: [])
      let found = try rules(ours.yaml).ungranted(by: ["central": told], of: ["central"])
      for (index, rule) in below.allow.enumerated() {
        // What this rule alone gives, and what of that the tier above grants.
        let own = UngrantedTests.universe.filter { object in
          Reference.rule(rule, object) && !below.deny.contains { Reference.rule($0, object) }
        }
        let (any, denies) = (above.allow.map(\.anywhere), above.deny.filter { $0["sources"] == nil })
        let granted = own.filter { object in
          any.contains { Reference.rule($0, object) } && !denies.contains { Reference.rule($0, object) }
        }
        let places = try rules(ours.yaml).clusters[0].allow.map(\.position)
        let extent = found.rules.first { $0.position == places[index] }?.extent
        let text =
          "seed \(seed): rule \(index), \(String(describing: extent)) of\n\(ours.yaml)\nabove\n\(rulesAbove)"
        // Trying sees less than there is: it proves only that something comes, and that something does not.
        if !granted.isEmpty { #expect(extent != .all, "\(text)") }
        if granted.count < own.count, !rule.anywhere.isEmpty {
          #expect(extent != nil || found.undecided > 0, "\(text)")
        }
      }
    }
  }
}

extension PlainRule {
  fileprivate var anywhere: PlainRule { filter { $0.key != "sources" } }
}
