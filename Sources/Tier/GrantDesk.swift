// What the tiers above say they grant this relay, and which of our own rules go beyond it: for status, metrics,
// journal and `explain`. Nothing is enforced here: what is not granted simply never comes.
//
// Rules and grants are compared on a worker, anew whenever either changes; only the newest outcome counts.

import Admin
import Documents
import Policy
import Primitives

final class GrantDesk {
  /// What a comparison found.
  struct Outcome: Sendable {
    let round: UInt64
    /// By source; those that said something that is understood.
    let grants: [String: Grant]
    let found: UngrantedRules
    /// Sources whose words are not understood, sorted.
    let unreadable: [String]
  }

  private var texts: [String: String] = [:]
  private var rules = PolicyRules.denyAll
  private var sources: [String] = []
  private var round: UInt64 = 0
  /// The worker had no room: to be tried again.
  private var isWaiting = false
  private let outcomes: Mailbox<Outcome>
  private let worker: any Worker
  private let report: (TierEvent) -> Void
  private(set) var latest = Outcome(round: 0, grants: [:], found: UngrantedRules(), unreadable: [])

  init(worker: any Worker, wake: @escaping Waker, report: @escaping (TierEvent) -> Void) {
    self.worker = worker
    self.report = report
    outcomes = Mailbox(capacity: 16, wake: wake)
  }

  /// A source said what it grants; nil: it does not say.
  func told(_ source: String, _ text: String?) {
    guard texts[source] != text else { return }
    texts[source] = text
    compare()
  }

  /// Other rules, or other sources.
  func follow(_ rules: PolicyRules, sources: [String]) {
    let isSame = rules.hash == self.rules.hash && sources == self.sources
    // Places may have moved although the meaning is the same.
    self.rules = rules
    self.sources = sources
    texts = texts.filter { sources.contains($0.key) }
    if !isSame || !texts.isEmpty { compare() }
  }

  func beat() { if isWaiting { compare() } }

  private func compare() {
    round += 1
    let (round, texts, rules, sources, outcomes) = (round, texts, rules, sources, outcomes)
    isWaiting = !worker.submit {
      var grants: [String: Grant] = [:]
      for (source, text) in texts { grants[source] = Grant(parsing: text) }
      let found = grants.isEmpty ? UngrantedRules() : rules.ungranted(by: grants, of: sources)
      outcomes.push(
        Outcome(
          round: round, grants: grants, found: found,
          unreadable: texts.keys.filter { grants[$0] == nil }.sorted()))
    }
  }

  /// Call when the loop was woken.
  func pickUp() {
    guard let outcome = outcomes.drain().last(where: { $0.round == round }) else { return }
    let before = latest
    latest = outcome
    tell(from: before, to: outcome)
  }

  /// Rules told one by one. Reason: a wrong grant must not flood the journal; status has more.
  private static let toldAtOnce = 20

  private func tell(from before: Outcome, to now: Outcome) {
    if now.unreadable != before.unreadable, !now.unreadable.isEmpty {
      report(
        TierEvent(
          .warning, "what the tier above grants is told in words this version does not know",
          [.init("sources", now.unreadable.joined(separator: " "))]))
    }
    let whole = now.found.rules.filter { $0.extent == .all }
    guard whole != before.found.rules.filter({ $0.extent == .all }) else { return }
    guard !whole.isEmpty else {
      return report(TierEvent(.notice, "no rule is wholly ungranted any more"))
    }
    report(
      TierEvent(
        .warning, "ungranted: the tier above grants nothing of what these rules allow",
        [.init("rules", String(whole.count))]
          + whole.prefix(GrantDesk.toldAtOnce).map { rule in
            .init(
              "rule",
              "\(rule.position) of \(rule.clusters.prefix(5).joined(separator: " "))"
                + (rule.clusters.count > 5 ? " and \(rule.clusters.count - 5) more" : ""))
          }))
  }

  // MARK: what others show of it

  var status: [UngrantedStatus] {
    latest.found.rules.map {
      UngrantedStatus(
        place: $0.position.description, extent: $0.extent.rawValue, clusters: $0.clusters,
        example: $0.example)
    }
  }

  /// Empty while no grant is known.
  var counts: [(extent: String, count: Int)] {
    guard !latest.grants.isEmpty else { return [] }
    return UngrantedRule.Extent.allCases.map { extent in
      (extent: extent.rawValue, count: latest.found.rules.count { $0.extent == extent })
    }
  }
}
