// Records of one thread on their way to the writer: encoded where they happen, with everything but their place
// in the chain. A loop appends prepared pieces, so that a record costs it a copy of some hundred bytes.

public import Primitives
public import SPIFFE

/// A piece of a line, encoded once and used for many records: who, or what.
public struct AuditPiece: Sendable, Equatable {
  let bytes: [UInt8]

  /// Who: an identity and its cluster.
  public init(spiffeID: SPIFFEID, cluster: String) {
    self.init(of: AuditRecord(.deliver, spiffeID: spiffeID, cluster: cluster))
  }

  /// What: a version of a type, and where it stands. `view` says of which version it is a part.
  public init(type: String, version: String, view: String? = nil, sequence: UInt64? = nil) {
    var record = AuditRecord(.deliver, type: type, version: version, sequence: sequence)
    if view != version { record.view = view }
    self.init(of: record)
  }

  private init(of record: AuditRecord) {
    // Between the event and the closing brace.
    let event = AuditBatch.opening(.deliver)
    bytes = Array(record.tail.dropFirst(event.count).dropLast())
  }
}

/// Records in order. Empty is free.
public struct AuditBatch: Sendable {
  /// Tails of all records, one after the other.
  public private(set) var bytes: [UInt8] = []
  /// Where each ends.
  public private(set) var ends: [Int] = []
  /// When the first of them happened; all have this time.
  public private(set) var time = Timestamp(seconds: 0)

  public init() {}

  public init(_ record: AuditRecord, at time: Timestamp) {
    append(record, at: time)
  }

  /// Memory that is kept for later records. Reason: a turn of a loop with some thousand clients.
  private static let keptBytes = 2 * 1024 * 1024

  /// Forgets the records and keeps their memory, unless a flood made it large.
  public mutating func removeAll() {
    guard bytes.capacity <= AuditBatch.keptBytes else {
      self = AuditBatch()
      return
    }
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
  }

  public var isEmpty: Bool { ends.isEmpty }
  public var count: Int { ends.count }

  public mutating func append(_ record: AuditRecord, at now: @autoclosure () -> Timestamp) {
    if isEmpty { time = now() }
    bytes.append(contentsOf: record.tail)
    ends.append(bytes.count)
  }

  /// The record of an event made from prepared pieces.
  public mutating func append(
    _ event: AuditRecord.Event, _ who: AuditPiece, _ what: AuditPiece, at now: @autoclosure () -> Timestamp
  ) {
    if isEmpty { time = now() }
    switch event {
    case .deliver: bytes.append(contentsOf: AuditBatch.deliver)
    case .ack: bytes.append(contentsOf: AuditBatch.ack)
    default: bytes.append(contentsOf: AuditBatch.opening(event))
    }
    bytes.append(contentsOf: who.bytes)
    bytes.append(contentsOf: what.bytes)
    bytes.append(UInt8(ascii: "}"))
    ends.append(bytes.count)
  }

  /// Puts what followed at the end; the time of the earlier part stays.
  public mutating func append(_ later: AuditBatch) {
    guard !isEmpty else {
      self = later
      return
    }
    let start = bytes.count
    bytes.append(contentsOf: later.bytes)
    for end in later.ends { ends.append(start + end) }
  }

  private static let deliver = opening(.deliver)
  private static let ack = opening(.ack)

  static func opening(_ event: AuditRecord.Event) -> [UInt8] {
    Array(#""event":"\#(event.rawValue)""#.utf8)
  }
}
