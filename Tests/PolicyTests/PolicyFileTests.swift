// Goal: every mistake in a policy file is reported at its place and makes the policy unusable.
// Method: golden problems for one mistake each; then merging of folders; then seeded damage.

import Documents
import Policy
import Primitives
import Testing

private func problems(_ text: String) -> [String] {
  let (rules, problems) = PolicyRules.parse(text, file: "p")
  let errors = problems.contains { $0.severity == .error }
  #expect((rules == nil) == errors, "rules and errors exclude each other")
  return Problem.sorted(problems).map(\.description)
}

/// A policy whose one cluster has this rule.
private func allowing(_ rule: String) -> String {
  "clusters:\n  - name: a\n    identities: [\"spiffe://td/a\"]\n    allow:\n      - {\(rule)}\n"
}

struct PolicyFileTests {
  @Test func theExampleOfTheContractIsSound() throws {
    let text = """
      clusters:
        - name: cluster-a
          identities: ["spiffe://example.org/cluster/a/istiod"]               # exact, or PATTERN/*
          allow:
            - namespaces: [foo, "shared-*"]
              types: ["networking.istio.io/*"]
              names: ["*"]
              labels: "tier in (edge,all),!draft"
              sources: [central]
          deny:
            - types: ["networking.istio.io/EnvoyFilter"]
      blocked: ["spiffe://example.org/cluster/stolen/*"]
      tests:
        - as: spiffe://example.org/cluster/a/istiod
          sees: ["networking.istio.io/VirtualService foo/reviews {tier=edge}"]
          hidden: ["networking.istio.io/VirtualService bar/*"]
      """
    #expect(problems(text) == [])
    #expect(try rules(text).expectationCount == 2)
    #expect(try rules(text).sourcesNamed == ["central"])
  }

  @Test(arguments: [
    ("namespaces: []", "p:5:22: clusters.allow.namespaces is an empty list, fill it or remove the key"),
    ("types: []", "p:5:17: clusters.allow.types is an empty list, fill it or remove the key"),
    ("names: []", "p:5:17: clusters.allow.names is an empty list, fill it or remove the key"),
    ("sources: []", "p:5:19: clusters.allow.sources is an empty list, fill it or remove the key"),
    (
      "types: [\"networking.istio.io/v1/Gateway\"]",
      "p:5:18: the type \"networking.istio.io/v1/Gateway\" has a version or one slash too many, write \"networking.istio.io/Gateway\""
    ),
    (
      "types: [\"v1/ConfigMap\"]",
      "p:5:18: the type \"v1/ConfigMap\" has a version, write group/Kind, which stands for all versions, and the core group as core"
    ),
    (
      "types: [Gateway]",
      "p:5:18: the type \"Gateway\" is not group/Kind, write it like \"networking.istio.io/VirtualService\""
    ),
    ("types: [/Gateway]", "p:5:18: the type \"/Gateway\" has no group, write the core group as core/Gateway"),
    (
      "labels: \"a=b\"",
      "p:5:9: a rule that allows by labels must also say namespaces, labels are the tenants' own words, add namespaces"
    ),
    (
      "namespaces: [a], labels: \"a = = b\"",
      "p:5:35: the label selector \"a = = b\" is wrong at character 5, expected , between requirements, write it like \"tier in (edge,all),!draft\""
    ),
    ("namespaces: [a], labels: \"\"", "p:5:35: clusters.allow.labels is empty"),
    (
      "namespaces: [a/b]",
      "p:5:23: \"a/b\" in namespaces has a slash, no object has one there, write namespaces and names apart"
    ),
    ("namespace: [a]", "p:5:10: unknown key \"namespace\" in clusters.allow, did you mean \"namespaces\"?"),
    (
      "namespaces: a",
      "p:5:22: clusters.allow.namespaces must be a list, not a single value, put it in [brackets]"
    ),
    (
      "redact: [a]",
      "p:5:10: unknown key \"redact\" in clusters.allow, the keys here are labels names namespaces sources types"
    ),
    ("names: [[a]]", "p:5:18: an item of clusters.allow.names must be a single value, not a list"),
    ("names: [\"\"]", "p:5:18: an item of clusters.allow.names is empty"),
    (
      "types: [\"networking.istio.io/VirtualServices\"]",
      "p:5:18: warning: \"networking.istio.io/VirtualServices\" is no kind that is known here, did you mean \"networking.istio.io/VirtualService\"?"
    ),
    (
      "namespaces: [Foo]",
      "p:5:23: warning: \"Foo\" in namespaces matches nothing, names have only a-z, 0-9, - and . in them, only * and {cluster} are special in a pattern"
    ),
  ])
  func rule(_ rule: String, _ expected: String) {
    #expect(problems(allowing(rule)).first == expected)
  }

