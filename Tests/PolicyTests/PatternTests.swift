// Goal: globs, kinds and label selectors match exactly what DESIGN.md §6 and Kubernetes say.
// Method: tables; globs and selectors against slow, obvious matchers on seeded random input.

import Documents
import Policy
import Primitives
import Snapshots
import Testing

struct GlobTests {
  @Test(arguments: [
    ("foo", "foo", true), ("foo", "Foo", false), ("foo", "fo", false), ("foo", "fooo", false),
    ("*", "", true), ("*", "anything", true), ("*", "a/b", false), ("", "", true), ("", "a", false),
    ("shared-*", "shared-", true), ("shared-*", "shared-a", true), ("shared-*", "shared", false),
    ("shared-*", "shared-a/b", false), ("*-prod", "a-prod", true), ("*-prod", "-prod", true),
    ("*-prod", "prod", false), ("*-prod", "x/a-prod", false), ("a*c*e", "abcde", true),
    ("a*c*e", "ace", true),
    ("a*c*e", "acce", true), ("a*c*e", "aec", false), ("a*c*e", "ac/e", false), ("**", "ab", true),
    ("a.c", "abc", false), ("a?c", "abc", false), ("[ab]", "a", false), ("*/*", "a/b", true),
    ("*/*", "a/b/c", false), ("net*/V*", "networking.istio.io/VirtualService", true),
    ("a*", "\u{212A}a", false),
    ("K", "\u{212A}", false),
  ])
  func matching(_ pattern: String, _ subject: String, _ expected: Bool) {
    #expect(GlobPattern(pattern).matches(subject) == expected)
    #expect(GlobList([GlobPattern(pattern)]).matches(subject) == expected)
  }

  @Test(arguments: 0..<4)
  func agreesWithTheDefinition(_ seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    func text(_ alphabet: String) -> String {
      String(
        (0..<Int.random(in: 0...8, using: &generator)).map { _ in
          alphabet.randomElement(using: &generator) ?? "a"
        })
    }
    for _ in 0..<50_000 {
      let (pattern, subject) = (text("ab**/"), text("aabb/"))
      let expected = Reference.glob(Array(pattern.utf8)[...], Array(subject.utf8)[...])
      #expect(GlobPattern(pattern).matches(subject) == expected, "seed \(seed): \(pattern) on \(subject)")
    }
  }
}

struct TypePatternTests {
  @Test(arguments: [
    ("networking.istio.io/VirtualService", "networking.istio.io/VirtualService", true),
    ("networking.istio.io/*", "networking.istio.io/Gateway", true),
    ("networking.istio.io/*", "gateway.networking.k8s.io/Gateway", false),
    ("*/Gateway", "gateway.networking.k8s.io/Gateway", true), ("*.istio.io/*", "security.istio.io/X", true),
    ("*", "security.istio.io/PeerAuthentication", true), ("*", "core/MeshConfig", true),
    ("core/*", "core/MeshConfig", true), ("core/*", "networking.istio.io/Gateway", false),
  ])
  func matching(_ pattern: String, _ type: String, _ expected: Bool) throws {
    let type = try #require(TypeName(parsing: type))
    #expect(try TypePattern(parsing: pattern).matches(type) == expected)
  }

  @Test(arguments: [
    "", "VirtualService", "networking.istio.io/", "/MeshConfig", "networking.istio.io/v1/VirtualService",
    "networking.istio.io/v1", "v1/ConfigMap", "networking.istio.io/v1alpha3", "a/b/c/d",
    "networking.istio.io/*/Gateway",
  ])
  func refused(_ pattern: String) {
    #expect(throws: TypePatternFault.self) { try TypePattern(parsing: pattern) }
  }

  @Test func theFixForAVersionIsTheTypeWithoutIt() {
    let fault = #expect(throws: TypePatternFault.self) {
      try TypePattern(parsing: "networking.istio.io/v1beta1/Gateway")
    }
    #expect(fault?.howToFix == "write \"networking.istio.io/Gateway\"")
  }
}

