// What one serve loop records, and what waits for its record: a response leaves only after its `deliver` is in the
// log (docs/audit.md). The loop never waits: records go to the writer once per turn, responses are kept here in order,
// and the writer's wake lets them go. Nothing waits for the record of an ACK: those go along with the next that
// something waits for, or a moment later. A lane that is full stops what would begin anew, never what ends a grant.

import Audit
import Primitives
import Ring
import SPIFFE
import Snapshots
import Transport

/// What is left of a response when everything has been said of it: its bytes.
struct HeldMessage {
  let head: [UInt8]
  let body: SharedBody?

  init(_ response: StreamResponse) {
    head = response.head
    body = response.body
  }

  var byteCount: Int { head.count + (body?.byteCount ?? 0) }
}

final class Scribe: TimerHandler {
  private struct Held {
    /// Number of its record within this loop.
    let record: UInt64
    let stream: ClientStream
    let message: HeldMessage
  }

  private let lane: AuditLane
  private let loop: EventLoop
  /// Records that are not handed over: of this turn, and ACKs of earlier ones.
  private var batch = AuditBatch()
  /// Something in the batch must not wait.
  private var mustHandOver = false
  private var patience = TimerID.none
  /// Records since the start, this turn's included.
  private var recorded: UInt64 = 0
  /// Oldest first.
  private var held: [Held] = []
  /// Empty outside of `release`: memory for the next to be held.
  private var released: [Held] = []
  /// Streams that had something to say while the lane was full.
  private var stalled: [ClientStream] = []
  /// The same content goes to many clients: what is said of it is encoded once. By view number.
  private var delivered = PieceMemory()
  private var acknowledged = PieceMemory()

  /// Handed over before the turn ends. Reason: the writer works while the loop goes on.
  private static let batchBytes = 64 * 1024
  /// Responses for which memory is kept. Reason: some thousand clients.
  private static let keptRoom = 16 * 1024
  /// How long the record of an ACK waits for company. Reason: a wake of the writer costs more than the record, and
  /// ACKs trickle in.
  private static let ackPatience: Duration = .milliseconds(50)

  init(_ lane: AuditLane, loop: EventLoop) {
    self.lane = lane
    self.loop = loop
    lane.attach(loop.waker)
    loop.onTurnEnd = { [weak self] in self?.endTurn() }
  }

  /// Nothing may begin that needs a record.
  var isFull: Bool { lane.isFull }

  // MARK: records

  func record(_ record: AuditRecord) {
    batch.append(record, at: loop.wallClock)
    recorded &+= 1
    mustHandOver = true
    handOverIfLarge()
  }

  func acknowledged(_ typeURL: String, _ version: String, by who: AuditPiece) {
    let what = acknowledged.piece(of: typeURL, version, in: 0) { AuditPiece(type: typeURL, version: version) }
    append(.ack, who, what)
    if batch.bytes.count >= Scribe.batchBytes {
      handOver()
    } else if patience == .none {
      patience = loop.schedule(at: loop.now + Scribe.ackPatience, self, tag: 0)
    }
  }

  private func append(_ event: AuditRecord.Event, _ who: AuditPiece, _ what: AuditPiece) {
    batch.append(event, who, what, at: loop.wallClock)
    recorded &+= 1
  }

  // MARK: responses

  /// Records a delivery and keeps the response until the record is written; then `stream` is given it back.
  func hold(
    _ response: StreamResponse, of view: @autoclosure () -> View, for stream: ClientStream, who: AuditPiece
  ) {
    append(.deliver, who, what(response, view))
    mustHandOver = true
    held.append(Held(record: recorded, stream: stream, message: HeldMessage(response)))
    handOverIfLarge()
  }

  private func what(_ response: StreamResponse, _ view: () -> View) -> AuditPiece {
    delivered.piece(of: response.typeURL, response.version, in: response.view) {
      let view = view()
      // A part of a view (names, a withdrawal) has a version of its own: the whole one is in a `publish`.
      let type = Scribe.type(named: response.typeURL)
      let whole = type.map { view.content(of: $0).version.description }
      return AuditPiece(
        type: response.typeURL, version: response.version, view: whole, sequence: view.position.sequence)
    }
  }