  @Test(arguments: [
    ("", "p:1:1: the file is empty"),
    ("[]", "p:1:1: the document must be a mapping, not a list"),
    ("clusters: []", "p:1:11: clusters is an empty list, fill it or remove the key"),
    ("cluster: []", "p:1:1: unknown key \"cluster\", did you mean \"clusters\"?"),
    ("clusters: [~]", "p:1:12: an item of clusters must be a mapping, not nothing"),
    ("roles: {}", "p:1:8: roles must be a list, not a mapping"),
    ("shadow: true", "p:1:1: unknown key \"shadow\", the keys here are blocked clusters roles tests"),
    (
      "clusters: [{name: a, identities: [\"spiffe://td/a\"], redact: {}}]",
      "p:1:61: this redact takes nothing away, add labels or annotations"
    ),
    (
      "clusters: [{name: a, identities: [\"spiffe://td/a\"], redact: {labels: [\"a/b/c\"]}}]",
      "p:1:71: \"a/b/c\" in clusters.redact.labels matches nothing, keys are like example.org/name, of a-z, A-Z, 0-9, -, _ and . with at most one slash, only * is special in it, and it stands for anything but a slash"
    ),
    ("clusters: [{identities: [\"spiffe://td/a\"]}]", "p:1:12: the key \"name\" is missing in clusters"),
    (
      "clusters: [{name: a}]",
      "p:1:12: the key \"identities\" is missing in clusters, nobody would be this cluster, add identities, or use a role that has them"
    ),
    (
      "clusters: [{name: a, identities: []}]",
      "p:1:34: clusters.identities is an empty list, fill it or remove the key"
    ),
    (
      "clusters: [{name: a, identities: [\"spiffe://td/a\"], allow: []}]",
      "p:1:60: clusters.allow is an empty list, fill it or remove the key"
    ),
    (
      "clusters: [{name: a, identities: [\"spiffe://td\"]}]",
      "p:1:35: \"spiffe://td\" is no SPIFFE ID or pattern, The pattern spiffe://td names a trust domain, which no workload has as its ID, Write spiffe://td/* for all of its workloads"
    ),
    (
      "clusters: [{name: a, identities: [\"spiffe://td/*/b\"]}]",
      "p:1:35: \"spiffe://td/*/b\" is no SPIFFE ID or pattern, There is a * at offset 12, Write an exact ID, or end the pattern with /*"
    ),
    (
      "blocked: [x]",
      "p:1:11: \"x\" is no SPIFFE ID or pattern, The text does not begin with spiffe://, Write it as spiffe://trust-domain/path"
    ),
    (
      "clusters: [{name: a, identities: [\"spiffe://td/a\"]}, {name: a, identities: [\"spiffe://td/b\"]}]",
      "p:1:61: the cluster \"a\" is defined twice, it stands at p:1:19 already, give one of them another name"
    ),
    (
      "clusters: [{name: a, identities: [\"spiffe://td/a\"]}, {name: b, identities: [\"spiffe://td/a\"]}]",
      "p:1:77: the identity spiffe://td/a of \"b\" overlaps spiffe://td/a of \"a\", an identity belongs to one cluster, remove or narrow one of them"
    ),
    (
      "clusters: [{name: a, identities: [\"spiffe://td/a/b\"]}, {name: b, identities: [\"spiffe://td/*\"]}]",
      "p:1:35: the identity spiffe://td/a/b of \"a\" overlaps spiffe://td/* of \"b\", an identity belongs to one cluster, remove or narrow one of them"
    ),
    (
      "clusters: [{name: a, identities: [\"spiffe://td/a/*\"]}, {name: b, identities: [\"spiffe://td/a/b/*\"]}]",
      "p:1:79: the identity spiffe://td/a/b/* of \"b\" overlaps spiffe://td/a/* of \"a\", an identity belongs to one cluster, remove or narrow one of them"
    ),
    ("tests: [{as: \"spiffe://td/a\"}]", "p:1:9: this test expects nothing, add sees or hidden"),
    ("tests: [{hidden: [\"*/b c\"]}]", "p:1:9: the key \"as\" is missing in tests"),
    (
      "tests: [{as: \"spiffe://td/*\", hidden: [\"*/b c\"]}]",
      "p:1:14: \"spiffe://td/*\" is no SPIFFE ID, '*' at offset 12 is not allowed in the path, Use only A-Z, a-z, 0-9, '.', '-' and '_' between slashes"
    ),
  ])
  func file(_ text: String, _ expected: String) {
    #expect(problems(text) == [expected])
  }

