// Rules that allow what this relay can never receive, because the tier above does not grant it: found by the words of
// both alone, before any object exists (docs/decisions/021-a-relay-knows-its-grant.md).
//
// For every rule two questions, exact as those of `tests`: could anything that it allows come from some source, and is
// there anything that it allows and that can come from none. Passes over all rules: for workers.

public import Documents

/// A rule of ours beyond what we are granted.
public struct UngrantedRule: Sendable, Equatable {
  public enum Extent: String, Sendable, CaseIterable {
    /// Nothing that it allows can ever come.
    case all
    /// Some of what it allows can never come.
    case part
  }

  /// Where the rule stands.
  public let position: SourcePosition
  public let extent: Extent
  /// Names of clusters whose rule it is, sorted.
  public let clusters: [String]
  /// Something that it allows and nobody may send, as `TYPE NAMESPACE/NAME`.
  public let example: String
}

/// What is known of rules beyond the grant.
public struct UngrantedRules: Sendable, Equatable {
  /// By place in the files.
  public var rules: [UngrantedRule] = []
  /// Rules that were not judged: they and the grants are too many or too intricate.
  public var undecided = 0

  public init() {}
}

extension PolicyRules {
  /// `grants`: what the tier above grants, by source. `sources`: all there are; one without a grant may send anything.
  public func ungranted(by grants: [String: Grant], of sources: [String]) -> UngrantedRules {
    var search = GrantComparison(grants: grants, sources: sources)
    var found: [UngrantedKey: (clusters: Set<String>, example: String)] = [:]
    var result = UngrantedRules()
    for policy in classes {
      for rule in policy.allow {
        switch search.verdict(on: rule, besides: policy.deny) {
        case .granted: break
        case .undecided: result.undecided += 1
        case .beyond(let extent, let example):
          let names = policy.clusters.map { clusters[$0].name }
          // Clusters of one class may have equal rules at different places: only those at this one are meant.
          let own = names.filter { name in
            clusters[named: name]?.allow.contains { $0.position == rule.position } == true
          }
          let key = UngrantedKey(position: rule.position, extent: extent)
          found[key, default: ([], example)].clusters.formUnion(own.isEmpty ? names : own)
        }
      }
    }
    result.rules = found.map { key, value in
      UngrantedRule(
        position: key.position, extent: key.extent, clusters: value.clusters.sorted(), example: value.example)
    }.sorted { ($0.position, $0.extent.rawValue) < ($1.position, $1.extent.rawValue) }
    return result
  }
}

private struct UngrantedKey: Hashable {
  let position: SourcePosition
  let extent: UngrantedRule.Extent
}

extension [ClusterRules] {
  /// Sorted by name.
  fileprivate subscript(named name: String) -> ClusterRules? {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if self[middle].name < name { low = middle + 1 } else { high = middle }
    }
    return low < count && self[low].name == name ? self[low] : nil
  }
}

/// Judges rules against grants, and remembers: many clusters say the same.
struct GrantComparison {
  enum Verdict: Equatable {
    case granted
    case beyond(UngrantedRule.Extent, example: String)
    case undecided
  }

  private let grants: [String: Grant]
  private let sources: [String]
  private var known: [String: Verdict] = [:]
  private var comparisons = 0
  private var hard = 0

  /// Pairs of a rule and a grant's rule that are looked at. Reason: about a second.
  private static let comparisonsMost = 2_000_000
  /// Questions without an answer before no further one is asked. Reason: each takes about a second.
  private static let hardMost = 4

  init(grants: [String: Grant], sources: [String]) {
    self.grants = grants
    self.sources = sources
  }

  /// `deny`: what takes away from the rule in its own policy.
  mutating func verdict(on rule: Rule, besides deny: [Rule]) -> Verdict {
    let possible = sources.filter { rule.sources?.contains($0) ?? true }
    // A source that nobody has is told elsewhere.
    guard !possible.isEmpty else { return .granted }
    let told = possible.compactMap { grants[$0] }
    guard told.count == possible.count else { return .granted }
    let own = deny.filter { $0.mayMeet(rule) }
    let key = ([rule.canonicalText] + own.map(\.canonicalText).sorted()).joined(separator: "\n")
    if let verdict = known[key] { return verdict }
    comparisons += told.reduce(0) { $0 + $1.ruleCount }
    guard comparisons <= GrantComparison.comparisonsMost, hard < GrantComparison.hardMost else {
      return .undecided
    }
    let verdict = GrantComparison.judge(rule, own, told, possible)
    if verdict == .undecided { hard += 1 }
    known[key] = verdict
    return verdict
  }

  /// An object that one of the sources may send is granted, whatever the others may.
  private static func judge(
    _ rule: Rule, _ own: [Rule], _ told: [Grant], _ sources: [String]
  ) -> Verdict {
    if told.contains(where: { $0.covers(rule) }) { return .granted }
    // One list of rules, in which places say whose they are: the rule, our denials, and each grant's rules.
    func holdsForAll(_ denial: Rule) -> Bool {
      denial.sources.map { Set($0).isSuperset(of: sources) } ?? true
    }
    let certain = own.filter(holdsForAll)
    let possible = own.filter { !holdsForAll($0) }
    var rules = [rule.anywhere] + (certain + possible).map(\.anywhere)
    var grants: [(allow: Range<Int>, deny: Range<Int>)] = []
    for grant in told {
      let start = rules.count
      rules += grant.allow.filter { $0.mayMeet(rule) }
      let middle = rules.count
      rules += grant.deny.filter { $0.mayMeet(rule) }
      grants.append((start..<middle, middle..<rules.count))
    }
    let (always, perhaps, parts) = (1..<(1 + certain.count), 1..<(1 + own.count), grants)
    func isOurs(_ met: Set<Int>, except denials: Range<Int>) -> Bool {
      met.contains(0) && !met.contains { denials.contains($0) }
    }
    func isGranted(_ met: Set<Int>) -> Bool {
      parts.contains { part in
        met.contains { part.allow.contains($0) } && !met.contains { part.deny.contains($0) }
      }
    }
    let beyond = VisibilitySearch(
      rules, leads: { $0.contains(0) }, isWanted: { isOurs($0, except: perhaps) && !isGranted($0) }
    ).search(.everything)
    guard case .visible(let example, _) = beyond else { return beyond == .hidden ? .granted : .undecided }
    let within = VisibilitySearch(
      rules, leads: { $0.contains(0) }, isWanted: { isOurs($0, except: always) && isGranted($0) }
    ).search(.everything)
    switch within {
    case .hidden: return .beyond(.all, example: example)
    // Whoever passes on whatever comes asks for nothing more than that.
    case .visible: return rule.isUnconditional ? .granted : .beyond(.part, example: example)
    case .undecided: return .undecided
    }
  }
}

extension Rule {
  /// It speaks of every object, whatever its type, name and labels.
  fileprivate var isUnconditional: Bool {
    namespaces == nil && types == nil && names == nil && labels == nil
  }
}
