// What many records have in common, said once: who, or what. A maker of records gives each piece a number, tells the
// writer what it stands for in the batch where it is first used, and from then on a record is two numbers. The writer
// puts the bytes together, so that a serve loop copies none of them.

public import SPIFFE

/// A piece of a line: some of its keys.
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

/// The numbers that one maker of records gives to pieces.
public struct PieceNumbers: Sendable {
  /// A piece by its number.
  public struct Name: Sendable, Equatable {
    let number: UInt32
    /// Of the piece.
    let byteCount: UInt32
    fileprivate let edition: UInt32
  }

  private var free: [UInt32] = []
  /// Not used any more by who keeps names, but maybe by records of this batch that are still to come.
  private var released: [UInt32] = []
  private var next: UInt32 = 0
  private var edition: UInt32 = 0

  public init() {}

  /// Gives a number to a piece, and says so in `batch`.
  public mutating func name(_ piece: AuditPiece, in batch: inout AuditBatch) -> Name {
    let number = free.popLast() ?? next
    if number == next { next += 1 }
    batch.define(piece, as: number)
    return Name(number: number, byteCount: UInt32(piece.bytes.count), edition: edition)
  }

  /// The number is still that piece's.
  public func isKnown(_ name: Name) -> Bool { name.edition == edition }

  /// The piece is used in this batch for the last time.
  public mutating func release(_ name: Name) {
    if isKnown(name) { released.append(name.number) }
  }

  /// Another batch begins: numbers that were released may be given to other pieces.
  public mutating func reuseReleased() {
    free += released
    released.removeAll(keepingCapacity: true)
  }

  /// A batch was lost, and what it said of numbers with it: all are given anew.
  public mutating func startAnew() {
    (free, released, next) = ([], [], 0)
    edition &+= 1
  }
}

/// What the numbers of one maker stand for, on the writer's side. Holds about as much as was in use at once; in one
/// run of bytes, because a push walks over all of it, twice.
public struct KnownPieces: Sendable {
  private var bytes: [UInt8] = []
  private var places: [Range<Int>] = []
  /// Bytes that no number means any more.
  private var unused = 0

  public init() {}

  mutating func define(_ piece: AuditPiece, as number: UInt32) {
    let index = Int(number)
    precondition(index <= places.count, "numbers are given without gaps")
    if index == places.count { places.append(0..<0) }
    unused += places[index].count
    places[index] = bytes.count..<(bytes.count + piece.bytes.count)
    bytes += piece.bytes
    if unused > bytes.count / 2, unused > KnownPieces.unusedMost { compact() }
  }

  private mutating func compact() {
    var kept: [UInt8] = []
    kept.reserveCapacity(bytes.count)
    for index in places.indices {
      let start = kept.count
      kept += bytes[places[index]]
      places[index] = start..<kept.count
    }
    (bytes, unused) = (kept, 0)
  }

  /// Puts a piece at the end of `line`. Trap: a number that was never given.
  func append(_ number: UInt32, to line: inout [UInt8]) {
    let place = places[Int(number)]
    unsafe bytes.withUnsafeBufferPointer {
      unsafe line.append(contentsOf: UnsafeBufferPointer(rebasing: $0[place]))
    }
  }

  /// Unit: bytes. Reason: to move so few is not worth a look.
  private static let unusedMost = 64 * 1024
}