  @Test func allProblemsComeAtOnce() {
    let text = """
      clusters:
        - name: a
          identities: ["spiffe://td/A a", "spiffe://td/b"]
          allow: [{types: [x]}, {labels: "a"}]
        - identities: ["spiffe://td/b"]
      blockd: []
      tests: [{as: x, sees: [y]}]
      """
    #expect(problems(text).count == 7)
  }

  @Test func aProblemHidesNoOtherAndIsToldOnce() {
    let text = """
      clusters:
        - name: a
          identities: [x]
        - name: a
          identities: ["spiffe://td/a"]
          allow: [{ namespaces: [n], labels: "" }]
        - { name: b, use: r }
      """
    let found = problems(text)
    #expect(found.contains { $0.hasPrefix("p:4:11: the cluster \"a\" is defined twice") })
    #expect(found.count { $0.contains("labels") } == 1)
    #expect(
      found.filter { $0.hasPrefix("p:7:") }.count == 1, "no identities are missed where roles are misspelt")
    #expect(found.count == 4)
  }

  @Test func anOwnPatternWithinAnOwnPatternIsNoOverlap() throws {
    _ = try rules(
      "clusters: [{name: a, identities: [\"spiffe://td/a\", \"spiffe://td/*\", \"spiffe://td/a\"]}]")
  }

  // MARK: Folders

  @Test func filesOfAFolderAreMerged() throws {
    let folder = try TemporaryFolder()
    try folder.write("b.yaml", "clusters: [{name: b, identities: [\"spiffe://td/b\"], allow: [{}]}]")
    try folder.write(
      "a.yml", "clusters: [{name: a, identities: [\"spiffe://td/a\"]}]\nblocked: [\"spiffe://td/x\"]")
    try folder.write(
      "c.json", "{\"tests\": [{\"as\": \"spiffe://td/b\", \"sees\": [\"core/MeshConfig x\"]}]}")
    try folder.write("notes.txt", "not a policy: [")
    try folder.write(".hidden.yaml", "not a policy: [")
    let (rules, problems, _) = PolicyRules.load(path: folder.path)
    #expect(problems == [])
    #expect(rules?.clusters.map(\.name) == ["a", "b"])
    #expect(rules?.blocked.count == 1)
    #expect(rules?.expectationCount == 1)
  }

  @Test func aNameInTwoFilesIsAnError() throws {
    let folder = try TemporaryFolder()
    try folder.write("1.yaml", "clusters: [{name: a, identities: [\"spiffe://td/a\"]}]")
    try folder.write("2.yaml", "clusters: [{name: a, identities: [\"spiffe://td/a\"]}]")
    let (rules, problems, _) = PolicyRules.load(path: folder.path)
    #expect(rules == nil)
    #expect(problems.map(\.position.file) == ["\(folder.path)/2.yaml"], "one slip is told once")
    // Or one file twice: that, and not everything in it.
    let file = "\(folder.path)/1.yaml"
    let twice = PolicyRules.load(files: [file, file, file])
    #expect(twice.problems.map(\.description) == ["\(file):1:1: the file is given twice, name it once"])
    #expect(twice.rules == nil && PolicyRules.load(files: [file]).rules != nil)
  }

  @Test func anEmptyFolderAndAMissingFileAreErrors() throws {
    let folder = try TemporaryFolder()
    #expect(PolicyRules.load(path: folder.path).rules == nil)
    #expect(PolicyRules.load(path: folder.path).problems.count == 1)
    #expect(PolicyRules.load(path: folder.path + "/none.yaml").rules == nil)
  }

  // MARK: Damage

  @Test(arguments: 0..<8)
  func damagedFilesNeverTrapAndNeverGainRules(_ seed: UInt64) {
    var random = RandomPolicy(generator: SeededGenerator(seed: seed))
    let noise = Array("*{}[],:&!'\"\n -#a/\u{0}".utf8)
    for _ in 0..<300 {
      var bytes = Array(random.policy().yaml.utf8)
      for _ in 0..<Int.random(in: 1...4, using: &random.generator) {
        let place = Int.random(in: 0..<bytes.count, using: &random.generator)
        switch Int.random(in: 0..<3, using: &random.generator) {
        case 0: bytes[place] = random.pick(noise)
        case 1: bytes.insert(random.pick(noise), at: place)
        default:
          bytes.removeSubrange(
            place..<min(bytes.count, place + Int.random(in: 1...9, using: &random.generator)))
        }
        if bytes.isEmpty { bytes = [0x20] }
      }
      let (rules, problems) = PolicyRules.parse(bytes, file: "p")
      #expect((rules == nil) == problems.contains { $0.severity == .error }, "seed \(seed): \(bytes)")
    }
  }
}