  /// In any dialect's words; nil for what nobody has.
  private static func type(named name: String) -> TypeName? {
    if let kind = Kinds[collection: name] { return kind.type }
    let anyPrefix = "type.googleapis.com/"
    if name.hasPrefix(anyPrefix) { return Kinds[bodyMessage: String(name.dropFirst(anyPrefix.count))]?.type }
    return TypeURL(parsing: name)?.type
  }

  /// Asks `stream` again as soon as the lane has room.
  func stall(_ stream: ClientStream) { stalled.append(stream) }

  /// Call when woken: lets go what is recorded by now.
  func release() {
    var ready = takeReady()
    var index = 0
    while index < ready.count {
      let stream = ready[index].stream
      guard let connection = stream.connection else {
        stream.drop(ready[index].message)
        index += 1
        continue
      }
      // Responses of one client in a row share its records of TLS.
      connection.batch {
        repeat {
          ready[index].stream.release(ready[index].message)
          index += 1
        } while index < ready.count
          && (ready[index].stream === stream || ready[index].stream.connection === connection)
      }
    }
    ready.removeAll(keepingCapacity: ready.capacity <= Scribe.keptRoom)
    if ready.capacity > released.capacity { released = ready }
    guard !stalled.isEmpty, !lane.isFull else { return }
    let waiting = stalled
    stalled = []
    for stream in waiting { stream.resume() }
  }

  /// Takes out what is written; what is recorded meanwhile waits behind the rest.
  private func takeReady() -> [Held] {
    let committed = lane.committed
    guard let oldest = held.first, oldest.record <= committed else { return [] }
    if let newest = held.last, newest.record <= committed {
      let ready = held
      held = released
      released = []
      return ready
    }
    let ready = Array(held.prefix { $0.record <= committed })
    held.removeFirst(ready.count)
    return ready
  }

  // MARK: handing over

  private func handOverIfLarge() {
    if batch.bytes.count >= Scribe.batchBytes { handOver() }
  }

  private func endTurn() {
    if mustHandOver { handOver() }
  }

  func timerFired(_ id: TimerID, tag: Int) {
    patience = .none
    handOver()
  }

  /// Gives everything recorded so far to the writer.
  func handOver() {
    guard !batch.isEmpty else { return }
    mustHandOver = false
    loop.cancel(patience)
    patience = .none
    let first = recorded &- UInt64(batch.count)
    let fits = lane.hand(&batch)
    // Lost and counted: a delivery without a record does not leave, and its stream with it.
    if !fits { deny(after: first) }
  }

  private func deny(after record: UInt64) {
    let denied = held.filter { $0.record > record }
    held.removeAll { $0.record > record }
    for entry in denied { entry.stream.deny(entry.message) }
  }
}

/// What is said of content, encoded once for all who are given it.
private struct PieceMemory {
  private struct Name: Hashable {
    let typeURL: String
    let version: String
  }

  private struct Entry {
    let name: Name
    /// Number of the view it is said of.
    let view: UInt64
    let piece: AuditPiece
  }

  private var entries: [Name: Entry] = [:]
  /// A push says the same of one type to everybody.
  private var newest: Entry?

  /// Pieces remembered. Reason: 200 bytes each; when full it starts anew.
  private static let piecesMost = 1024

  mutating func piece(
    of typeURL: String, _ version: String, in view: UInt64, make: () -> AuditPiece
  ) -> AuditPiece {
    if let newest, newest.view == view, newest.name.version == version, newest.name.typeURL == typeURL {
      return newest.piece
    }
    let name = Name(typeURL: typeURL, version: version)
    let entry =
      entries[name].flatMap { $0.view == view ? $0 : nil } ?? Entry(name: name, view: view, piece: make())
    if entries.count >= PieceMemory.piecesMost { entries = [:] }
    entries[name] = entry
    newest = entry
    return entry.piece
  }
}
