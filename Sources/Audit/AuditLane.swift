// The crossing between one thread that makes records and the writer: batches one way, the number of records that
// are safely written the other way. A response waits until its record is among them (docs/decisions/090).
//
// Bounded by bytes. Above `bytesSoft` nothing new should be begun (deliveries and connections wait); what answers
// to something already begun still fits, up to `bytesMost`. Beyond, records are counted and the log says how many.

public import Primitives
import Synchronization

public final class AuditLane: Sendable {
  private struct Queue {
    var waiting = AuditBatch()
    /// Empty, with memory for what comes next: batches go round, because large ones are dear to make and to free.
    var spare = AuditBatch()
    /// Of what waits.
    var publications: Publications?
    /// Of what was lost.
    var missed: Publications?
    /// Accepted so far, written or not.
    var accepted: UInt64 = 0
    var lost = 0
    /// Its maker waits for what it has handed over, or for room.
    var isAwaited = false
    var wake: Waker?
  }

  /// What the writer takes.
  public struct Load: Sendable {
    public var batch: AuditBatch
    /// The lane's count of records with this batch.
    public let upTo: UInt64
    public let lost: Int
    /// Its maker is to be told when it is written.
    public let isAwaited: Bool
    /// Of the batch.
    public let publications: Publications?
    /// That are lost.
    public let missed: Publications?
  }

  private let queue = Mutex(Queue())
  private let written = Atomic<UInt64>(0)
  private let bytes = Atomic<Int>(0)
  public let bytesSoft: Int
  public let bytesMost: Int
  private let ring: @Sendable () -> Void

  /// - Parameter ring: tells the writer that something waits; cheap, callable from any thread.
  public init(bytesSoft: Int, ring: @escaping @Sendable () -> Void) {
    self.bytesSoft = bytesSoft
    bytesMost = 4 * bytesSoft
    self.ring = ring
  }

  /// Records of this lane, from its first on, that are written.
  public var committed: UInt64 { written.load(ordering: .acquiring) }

  /// Nothing new should be begun.
  public var isFull: Bool { bytes.load(ordering: .relaxed) >= bytesSoft }

  /// What `commit` wakes. Nobody when never set.
  public func attach(_ wake: @escaping Waker) { queue.withLock { $0.wake = wake } }

  /// Hands records over. False when they did not fit: then they are lost, and counted.
  @discardableResult
  public func hand(_ batch: AuditBatch) -> Bool {
    var batch = batch
    return hand(&batch)
  }

  /// The same for who makes many: leaves `batch` empty, with memory for the next records. `isAwaited`: its maker wants to
  /// be woken when all of it is written.
  @discardableResult
  public func hand(_ batch: inout AuditBatch, isAwaited: Bool = true) -> Bool {
    let fits = hand(&batch, nil, isAwaited)
    ring()
    return fits
  }

  /// Hands over what a publication says. While very much waits `brief` is taken in its place; beyond that the log says
  /// which publications it does not have, because deliveries refer to their versions. The writer is not told: deliveries
  /// will, or `tell`.
  public func hand(_ batch: AuditBatch, brief: () -> AuditBatch, sequence: UInt64) {
    let isCrowded = bytes.load(ordering: .relaxed) + batch.byteCount > bytesMost / 2
    var fitting = isCrowded ? brief() : batch
    _ = hand(&fitting, Publications(count: fitting.count, first: sequence, last: sequence), false)
  }

  /// Tells the writer, unless it has taken all there is.
  public func tell() {
    if queue.withLock({ !$0.waiting.isEmpty || $0.lost > 0 }) { ring() }
  }

  private func hand(_ batch: inout AuditBatch, _ publications: Publications?, _ isAwaited: Bool) -> Bool {
    guard !batch.isEmpty else { return true }
    return queue.withLock { queue in
      defer { batch.removeAll() }
      // They count as passed in any case: nobody waits for what will never be written.
      queue.accepted &+= UInt64(batch.count)
      guard queue.waiting.byteCount + batch.byteCount <= bytesMost else {
        queue.lost &+= batch.count
        queue.missed = Publications.together(queue.missed, publications)
        return false
      }
      if queue.waiting.isEmpty {
        queue.waiting = batch
        batch = queue.spare
        queue.spare = AuditBatch()
      } else {
        queue.waiting.append(batch)
      }
      queue.publications = Publications.together(queue.publications, publications)
      bytes.store(queue.waiting.byteCount, ordering: .relaxed)
      queue.isAwaited = queue.isAwaited || isAwaited || isFull
      return true
    }
  }

  // MARK: the writer's side

  /// Nil when there is nothing to write and nothing to tell.
  public func take() -> Load? {
    queue.withLock { queue in
      guard !queue.waiting.isEmpty || queue.lost > 0 else { return nil }
      let load = Load(
        batch: queue.waiting, upTo: queue.accepted, lost: queue.lost,
        isAwaited: queue.isAwaited || queue.lost > 0,
        publications: queue.publications, missed: queue.missed)
      queue.waiting = AuditBatch()
      (queue.lost, queue.isAwaited) = (0, false)
      (queue.publications, queue.missed) = (nil, nil)
      return load
    }
  }

  /// Memory of a load that is worked off.
  public func giveBack(_ batch: inout AuditBatch) {
    batch.removeAll()
    queue.withLock { swap(&$0.spare, &batch) }
  }

  /// Everything up to this count is written, or counted as lost. `isAwaited`: of the load.
  public func commit(upTo count: UInt64, isAwaited: Bool = true) {
    let wake = queue.withLock { queue in
      bytes.store(queue.waiting.byteCount, ordering: .relaxed)
      return queue.wake
    }
    written.store(count, ordering: .releasing)
    if isAwaited { wake?() }
  }
}
