// Goal: what a tier passes on of a grant is no less than what can come, and close to it; who is not shown a label is not
// asked to judge by it.
// Method: cases by hand, and seeded random policies and grants over few words, judged by trying every object there
// could be.

import Documents
import Policy
import Primitives
import SPIFFE
import Snapshots
import Testing

private func policy(_ rules: String) throws -> PolicyRules {
  let parsed = PolicyRules.parse(
    "clusters: [{name: a, identities: [\"spiffe://td/a\"], \(rules)}]", file: "policy.yaml")
  return try #require(parsed.rules, "\(parsed.problems)")
}

struct ReceivedGrantsTests {
  private func told(_ ours: String, _ above: [String: String], of sources: [String] = ["s"]) throws -> String
  {
    var received = ReceivedGrants()
    for (source, text) in above { _ = received.note(text, of: source) }
    return received.texts(for: try policy(ours), of: sources)[0]
  }

  @Test(arguments: [
    ("allow: [{}]", "{\"allow\":[{\"namespaces\":[\"foo\"]}]}", "{\"allow\":[{\"namespaces\":[\"foo\"]}]}"),
    ("allow: [{namespaces: [foo]}]", "{\"allow\":[{}]}", "{\"allow\":[{\"namespaces\":[\"foo\"]}]}"),
    ("allow: [{namespaces: [foo]}]", "{\"allow\":[{\"namespaces\":[\"bar\"]}]}", "{}"),
    ("allow: [{namespaces: [foo]}]", "{}", "{}"),
    (
      "allow: [{namespaces: [\"team-*\", x]}]", "{\"allow\":[{\"namespaces\":[\"team-a\",\"y\",\"te*\"]}]}",
      "{\"allow\":[{\"namespaces\":[\"team-*\",\"team-a\"]}]}"
    ),
    (
      "allow: [{namespaces: [foo], labels: \"a=b\"}]",
      "{\"allow\":[{\"namespaces\":[\"foo\"],\"labels\":\"!c\"}]}",
      "{\"allow\":[{\"namespaces\":[\"foo\"],\"labels\":\"!c,a=b\"}]}"
    ),
    // Denials of what we could not allow are nobody's business below.
    (
      "allow: [{namespaces: [foo]}]",
      "{\"allow\":[{}],\"deny\":[{\"namespaces\":[\"bar\",\"f*\"],\"names\":[\"x\"]},{\"namespaces\":[\"bar\"]}]}",
      "{\"allow\":[{\"namespaces\":[\"foo\"]}],\"deny\":[{\"namespaces\":[\"f*\"],\"names\":[\"x\"]}]}"
    ),
    ("allow: [{namespaces: [foo]}]", "what?", "{\"allow\":[{\"namespaces\":[\"foo\"]}]}"),
  ])
  func isNarrowedByWhatIsTold(_ ours: String, _ above: String, _ expected: String) throws {
    #expect(try told(ours, ["s": above]) == expected)
  }

