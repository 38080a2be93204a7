// What the tiers above say they grant us, and what of that passes on: kept objects are judged by it, and the tiers below
// are told no more than can come, so that the end of a grant is heard in every tier, also where nothing is left that
// could be withdrawn. docs/decisions/103-kept-views-know-the-grant.md
//
// Whatever is worked out from words alone is never less than what is granted.

public struct ReceivedGrants: Sendable {
  /// As they were told, by source.
  public private(set) var texts: [String: String] = [:]
  /// Those of them that are understood.
  private var grants: [String: Grant] = [:]

  /// Pairs of patterns that are put beside each other at most. Reason: a tenth of a second, before a policy that
  /// narrows can take effect; beyond it the tiers below are told our own rules alone.
  private static let comparisonsMost = 2_000_000

  public init() {}

  /// Takes over what a source says; nil: it does not say. False when that is not new.
  public mutating func note(_ text: String?, of source: String) -> Bool {
    guard texts[source] != text else { return false }
    texts[source] = text
    grants[source] = text.flatMap { Grant(parsing: $0) }
    return true
  }

  /// Forgets what other sources said.
  public mutating func keepOnly(_ sources: [String]) {
    texts = texts.filter { sources.contains($0.key) }
    grants = grants.filter { sources.contains($0.key) }
  }

  /// No source says anything that is understood.
  public var isUnlimited: Bool { grants.isEmpty }

  /// False only for what its source says, in other words, that we may not have.
  public func mayHave(_ facts: ResourceFacts) -> Bool { grants[facts.source]?.covers(facts) ?? true }

  /// What the clusters of each class are told that they are granted. `sources`: all there are.
  public func texts(for rules: PolicyRules, of sources: [String]) -> [String] {
    let told = sources.compactMap { grants[$0] }.reduce(0) { $0 + $1.patternCount }
    let own = rules.classes.reduce(0) { $0 + $1.allow.reduce(0) { $0 + $1.patternCount } }
    guard !grants.isEmpty, own <= ReceivedGrants.comparisonsMost / max(told, 1) else {
      return rules.classes.map { Grant.text(of: $0) }
    }
    return rules.classes.map { text(for: $0, sources) }
  }

  private func text(for policy: PolicyClass, _ sources: [String]) -> String {
    var deny = policy.deny.filter { $0.sources == nil }
    // What one source may not send, another may.
    if sources.count == 1, let only = grants[sources[0]] {
      deny += only.deny.flatMap { denial in policy.allow.compactMap { denial.part(meeting: $0) } }
    }
    return Grant.text(
      allow: policy.allow.flatMap { passed($0, sources) }, deny: deny, policy.redaction)
  }

  /// What of a rule's objects can come from some source.
  private func passed(_ rule: Rule, _ sources: [String]) -> [Rule] {
    let possible = sources.filter { rule.sources?.contains($0) ?? true }
    let told = possible.compactMap { grants[$0] }
    guard !told.isEmpty, told.count == possible.count else { return [rule] }
    return told.flatMap { grant in grant.allow.compactMap { $0.meeting(rule.anywhere) } }
  }
}

extension Grant {
  fileprivate var patternCount: Int { (allow + deny).reduce(0) { $0 + $1.patternCount } }
}

extension Rule {
  /// What it costs to be compared.
  fileprivate var patternCount: Int {
    1 + [namespaces, types, names].reduce(0) { $0 + ($1?.patterns.count ?? 0) }
  }

  /// A rule for everything that both match, as narrow as the words allow; nil when no object can match both.
  func meeting(_ other: Rule) -> Rule? {
    guard mayMeet(other) else { return nil }
    let requirements = (labels?.requirements ?? []) + (other.labels?.requirements ?? [])
    return Rule(
      position: other.position, namespaces: Rule.meeting(namespaces, other.namespaces),
      types: Rule.meeting(types, other.types), names: Rule.meeting(names, other.names),
      labels: LabelSelector(requirements), sources: nil)
  }

  /// This rule without those of its words that no object can match which the other one matches; nil when there is
  /// no such object.
  func part(meeting other: Rule) -> Rule? {
    guard mayMeet(other) else { return nil }
    func part(_ own: GlobList?, _ others: GlobList?) -> GlobList? {
      guard let own, let others else { return own }
      return GlobList(own.patterns.filter { pattern in others.patterns.contains { $0.mayMeet(pattern) } })
    }
    return Rule(
      position: position, namespaces: part(namespaces, other.namespaces), types: part(types, other.types),
      names: part(names, other.names), labels: labels, sources: nil)
  }

  private static func meeting(_ left: GlobList?, _ right: GlobList?) -> GlobList? {
    guard let left, let right else { return left ?? right }
    let exact =
      left.patterns.filter { $0.isExact && right.matches($0.text) }
      + right.patterns.filter { $0.isExact && left.matches($0.text) }
    let others = left.patterns.filter { !$0.isExact }.flatMap { pattern in
      right.patterns.filter { !$0.isExact && $0.mayMeet(pattern) }.map { pattern.narrower($0) }
    }
    return GlobList(exact + others)
  }
}

extension GlobPattern {
  /// Of two patterns the one that says more; what both match is matched by either.
  fileprivate func narrower(_ other: GlobPattern) -> GlobPattern {
    let stars = (
      text.utf8.count { $0 == UInt8(ascii: "*") }, other.text.utf8.count { $0 == UInt8(ascii: "*") }
    )
    return other.text.utf8.count - stars.1 > text.utf8.count - stars.0 ? other : self
  }
}
