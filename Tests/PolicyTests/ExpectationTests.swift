// Goal: `tests` of a policy file are judged on the rules alone, exactly: `sees` when some source could show the
// object, `hidden` when no object that matches could be visible.
// Method: tables; then the search against brute force over all objects of a small world.

import Documents
import Policy
import Primitives
import SPIFFE
import Testing

private func failures(_ rules: String, _ expectation: String) -> [String] {
  let text =
    "clusters:\n  - name: a\n    identities: [\"spiffe://td/a\"]\n\(rules)tests:\n  - {as: \"spiffe://td/a\", \(expectation)}\n"
  let problems = PolicyRules.parse(text, file: "p").problems.filter { $0.severity == .error }
  return problems.map { problem in
    [problem.what, problem.why].joined(separator: ", ")
  }
}

private let edge =
  "    allow:\n      - {namespaces: [foo, \"shared-*\"], types: [\"n.io/*\"], labels: \"tier in (edge,all),!draft\"}\n    deny:\n      - {types: [\"n.io/EF\"]}\n"

struct ExpectationTests {
  @Test(arguments: [
    "sees: [\"n.io/VS foo/x {tier=edge}\"]", "sees: [\"n.io/VS shared-/x {tier=all, a=b}\"]",
    "hidden: [\"n.io/VS bar/*\"]", "hidden: [\"n.io/EF */*\"]", "hidden: [\"s.io/* foo/*\"]",
    "hidden: [\"* foo/* {draft=1}\"]", "hidden: [\"n.io/VS foo/* {tier=core}\"]",
    "hidden: [\"n.io/VS shared/*\"]",
    "hidden: [\"n.io/VS x\"]", "hidden: [\"n.io/VS /x\"]", "hidden: [\"n.io/VS *-b/*\", \"n.io/VS foo-*/*\"]",
  ])
  func hold(_ expectation: String) {
    // `*-b` meets `shared-*` at `shared-b`: the one expectation of the table that has two sides.
    let expected = expectation.contains("*-b") ? 1 : 0
    #expect(failures(edge, expectation).count == expected, "\(failures(edge, expectation))")
  }

  @Test(arguments: [
    (
      "sees: [\"n.io/VS foo/x\"]",
      "test failed: spiffe://td/a does not see n.io/VS foo/x, no rule of a allows it"
    ),
    (
      "sees: [\"n.io/VS foo/x {tier=edge,draft=1}\"]",
      "test failed: spiffe://td/a does not see n.io/VS foo/x {tier=edge,draft=1}, no rule of a allows it"
    ),
    (
      "sees: [\"n.io/EF foo/x {tier=edge}\"]",
      "test failed: spiffe://td/a does not see n.io/EF foo/x {tier=edge}, the rule at p:7:9 denies it to a"
    ),
    (
      "hidden: [\"n.io/VS foo/x\"]",
      "test failed: spiffe://td/a can see n.io/VS foo/x, a is allowed n.io/VS foo/x {tier=all} by the rule at p:5:9"
    ),
    (
      "hidden: [\"* foo/*\"]",
      "test failed: spiffe://td/a can see * foo/*, a is allowed n.io/ foo/x {tier=all} by the rule at p:5:9"
    ),
    (
      "hidden: [\"n.io/* sh*/y\"]",
      "test failed: spiffe://td/a can see n.io/* sh*/y, a is allowed n.io/ shared-/y {tier=all} by the rule at p:5:9"
    ),
    ("sees: [\"n.io/* foo/x\"]", "\"n.io/* foo/x\" has a star, but sees names single objects, "),
    ("sees: [\"n.io/VS\"]", "\"n.io/VS\" is not TYPE NAMESPACE/NAME, "),
    ("sees: [\"n.io/VS a/b/c\"]", "\"a/b/c\" is not NAMESPACE/NAME, "),
    ("sees: [\"n.io/v1/VS a/b\"]", "the type \"n.io/v1/VS\" has a version or one slash too many, "),
    ("sees: [\"n.io/VS a/b tier=edge\"]", "\"tier=edge\" is not {label=value,…}, "),
    ("sees: [\"n.io/VS a/b {tier}\"]", "\"tier\" is not label=value, or its label stands twice, "),
    ("sees: [\"n.io/VS a/b {t=1,t=2}\"]", "\"t=2\" is not label=value, or its label stands twice, "),
  ])
  func fail(_ expectation: String, _ expected: String) {
    #expect(failures(edge, expectation) == [expected])
  }

  @Test func identitiesWithoutAClusterSeeNothing() {
    let text =
      "blocked: [\"spiffe://td/b\"]\ntests:\n"
      + "  - {as: \"spiffe://td/a\", sees: [\"n.io/VS a/b\"], hidden: [\"* */*\"]}\n"
      + "  - {as: \"spiffe://td/b\", sees: [\"n.io/VS a/b\"], hidden: [\"* */*\"]}\n"
    let (rules, problems) = PolicyRules.parse(text, file: "p")
    #expect(rules == nil)
    let errors = problems.filter { $0.severity == .error }
    #expect(errors.map(\.why) == ["no cluster has this identity", "it is blocked"])
  }

