// The sockets of one loop as rows of plain memory: what an event needs is one index away and costs no
// reference counting.
//
// The life of a row, and of its socket:
//
//   free ──connect──► connecting ──► open ──close──► closing ──nothing in flight──► joined ──told──► free
//     └────────────accepted──────────►┘                         (descriptor closed, generation + 1)

import Primitives

/// The handler of a socket and what it needs rarely. One per socket, from birth to `socketClosed`.
final class SocketAttachment {
  let handler: any SocketHandler
  /// Where a connect goes; the kernel reads it until the connect completed.
  let target: SocketAddressMemory?
  /// Bytes that came while receiving was paused, or before those were delivered.
  var held: IOBuffer?
  /// The peer's end came while receiving was paused.
  var holdsEnd = false

  init(_ handler: any SocketHandler, target: SocketAddressMemory? = nil) {
    self.handler = handler
    self.target = target
  }
}

/// One socket. Plain bits: the two references are owned by hand, from `attach` and `lend` to `release`.
@safe
struct SocketRow {
  enum Phase: UInt8 {
    case free
    /// A connect is in flight.
    case connecting
    case open
    /// No new work; waiting for operations to complete.
    case closing
    /// Nothing is in flight; `socketClosed` comes after this batch.
    case joined
  }

  enum Receiving: UInt8 {
    case idle
    case armed
    /// A cancel is on its way.
    case cancelling
  }

  var phase = Phase.free
  var receiving = Receiving.idle
  /// The handler wants bytes: not paused.
  var wantsBytes = true
  var isSending = false
  /// Half-close when the send in flight is done.
  var finishesAfterSend = false
  /// `finishSending` was called.
  var isFinishing = false
  /// The peer's end was seen.
  var isAtEnd = false
  /// `socketFailed` was called.
  var hasFailed = false
  /// The attachment holds undelivered bytes or an end.
  var holds = false
  var descriptor: Int32 = -1
  /// 1 ≤ generation ≤ 2^28 − 1; new with every socket.
  var generation: UInt32 = 1
  var nextFree = SocketTable.none
  var attachment: Unmanaged<SocketAttachment>?
  /// The buffer of the send in flight.
  var buffer: Unmanaged<IOBuffer>?

  /// Where what its events touch lies.
  var surroundings = SocketSurroundings()

  /// Nothing of ours is with the kernel.
  var isQuiet: Bool { receiving == .idle && !isSending && phase != .connecting }
}

/// Rows by slot, with a list of free ones.
@safe
final class SocketTable {
  static let none = UInt32.max

  private var rows: UnsafeMutablePointer<SocketRow>
  private var capacity: Int
  private var firstFree = SocketTable.none
  /// Rows in use.
  private(set) var count = 0

  init() {
    capacity = 64
    unsafe rows = .allocate(capacity: capacity)
    addFree(0..<capacity)
  }

  deinit {
    for slot in 0..<capacity {
      let row = unsafe rows + slot
      unsafe row.pointee.attachment?.release()
      unsafe row.pointee.buffer?.release()
    }
    unsafe rows.deallocate()
  }

  /// The row of `slot`; valid until the next `insert`.
  func row(_ slot: UInt32) -> UnsafeMutablePointer<SocketRow> { unsafe rows + Int(slot) }

  /// The row of a socket that still exists; valid until the next `insert`.
  func find(_ slot: UInt32, _ generation: UInt32) -> UnsafeMutablePointer<SocketRow>? {
    guard Int(slot) < capacity else { return nil }
    let row = unsafe rows + Int(slot)
    guard unsafe row.pointee.generation == generation, unsafe row.pointee.phase != .free else { return nil }
    return unsafe row
  }

  /// A new socket's row, in `phase`.
  func insert(_ descriptor: Int32, _ phase: SocketRow.Phase) -> SocketID {
    if firstFree == SocketTable.none { grow() }
    let slot = firstFree
    let row = unsafe rows + Int(slot)
    firstFree = unsafe row.pointee.nextFree
    var fresh = SocketRow()
    unsafe fresh.generation = row.pointee.generation
    fresh.descriptor = descriptor
    fresh.phase = phase
    unsafe row.pointee = fresh
    count += 1
    return SocketID(slot: slot, generation: fresh.generation)
  }

  /// Makes every name of the socket stale.
  func remove(_ slot: UInt32) {
    let row = unsafe rows + Int(slot)
    unsafe row.pointee.attachment?.release()
    unsafe row.pointee.buffer?.release()
    var free = SocketRow()
    unsafe free.generation = row.pointee.generation % OperationToken.generationMask + 1
    free.nextFree = firstFree
    unsafe row.pointee = free
    firstFree = slot
    count -= 1
  }

  /// Forgets every socket, whatever it waits for.
  func removeAll() {
    for slot in 0..<capacity where unsafe rows[slot].phase != .free { remove(UInt32(slot)) }
  }

  /// Descriptors of all sockets, for the end of the loop.
  var descriptors: [Int32] {
    (0..<capacity).compactMap { slot in
      let row = unsafe rows[slot]
      return row.phase != .free && row.descriptor >= 0 ? row.descriptor : nil
    }
  }

  private func grow() {
    let larger = UnsafeMutablePointer<SocketRow>.allocate(capacity: capacity * 2)
    unsafe larger.moveInitialize(from: rows, count: capacity)
    unsafe rows.deallocate()
    unsafe rows = unsafe larger
    let added = capacity..<capacity * 2
    capacity *= 2
    addFree(added)
  }

  /// Lowest slot first, so that equal histories use equal slots.
  private func addFree(_ slots: Range<Int>) {
    for slot in slots.reversed() {
      var row = SocketRow()
      row.nextFree = firstFree
      unsafe (rows + slot).initialize(to: row)
      firstFree = UInt32(slot)
    }
  }
}
