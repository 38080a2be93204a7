// What the tier above must grant so that this policy can grant all that it says: the other direction of "policy
// narrows downwards". Source: docs/policy.md, "Policy union".

public import Primitives

extension PolicyRules {
  /// Rules that together allow whatever some cluster is allowed here, without those that another one covers, and
  /// the denials that every cluster shares. Sources are left out: the tier above has others.
  public var union: (allow: [Rule], deny: [Rule]) {
    let allow = PolicyRules.widest(clusters.flatMap(\.allow).map(\.anywhere))
    // A denial that depends on where this relay has an object from means nothing above.
    let denials = clusters.map { cluster in
      Set(cluster.deny.filter { $0.sources == nil }.map(\.canonicalText))
    }
    let shared = denials.dropFirst().reduce(denials.first ?? []) { $0.intersection($1) }
    let deny = (clusters.first?.deny ?? []).filter { shared.contains($0.canonicalText) }
    return (allow, PolicyRules.widest(deny.map(\.anywhere)))
  }

  private static func widest(_ rules: [Rule]) -> [Rule] {
    var kept: [Rule] = []
    for rule in rules where !kept.contains(where: { $0.covers(rule) }) {
      kept.removeAll { rule.covers($0) }
      kept.append(rule)
    }
    return kept.sorted { $0.canonicalText < $1.canonicalText }
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
