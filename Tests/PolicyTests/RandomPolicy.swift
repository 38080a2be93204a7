// Random policies and objects over few words, so that rules often meet objects; and the YAML of a policy.

import Policy
import Primitives
import Snapshots

struct RandomPolicy {
  var generator: SeededGenerator

  static let types = ["n.io/VS", "n.io/DR", "s.io/VS", "core/MC"]
  static let namespaces = ["", "foo", "bar", "shared-a", "shared-b"]
  static let names = ["a", "ab", "b.c", "reviews"]
  static let keys = ["tier", "draft", "x/team"]
  static let values = ["edge", "core", "all"]
  static let sources = ["central", "local"]
  static let ids = [
    "spiffe://td/a", "spiffe://td/a/b", "spiffe://td/a/b/c", "spiffe://td/b", "spiffe://te/a",
    "spiffe://td/ab",
  ]

  mutating func policy() -> Reference {
    let patterns = [
      ["spiffe://td/a"], ["spiffe://td/a/*"], ["spiffe://td/b", "spiffe://td/ab"], ["spiffe://te/*"],
    ].shuffled(using: &generator)
    let clusters = (0..<Int.random(in: 1...4, using: &generator)).map { index in
      PlainCluster(
        name: "c\(index)", identities: patterns[index], allow: rules(isAllow: true),
        deny: rules(isAllow: false), redact: chance(2) ? redaction() : [:])
    }
    let blocked = ["spiffe://td/a/b", "spiffe://td/b/*", "spiffe://te/*", "spiffe://td/zz"].filter { _ in
      chance(4)
    }
    return Reference(clusters: clusters, blocked: blocked)
  }

  mutating func object() -> PlainObject {
    var labels: [String: String] = [:]
    for key in RandomPolicy.keys where chance(2) { labels[key] = pick(RandomPolicy.values + [""]) }
    return PlainObject(
      type: pick(RandomPolicy.types), namespace: pick(RandomPolicy.namespaces),
      name: pick(RandomPolicy.names),
      labels: labels, source: pick(RandomPolicy.sources + ["other"]),
      annotations: Dictionary(
        uniqueKeysWithValues: RandomPolicy.annotations.filter { _ in chance(2) }.map { ($0, "1") }))
  }

  static let annotations = ["cost", "x/cost", "x/owner", "y/owner"]

  private mutating func redaction() -> PlainRule {
    var redact: PlainRule = [:]
    if chance(2) { redact["labels"] = some(RandomPolicy.keys + ["*", "x/*", "*/*", "d*"]) }
    if redact.isEmpty || chance(2) {
      redact["annotations"] = some(RandomPolicy.annotations + ["*", "x/*", "*/o*"])
    }
    return redact
  }

  private mutating func rules(isAllow: Bool) -> [PlainRule] {
    (0..<Int.random(in: 0...3, using: &generator)).map { _ in
      var rule: PlainRule = [:]
      if chance(2) { rule["types"] = some(RandomPolicy.types + ["*", "n.io/*", "*/VS", "*.io/D*"]) }
      if chance(2) { rule["namespaces"] = some(RandomPolicy.namespaces + ["shared-*", "*", "*o*", "*a*"]) }
      if chance(3) { rule["names"] = some(RandomPolicy.names + ["a*", "*b*", "*.c", "*"]) }
      if chance(3) { rule["sources"] = some(RandomPolicy.sources) }
      if chance(3), !isAllow || rule["namespaces"] != nil { rule["labels"] = requirements() }
      return rule
    }
  }

  private mutating func requirements() -> [String] {
    (0..<Int.random(in: 1...2, using: &generator)).map { _ in
      let (key, value) = (pick(RandomPolicy.keys), pick(RandomPolicy.values))
      return pick([
        key, "!" + key, "\(key)=\(value)", "\(key)!=\(value)", "\(key) in (\(value),all)",
        "\(key) notin (\(value),core)",
      ])
    }
  }

  mutating func pick<Item>(_ items: [Item]) -> Item {
    items[Int.random(in: 0..<items.count, using: &generator)]
  }
  mutating func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &generator) == 0 }

  private mutating func some(_ items: [String]) -> [String] {
    (0..<Int.random(in: 1...2, using: &generator)).map { _ in pick(items) }
  }
}

extension Reference {
  /// The file that says the same.
  var yaml: String {
    func list(_ items: [String]) -> String { "[" + items.map { "\"\($0)\"" }.joined(separator: ", ") + "]" }
    func rules(_ key: String, _ rules: [PlainRule]) -> String {
      guard !rules.isEmpty else { return "" }
      let items = rules.map { rule in
        let fields = rule.sorted { $0.key < $1.key }.map { key, items in
          key == "labels" ? "labels: \"\(items.joined(separator: ","))\"" : "\(key): \(list(items))"
        }
        return "      - {\(fields.joined(separator: ", "))}\n"
      }
      return "    \(key):\n" + items.joined()
    }
    let clusters = clusters.map {
      "  - name: \($0.name)\n    identities: \(list($0.identities))\n" + rules("allow", $0.allow)
        + rules("deny", $0.deny)
        + ($0.redact.isEmpty
          ? "" : "    redact: {" + $0.redact.map { "\($0): \(list($1))" }.joined(separator: ", ") + "}\n")
    }
    return "clusters:\n" + clusters.joined() + (blocked.isEmpty ? "" : "blocked: \(list(blocked))\n")
  }
}

extension PlainObject {
  /// The labels and annotations that a class would be served.
  func redacted(_ redaction: Redaction?) -> PlainObject {
    var object = self
    object.labels = labels.filter { redaction?.hides(label: $0.key) != true }
    object.annotations = annotations.filter { redaction?.hides(annotation: $0.key) != true }
    return object
  }

  var facts: ResourceFacts {
    let parts = type.split(separator: "/").map(String.init)
    return ResourceFacts(
      type: TypeName(group: parts[0], kind: parts[1]), namespace: namespace, name: name,
      labels: labels.map { (key: $0.key, value: $0.value) }.sorted { $0.key < $1.key }, source: source)
  }
}
