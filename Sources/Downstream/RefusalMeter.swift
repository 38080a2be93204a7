// How many refusals of one identity go into the audit log: an istiod without rights redials for ever, and must not
// fill the log with it. The first few of a while are recorded; then they are counted, and the count is recorded.

import Audit
import Primitives

struct RefusalMeter {
  private struct Account {
    var since: Instant
    var recorded = 0
    var omitted = 0
    /// The newest that was left out.
    var last: AuditRecord
  }

  /// By identity; "" for those who proved none.
  private var accounts: [String: Account] = [:]
  /// In the order of their first refusal, so that equal runs write equal logs.
  private var order: [String] = []

  /// Recorded one by one, per identity and window.
  static let recordedMost = 3
  static let window: Duration = .seconds(60)
  /// Identities remembered. Reason: some 500 bytes each; beyond, all accounts are settled.
  static let accountsMost = 4096
  private var overflow: [AuditRecord] = []

  /// How many of the same were left out before this one; nil when this one is to be left out, too.
  mutating func admit(_ who: String, _ record: AuditRecord, at now: Instant) -> Int? {
    guard var account = accounts[who] else {
      if accounts.count >= RefusalMeter.accountsMost { overflow += closed(at: .distantFuture) }
      accounts[who] = Account(since: now, recorded: 1, last: record)
      order.append(who)
      return 0
    }
    defer { accounts[who] = account }
    if account.recorded < RefusalMeter.recordedMost {
      account.recorded += 1
      return 0
    }
    account.omitted += 1
    account.last = record
    return nil
  }

  /// Records that say how many were left out of windows that are over.
  mutating func settle(at now: Instant) -> [AuditRecord] {
    defer { overflow = [] }
    return overflow + closed(at: now)
  }

  private mutating func closed(at now: Instant) -> [AuditRecord] {
    var records: [AuditRecord] = []
    var kept: [String] = []
    for who in order {
      guard let account = accounts[who] else { continue }
      guard now == .distantFuture || now - account.since >= RefusalMeter.window else {
        kept.append(who)
        continue
      }
      accounts.removeValue(forKey: who)
      guard account.omitted > 0 else { continue }
      var record = account.last
      record.omitted = account.omitted
      records.append(record)
    }
    order = kept
    return records
  }
}