  @Test func aSourceThatTellsNothingMaySendAnything() throws {
    let foo = "{\"allow\":[{\"namespaces\":[\"foo\"]}]}"
    #expect(try told("allow: [{}]", ["s": foo], of: ["s", "t"]) == "{\"allow\":[{}]}")
    #expect(
      try told("allow: [{sources: [s]}, {namespaces: [bar]}]", ["s": foo], of: ["s", "t"])
        == "{\"allow\":[{\"namespaces\":[\"foo\"]},{\"namespaces\":[\"bar\"]}]}")
    let both = [
      "s": foo, "t": "{\"allow\":[{\"namespaces\":[\"bar\"]}],\"deny\":[{\"namespaces\":[\"foo\"]}]}",
    ]
    #expect(
      try told("allow: [{}]", both, of: ["s", "t"])
        == "{\"allow\":[{\"namespaces\":[\"foo\"]},{\"namespaces\":[\"bar\"]}]}",
      "what one denies the other may send")
  }

  /// A policy that narrows waits for this, so it must stay short whatever the files say.
  @Test func whatIsTooMuchToCompareIsToldAsOurOwn() throws {
    func list(_ count: Int) -> String { (0..<count).map { "\"n\($0)\"" }.joined(separator: ",") }
    #expect(
      try told("allow: [{namespaces: [\(list(40))]}]", ["s": "{\"allow\":[{\"namespaces\":[\"n7\"]}]}"])
        == "{\"allow\":[{\"namespaces\":[\"n7\"]}]}")
    let many = "{\"allow\":[{\"namespaces\":[\(list(2000))]}]}"
    let own = try told("allow: [{namespaces: [\(list(1500)),x]}]", ["s": many])
    #expect(own.contains("\"x\""), "nothing is compared: our own rules are told as they are")
  }

  @Test func whoIsNotShownALabelIsNotAskedToJudgeByIt() throws {
    let rules = try policy(
      "allow: [{namespaces: [foo], labels: \"owner=x,tier\"}], deny: [{names: [y], labels: owner}, {names: [z]}], redact: {labels: [own*]}"
    )
    #expect(
      Grant.text(of: rules.classes[0])
        == "{\"allow\":[{\"namespaces\":[\"foo\"],\"labels\":\"tier\"}],\"deny\":[{\"names\":[\"z\"]}]}")
  }

  private static let words = ["foo", "bar", "f*", "*r", "*", "fo*"]
  private static let names = ["x", "y", "x*", "*"]

  private static func rule(_ random: inout SeededGenerator) -> String {
    func some(_ words: [String]) -> String {
      "["
        + (0..<Int.random(in: 1...2, using: &random)).map { _ in
          "\"\(words.randomElement(using: &random) ?? "*")\""
        }
        .joined(separator: ",") + "]"
    }
    var parts = ["\"namespaces\": " + some(words)]
    if Bool.random(using: &random) { parts.append("\"names\": " + some(names)) }
    if Bool.random(using: &random) {
      parts.append("\"labels\": \"\(["l", "!l", "l=1", "l!=1"].randomElement(using: &random) ?? "l")\"")
    }
    return "{" + parts.joined(separator: ", ") + "}"
  }

  private static func rules(_ random: inout SeededGenerator) -> String {
    let allow = (0..<Int.random(in: 1...3, using: &random)).map { _ in rule(&random) }.joined(separator: ", ")
    let deny = Int.random(in: 0..<2, using: &random) == 0 ? "" : ", deny: [\(rule(&random))]"
    return "allow: [\(allow)]" + deny
  }

  @Test(arguments: 0..<200 as Range<UInt64>) func isNeverLessThanWhatCanCome(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let above = try policy(Self.rules(&random))
    let here = try policy(Self.rules(&random))
    var received = ReceivedGrants()
    _ = received.note(Grant.text(of: above.classes[0]), of: "s")
    var below = ReceivedGrants()
    _ = below.note(received.texts(for: here, of: ["s"])[0], of: "s")
    var passes = 0
    for namespace in ["foo", "bar", "far", "for"] {
      for name in ["x", "y", "xy"] {
        for labels in [[], [(key: "l", value: "1")], [(key: "l", value: "2")]] {
          let facts = ResourceFacts(
            type: TypeName(group: "networking.istio.io", kind: "Gateway"), namespace: namespace, name: name,
            labels: labels, source: "s")
          let comes = above.isVisible(facts, class: 0)
          #expect(
            received.mayHave(facts) == comes, "seed \(seed): one tier is told exactly what it is granted")
          if comes, here.isVisible(facts, class: 0) {
            #expect(below.mayHave(facts), "seed \(seed): \(namespace)/\(name) \(labels)")
          } else if !below.mayHave(facts) {
            passes += 1
          }
        }
      }
    }
    #expect(passes > 0 || seed != 1, "seed \(seed): nothing is ever ruled out")
  }
}
