// Publications whose records could not be kept, by their numbers: what is left of them when even their versions had
// no room. A delivery bears the sequence of its snapshot, so that it can be told which one it is of.

/// Records of publications: how many, and from which sequence of the snapshot to which.
public struct Publications: Sendable, Equatable {
  public var count: Int
  public var first: UInt64
  public var last: UInt64

  public init(count: Int, first: UInt64, last: UInt64) {
    self.count = count
    self.first = first
    self.last = last
  }

  public static func together(_ one: Publications?, _ other: Publications?) -> Publications? {
    guard let one, let other else { return one ?? other }
    return Publications(
      count: one.count + other.count, first: min(one.first, other.first), last: max(one.last, other.last))
  }

  /// What the log says in their place.
  public var record: AuditRecord {
    var record = AuditRecord(
      .publish, sequence: last,
      reason:
        "what was published from sequence \(first) to \(last) is in part not recorded: the log could not be written"
    )
    record.omitted = count
    return record
  }
}
