// Whether rules let any object through that a query speaks of: an exact answer without any object.
//
// A rule is a product of conditions on independent things: type, namespace, name, source, and the value of
// each label key. For each of these the finitely many ways in which a value can satisfy the rules are
// listed, each as the set of rules it satisfies with an example. Intersecting one way of each thing gives
// the rules that match some object; it is visible if that set has an allowing rule and no denying one.

import Documents
import Snapshots

struct VisibilitySearch {
  enum Answer: Equatable {
    /// Such an object would be visible; an example, and the rule that allows it.
    case visible(example: String, rule: SourcePosition)
    case hidden
    /// More combinations than are looked at.
    case undecided
  }

  private let rules: [Rule]
  /// False for sets of rules that lead nowhere, whichever of them are taken away.
  private let leads: (Set<Int>) -> Bool
  /// What is looked for: an object that matches exactly these rules.
  private let isWanted: (Set<Int>) -> Bool

  /// Ways listed at any time. Reason: milliseconds for any policy a person writes, bounded for any other.
  private static let waysMax = 20_000

  /// One way to satisfy rules: their indices, and a value that does it.
  private struct Way {
    var rules: Set<Int>
    var example: [String]
  }

  /// Looks for objects that `allow` allows and `deny` does not deny.
  init(_ allow: [Rule], _ deny: [Rule]) {
    let count = allow.count
    self.init(
      allow + deny, leads: { $0.contains { $0 < count } }, isWanted: { !$0.contains { $0 >= count } })
  }

  /// Looks for objects whose set of matching rules, by their places, `isWanted`.
  init(
    _ rules: [Rule], leads: @escaping (Set<Int>) -> Bool,
    isWanted: @escaping (Set<Int>) -> Bool
  ) {
    self.rules = rules
    self.leads = leads
    self.isWanted = isWanted
  }

  func search(_ query: VisibilityQuery) -> Answer {
    var ways = [Way(rules: Set(rules.indices), example: [])]
    let things: [[Way]?] =
      [
        globWays(query.type, rules.map(\.types), readable: VisibilitySearch.kinds),
        globWays(query.namespace, rules.map(\.namespaces), readable: ["x"]),
        globWays(query.name, rules.map(\.names), emptyText: false), sourceWays(),
      ] + labelKeys(query).map { labelWays($0, query) }
    for thing in things {
      guard let thing, let combined = combine(ways, thing) else { return .undecided }
      ways = combined
    }
    for way in ways where isWanted(way.rules) {
      guard let rule = way.rules.min() else { continue }
      return .visible(example: describe(way.example), rule: rules[rule].position)
    }
    return .hidden
  }

  /// Nil when there are too many. Ways that lead nowhere are dropped.
  private func combine(_ left: [Way], _ right: [Way]) -> [Way]? {
    var known: Set<Set<Int>> = []
    var combined: [Way] = []
    for first in left {
      for second in right {
        let both = first.rules.intersection(second.rules)
        guard leads(both), known.insert(both).inserted else { continue }
        guard combined.count < VisibilitySearch.waysMax else { return nil }
        combined.append(Way(rules: both, example: first.example + second.example))
      }
    }
    return combined
  }

  /// Examples stand in the order of `things` in `search`.
  private func describe(_ example: [String]) -> String {
    let labels = example.dropFirst(4).filter { !$0.isEmpty }
    return "\(example[0]) \(example[1])/\(example[2])"
      + (labels.isEmpty ? "" : " {" + labels.joined(separator: ",") + "}")
      + (example[3].isEmpty ? "" : " of the source \(example[3])")
  }

  // MARK: The ways of each thing

  private func sourceWays() -> [Way] {
    let named = Set(rules.compactMap(\.sources).joined()).sorted()
    return ([""] + named).map { source in
      let satisfied = rules.indices.filter { rules[$0].sources?.contains(source) ?? true }
      return Way(rules: Set(satisfied), example: [source])
    }
  }

  private func labelKeys(_ query: VisibilityQuery) -> [String] {
    let keys = rules.compactMap(\.labels).flatMap { $0.requirements.map(\.key) }
    return Set(keys).union(query.labels.keys).sorted()
  }

  private func labelWays(_ key: String, _ query: VisibilityQuery) -> [Way] {
    var values: [String?] = [nil]
    if let given = query.labels[key] {
      values = [given]
    } else if !query.isExact {
      let named = Set(requirements(on: key).flatMap(VisibilitySearch.values)).sorted()
      // A value that no rule names: longer than all of them together.
      values += named.map { $0 } + [named.joined() + "x"]
    }
    return values.map { value in
      let satisfied = rules.indices.filter { index in
        (rules[index].labels?.requirements ?? []).allSatisfy { $0.key != key || $0.holds(for: value) }
      }
      return Way(rules: Set(satisfied), example: [value.map { "\(key)=\($0)" } ?? ""])
    }
  }

  private func requirements(on key: String) -> [LabelSelector.Requirement] {
    rules.compactMap(\.labels).flatMap(\.requirements).filter { $0.key == key }
  }

  private static func values(_ requirement: LabelSelector.Requirement) -> [String] {
    switch requirement.condition {
    case .isOne(let values), .isNone(let values): values
    case .exists, .absent: []
    }
  }

  private static let kinds = Kinds.all.map(\.type.description)

  /// `readable`: texts that people understand as examples, taken where they are as good.
  private func globWays(
    _ query: GlobPattern, _ lists: [GlobList?], emptyText: Bool = true, readable: [String] = []
  ) -> [Way]? {
    func way(_ example: String) -> Way {
      Way(rules: Set(lists.indices.filter { lists[$0]?.matches(example) ?? true }), example: [example])
    }
    var examples = [query.text]
    if !query.isExact {
      let patterns = Set(lists.compactMap { $0?.patterns }.joined()).sorted()
      var examplesOfQuery = GlobExamples([query] + patterns)
      guard let found = examplesOfQuery.all(emptyText: emptyText) else { return nil }
      examples = found
    }
    guard !query.isExact else { return examples.map(way) }
    var better: [Set<Int>: Way] = [:]
    for candidate in readable.filter(query.matches).map(way) where better[candidate.rules] == nil {
      better[candidate.rules] = candidate
    }
    return examples.map(way).map { better[$0.rules] ?? $0 }
  }
}
