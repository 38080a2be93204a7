// The shadow policy of a running relay: read at start and reload, counted by the publisher, never enforced. A shadow that
// cannot be read changes nothing but its own status; one that was good before stays.

import Admin
import Audit
import Gates
public import Policy
import Primitives

/// `shadow` of the configuration, as a start or a reload found it.
public enum ShadowFile: Sendable {
  /// There is none.
  case none
  case rules(PolicyRules)
  /// It is bad: why, one line each.
  case refused([String])
}

/// What a shadow policy comes to, as the publisher last counted.
struct ShadowFacts: Sendable {
  var hash: String
  /// Clusters that would be served something else, by name.
  var differences: [(cluster: String, counts: ShadowBook.Counts)]
}

/// What the control loop knows of it.
struct ShadowDesk {
  /// Nil: none is in use.
  private(set) var rules: PolicyRules?
  /// Of the newest snapshot.
  private(set) var facts: ShadowFacts?
  private var file = ConfigStatus(state: .none)
  private var isConfigured = false

  /// Takes over what was read. Returns what the publisher must hear of, and what the journal and the audit are told.
  mutating func take(_ found: ShadowFile, now: Timestamp) -> (job: PublishJob?, event: TierEvent?) {
    switch found {
    case .none:
      guard isConfigured else { return (nil, nil) }
      self = ShadowDesk()
      return (
        .shadow(nil),
        TierEvent(.notice, "no shadow policy is in use any more")
          .recording(AuditRecord(.policy, reason: "shadow: removed"))
      )
    case .rules(let next):
      isConfigured = true
      // What was counted of equal rules still holds.
      if next.hash != rules?.hash { facts = nil }
      rules = next
      file = ConfigStatus(state: .current, loadedAt: now)
      return (
        .shadow(next),
        TierEvent(.notice, "shadow policy loaded", [.init("hash", next.hash)])
          .recording(AuditRecord(.policy, version: next.hash, reason: "shadow: loaded"))
      )
    case .refused(let problems):
      isConfigured = true
      file.state = rules == nil ? .none : .refused
      file.error = problems.first
      let trouble =
        rules == nil
        ? "shadow policy refused; none is in use" : "shadow policy refused; the last good one stays"
      return (
        nil,
        TierEvent(.error, trouble, problems.prefix(20).map { .init("problem", $0) })
          .recording(AuditRecord(.policy, reason: "shadow: refused: " + (problems.first ?? "")))
      )
    }
  }

  mutating func note(_ counted: ShadowFacts?) {
    guard let counted, counted.hash == rules?.hash else { return }
    facts = counted
  }

  /// What explains answers by its rules, or that there are none: it is not what the file says now. Nil when it is.
  var trouble: String? {
    guard isConfigured, file.state != .current, let error = file.error else { return nil }
    let loaded = file.loadedAt.map { ", and this is of the last good one, loaded at \($0.rfc3339)" } ?? ""
    return "The shadow policy as it is now was refused\(loaded): \(error)"
  }

  /// `enforced`: the policy in force. Nil: none is configured.
  func status(beside enforced: PolicyRules) -> ShadowStatus? {
    guard isConfigured else { return nil }
    let identities = rules.map { IdentityChange.all(from: enforced, to: $0) } ?? []
    return ShadowStatus(
      state: file.state, loadedAt: file.loadedAt, hash: rules?.hash, error: file.error,
      counted: facts != nil,
      clusters: (facts?.differences ?? []).map { cluster, counts in
        ShadowStatus.Cluster(
          cluster: cluster, added: counts.added, changed: counts.changed, removed: counts.removed)
      }, identities: identities.map(\.description))
  }

  /// For metrics; nil: none is configured.
  var counts: (isOK: Bool, clusters: Int, changes: [(change: String, count: Int)])? {
    guard isConfigured else { return nil }
    let all = facts?.differences ?? []
    let changes = [
      (change: "added", count: all.reduce(0) { $0 + $1.counts.added }),
      (change: "changed", count: all.reduce(0) { $0 + $1.counts.changed }),
      (change: "removed", count: all.reduce(0) { $0 + $1.counts.removed }),
    ]
    return (file.state == .current, all.count, facts == nil ? [] : changes)
  }
}