struct LabelSelectorTests {
  private static let labels = [
    (key: "tier", value: "edge"), (key: "team.example.org/name", value: "a"), (key: "empty", value: ""),
  ]

  @Test(arguments: [
    ("tier", true), ("!tier", false), ("tier=edge", true), ("tier==edge", true), ("tier = edge", true),
    ("tier!=edge", false), ("tier!=core", true), ("missing!=x", true), ("missing=x", false),
    ("!missing", true),
    ("tier in (edge,all)", true), ("tier in ( all , edge )", true), ("tier in (all)", false),
    ("tier notin (all)", true), ("tier notin (edge)", false), ("missing notin (x)", true),
    ("missing in (x)", false),
    ("tier in (edge,all),!draft", true), ("tier=edge,tier!=edge", false), ("tier,empty", true),
    ("empty=", true),
    ("empty in (,x)", true), ("empty!=", false), ("tier=", false), ("team.example.org/name=a", true),
    ("team.example.org/name", true), ("name=a", false), ("! tier", false), ("  tier  ", true),
    ("tier=Edge", false),
    ("in", false), ("!in", true),
  ])
  func matching(_ selector: String, _ expected: Bool) throws {
    #expect(try LabelSelector(parsing: selector).matches(LabelSelectorTests.labels) == expected)
  }

  @Test(arguments: [
    ("", 0), (",", 0), ("a,", 2), ("a,,b", 2), ("=a", 0), ("a in", 4), ("a in ()", 7), ("a in (b", 7),
    ("a in b", 5),
    ("a notin", 7), ("a is b", 2), ("a > 1", 2), ("a=b c", 4), ("a=b=c", 3), ("-a", 0), ("a-", 0),
    ("a/b/c", 0),
    ("/a", 0), ("a/", 0), ("A_B/c", 0), ("a=b/c", 2), ("a=-", 2), ("é", 0), ("a=é", 2), ("a!b", 2), ("!", 1),
    ("a in (b c)", 8), ("a\t=b", 0), ("!a=b", 2),
  ])
  func refused(_ selector: String, _ offset: Int) {
    let fault = #expect(throws: LabelSelectorFault.self, "\(selector)") {
      try LabelSelector(parsing: selector)
    }
    #expect(fault?.offset == offset, "\(selector): \(fault?.what ?? "")")
  }

  @Test func lengthsAreThoseOfKubernetes() {
    let long = String(repeating: "a", count: 63)
    #expect(throws: Never.self) { try LabelSelector(parsing: "\(long)=\(long)") }
    #expect(throws: LabelSelectorFault.self) { try LabelSelector(parsing: long + "a") }
    #expect(throws: LabelSelectorFault.self) { try LabelSelector(parsing: "a=\(long)a") }
  }

  @Test func equalSelectorsHaveEqualText() throws {
    let first = try LabelSelector(parsing: "b notin (y,x),a==1,!c,a=1")
    let second = try LabelSelector(parsing: "a in (1), !c ,b notin(x,y,x)")
    #expect(first == second)
    #expect(first.description == "!c,a=1,b notin (x,y)")
  }

  @Test(arguments: 0..<4)
  func randomTextNeverTraps(_ seed: UInt64) {
    var generator = SeededGenerator(seed: seed)
    let words = ["a", "in", "notin", "(", ")", ",", "=", "!", " ", "/", ".", "-", "é", "\u{0}", "b"]
    for _ in 0..<20_000 {
      let text = (0..<Int.random(in: 0...12, using: &generator)).map { _ in
        words.randomElement(using: &generator) ?? ""
      }
      .joined()
      guard let selector = try? LabelSelector(parsing: text) else { continue }
      #expect((try? LabelSelector(parsing: selector.description)) == selector, "seed \(seed): \(text)")
    }
  }
}
