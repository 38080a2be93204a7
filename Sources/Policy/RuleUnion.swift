// What the tier above must grant so that this policy can grant all that it says: the other direction of "policy
// narrows downwards". Source: docs/policy.md, "Policy union".

public import Primitives

extension PolicyRules {
  /// Rules that together allow whatever some cluster is allowed here, without those that another one covers, and
  /// the denials that every cluster shares. Sources are left out: the tier above has others.
  public var union: (allow: [Rule], deny: [Rule]) {
    let allow = PolicyRules.widest(clusters.flatMap(\.allow).map(\.anywhere))
    // A denial that depends on where this relay has an object from means nothing above.
    // Who is allowed nothing shares every denial.
    let served = clusters.filter { !$0.allow.isEmpty }
    let denials = served.map { cluster in
      Set(cluster.deny.filter { $0.sources == nil }.map(\.canonicalText))
    }
    let shared = denials.dropFirst().reduce(denials.first ?? []) { $0.intersection($1) }
    let deny = (served.first?.deny ?? []).filter { shared.contains($0.canonicalText) }
    return (allow, PolicyRules.widest(deny.map(\.anywhere)))
  }

  /// Without those that another one covers; of two that say the same, the first.
  static func widest(_ rules: [Rule]) -> [Rule] {
    var known: Set<String> = []
    let distinct = rules.filter { known.insert($0.canonicalText).inserted }
    let shelf = RuleShelf(distinct)
    let kept = distinct.indices.filter { index in
      !shelf.mayCover(distinct[index]).contains { other in
        other != index && distinct[other].covers(distinct[index])
          && (other < index || !distinct[index].covers(distinct[other]))
      }
    }
    return kept.map { distinct[$0] }.sorted { $0.canonicalText < $1.canonicalText }
  }
}

/// Rules by the words of their namespaces: with tenants by the thousand, few rules can cover a given one.
private struct RuleShelf {
  /// Places of rules that speak of every namespace.
  private var everywhere: [Int] = []
  /// By each pattern that is written in them.
  private var byPattern: [String: [Int]] = [:]
  /// By what stands before the star, of patterns that have one.
  private var byBeginning: [Substring: [Int]] = [:]

  init(_ rules: [Rule]) {
    for (index, rule) in rules.enumerated() {
      guard let patterns = rule.namespaces?.patterns else {
        everywhere.append(index)
        continue
      }
      for pattern in patterns {
        byPattern[pattern.text, default: []].append(index)
        if !pattern.isExact { byBeginning[pattern.text.prefix { $0 != "*" }, default: []].append(index) }
      }
    }
  }

  /// Places of all rules that could cover one, and some that do not. One pattern of it is enough to find them: a
  /// pattern with a star is covered by itself alone, another one by itself or by one that begins like it.
  func mayCover(_ rule: Rule) -> [Int] {
    guard let patterns = rule.namespaces?.patterns, let first = patterns.first else { return everywhere }
    if let open = patterns.first(where: { !$0.isExact }) { return everywhere + (byPattern[open.text] ?? []) }
    let text = first.text
    let beginnings = text.indices.map { text[..<$0] } + [text[...]]
    return everywhere + (byPattern[text] ?? []) + beginnings.flatMap { byBeginning[$0] ?? [] }
  }
}

extension Rule {
  /// The same rule, wherever an object is from.
  var anywhere: Rule {
    Rule(position: position, namespaces: namespaces, types: types, names: names, labels: labels, sources: nil)
  }

  /// As its file writes it, in JSON; sources are left out, for they mean nothing to another tier.
  public func write(to writer: inout JSONWriter) {
    writer.object { object in
      for (key, list) in [("namespaces", namespaces), ("types", types), ("names", names)] {
        if let list { object.field(key, strings: list.patterns.map(\.text)) }
      }
      if let labels { object.field("labels", labels.description) }
    }
  }

  /// Whether everything that `other` matches is matched by this rule, as far as the words tell.
  func covers(_ other: Rule) -> Bool {
    Rule.covers(namespaces, other.namespaces) && Rule.covers(types, other.types)
      && Rule.covers(names, other.names) && (labels == nil || labels == other.labels)
  }

  private static func covers(_ wide: GlobList?, _ narrow: GlobList?) -> Bool {
    guard let wide else { return true }
    guard let narrow else { return false }
    return narrow.patterns.allSatisfy { pattern in
      wide.patterns.contains(pattern) || (pattern.isExact && wide.matches(pattern.text))
    }
  }
}
