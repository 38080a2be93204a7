// Records of one thread on their way to the writer: everything but their place in the chain. Most of a serve loop's
// records are the same few pieces over and over; of those a batch has the numbers only (`AuditPiece`).

public import Primitives

/// Records in order. Empty is free.
public struct AuditBatch: Sendable {
  enum Entry: Sendable {
    /// A record that stands in `bytes`, up to there.
    case whole(end: Int)
    /// A record made of two pieces.
    case pieced(AuditRecord.Event, who: UInt32, what: UInt32)
    /// No record: the number means this piece from here on. By its place in `definitions`.
    case definition(Int, as: UInt32)
    /// No record: those that follow happened then. By its place in `times`.
    case time(Int)
  }

  private(set) var entries: [Entry] = []
  /// Tails of whole records, one after the other.
  private(set) var bytes: [UInt8] = []
  private(set) var definitions: [AuditPiece] = []
  private(set) var times: [Timestamp] = []
  public private(set) var count = 0
  /// Bytes of all tails as they will be written, and of definitions.
  public private(set) var byteCount = 0

  public init() {}

  public init(_ record: AuditRecord, at time: Timestamp) {
    append(record, at: time)
  }

  /// When the newest of them happened; nil while there is none.
  public var time: Timestamp? { times.last }

  /// Memory that is kept for later records. Reason: a turn of a loop with some thousand clients.
  private static let keptBytes = 2 * 1024 * 1024

  /// Forgets the records and keeps their memory, unless a flood made it large.
  public mutating func removeAll() {
    guard byteCount <= AuditBatch.keptBytes else {
      self = AuditBatch()
      return
    }
    entries.removeAll(keepingCapacity: true)
    bytes.removeAll(keepingCapacity: true)
    definitions.removeAll(keepingCapacity: true)
    times.removeAll(keepingCapacity: true)
    (count, byteCount) = (0, 0)
  }

  /// Nothing to write and nothing to tell.
  public var isEmpty: Bool { entries.isEmpty }

  /// Records that follow happened at `now`; those of one moment share it.
  public mutating func begin(at now: Timestamp) {
    guard times.last != now else { return }
    times.append(now)
    entries.append(.time(times.count - 1))
  }

  public mutating func append(_ record: AuditRecord, at now: Timestamp) {
    begin(at: now)
    let start = bytes.count
    bytes.append(contentsOf: record.tail)
    entries.append(.whole(end: bytes.count))
    count += 1
    byteCount += bytes.count - start
  }

  /// The record of an event made of pieces that were named in this batch or an earlier one of its maker. It happened
  /// at the time begun last.
  public mutating func append(
    _ event: AuditRecord.Event, _ who: PieceNumbers.Name, _ what: PieceNumbers.Name
  ) {
    precondition(!times.isEmpty, "a record has a time")
    entries.append(.pieced(event, who: who.number, what: what.number))
    count += 1
    byteCount += Int(who.byteCount) + Int(what.byteCount) + AuditBatch.openingBytes
  }

  mutating func define(_ piece: AuditPiece, as number: UInt32) {
    definitions.append(piece)
    entries.append(.definition(definitions.count - 1, as: number))
    byteCount += piece.bytes.count
  }

  /// Puts what followed at the end.
  public mutating func append(_ later: AuditBatch) {
    guard !isEmpty else {
      self = later
      return
    }
    let (start, defined, timed) = (bytes.count, definitions.count, times.count)
    bytes.append(contentsOf: later.bytes)
    definitions.append(contentsOf: later.definitions)
    times.append(contentsOf: later.times)
    for entry in later.entries {
      switch entry {
      case .whole(let end): entries.append(.whole(end: start + end))
      case .pieced: entries.append(entry)
      case .definition(let place, let number): entries.append(.definition(defined + place, as: number))
      case .time(let place): entries.append(.time(timed + place))
      }
    }
    count += later.count
    byteCount += later.byteCount
  }

  /// Of what stands around two pieces, about.
  private static let openingBytes = 18

  static func opening(_ event: AuditRecord.Event) -> [UInt8] {
    Array(#""event":"\#(event.rawValue)""#.utf8)
  }
}