  @Test func whatNoObjectIsLikeIsWarnedOf() throws {
    let text =
      "clusters: [{name: a, identities: [\"spiffe://td/a\"], allow: [{namespaces: [foo]}]}]\n"
      + "tests:\n  - as: spiffe://td/a\n    sees: [networking.istio.io/VirtualServic foo/x]\n"
      + "    hidden: [\"* Bank/*\", \"networking.istio.io/* bank/a_b\", \"networking.istio.io/Gateway bank/x\"]\n"
    let (rules, problems) = PolicyRules.parse(text, file: "p")
    #expect(rules?.expectationCount == 4, "a kind may come that is not known yet")
    #expect(
      problems.map(\.description) == [
        "p:4:12: warning: \"networking.istio.io/VirtualServic\" is no kind that is known here, "
          + "did you mean \"networking.istio.io/VirtualService\"?",
        "p:5:14: warning: \"Bank\" in this test matches nothing, names have only a-z, 0-9, - and . in them",
        "p:5:26: warning: \"a_b\" in this test matches nothing, names have only a-z, 0-9, - and . in them",
      ])
  }

  @Test func examplesAreOfKindsThatPeopleKnow() {
    let rules =
      "    allow:\n      - {types: [\"networking.istio.io/*\"]}\n    deny:\n      - {types: [networking.istio.io/DestinationRule]}\n"
    let found = failures(rules, "hidden: [\"* */*\"]")
    #expect(
      found.count == 1
        && found[0].contains(
          #/is allowed networking\.istio\.io/[A-Z][A-Za-z]+ x/x by the rule at p:5:9/#),
      "\(found)")
    #expect(found.first?.contains("DestinationRule") == false)
  }

  @Test func denialsThatTogetherCoverEverythingHideEverything() {
    let rules =
      "    allow:\n      - {}\n    deny:\n      - {labels: \"t\"}\n      - {labels: \"!t\", sources: [s]}\n"
    #expect(failures(rules, "hidden: [\"* */*\"]").count == 1, "another source is not denied")
    let all = "    allow:\n      - {}\n    deny:\n      - {labels: \"t\"}\n      - {labels: \"!t\"}\n"
    #expect(failures(all, "hidden: [\"* */*\"]") == [])
    let halves =
      "    allow:\n      - {namespaces: [\"a*\"]}\n    deny:\n      - {namespaces: [\"ab*\"]}\n      - {namespaces: [\"*\"], names: [\"x*\"]}\n"
    #expect(failures(halves, "hidden: [\"* ab*/*\", \"* */x*\"]") == [])
    #expect(failures(halves, "hidden: [\"* a*/*\"]").count == 1)
  }

  @Test func tooManyPatternsAreNotTakenForProof() {
    let globs = (0..<40).map { "\"*\(String(UnicodeScalar(UInt8(97 + $0 % 26))))*\($0)*\"" }.joined(
      separator: ", ")
    let rules = "    allow:\n      - {}\n    deny:\n      - {names: [\(globs)]}\n"
    let found = failures(rules, "hidden: [\"* foo/*\"]")
    #expect(found.count == 1)
  }

  /// Whatever is hidden is visible for no object of the world; whatever is visible comes with an example
  /// that the rules do show.
  @Test(arguments: 0..<4)
  func agreesWithBruteForce(_ seed: UInt64) throws {
    var random = RandomPolicy(generator: SeededGenerator(seed: seed))
    var (proven, refuted) = (0, 0)
    for _ in 0..<150 {
      let policy = random.policy()
      let id = random.pick(RandomPolicy.ids)
      let query = random.pick([
        "* */*", "n.io/* foo/*", "*/VS shared-*/a*", "n.io/DR *a*/*b*", "core/MC *",
        "n.io/VS foo/a {tier=edge}",
      ])
      let yaml = policy.yaml + "tests: [{as: \"\(id)\", hidden: [\"\(query)\"]}]\n"
      let isProven = PolicyRules.parse(yaml, file: "p").rules != nil
      let seen = (0..<400).map { _ in random.object() }.filter {
        matches(query, $0) && policy.isVisible($0, to: id)
      }
      proven += isProven ? 1 : 0
      refuted += isProven || seen.isEmpty ? 0 : 1
      if isProven { #expect(seen.count == 0, "seed \(seed): \(seen.first.map { "\($0)" } ?? "")\n\(yaml)") }
    }
    #expect(proven > 20 && refuted > 20, "seed \(seed): both answers must occur often")
  }

  private func matches(_ query: String, _ object: PlainObject) -> Bool {
    let parts = query.split(separator: " ").map(String.init)
    let path = parts[1].split(separator: "/").map(String.init)
    let namespace = path.count == 2 ? path[0] : ""
    let label = parts.count < 3 || object.labels["tier"] == "edge"
    return (parts[0] == "*" || Reference.glob(parts[0], object.type))
      && Reference.glob(namespace, object.namespace)
      && Reference.glob(path.last ?? "", object.name) && label
  }
}
