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
  let head: ArraySlice<UInt8>
  let body: SharedBody?

  var byteCount: Int { head.count + (body?.byteCount ?? 0) }
}

final class Scribe: TimerHandler {
  private struct Held {
    /// Number of its record within this loop.
    let record: UInt64
    let stream: ClientStream
    let headBytes: Int
    let body: SharedBody?
  }

  /// Responses that wait, oldest first, and their heads one after the other: a thousand small arrays that live as long
  /// would cost more to make and to free than all that is done with them.
  private struct Waiting {
    var entries: [Held] = []
    var heads: [UInt8] = []

    mutating func append(_ response: StreamResponse, for stream: ClientStream, record: UInt64) {
      entries.append(
        Held(record: record, stream: stream, headBytes: response.head.count, body: response.body))
      heads.append(contentsOf: response.head)
    }

    /// Takes out the first `count`.
    mutating func takeFirst(_ count: Int) -> Waiting {
      let bytes = entries[..<count].reduce(0) { $0 + $1.headBytes }
      let taken = Waiting(entries: Array(entries[..<count]), heads: Array(heads[..<bytes]))
      self = Waiting(entries: Array(entries[count...]), heads: Array(heads[bytes...]))
      return taken
    }

    /// Forgets all and keeps memory, unless a flood made it large.
    mutating func removeAll() {
      let keeps = entries.capacity <= Waiting.keptEntries && heads.capacity <= Waiting.keptBytes
      entries.removeAll(keepingCapacity: keeps)
      heads.removeAll(keepingCapacity: keeps)
    }

    /// Responses for which memory is kept, and bytes of their heads. Reason: some thousand clients.
    private static let keptEntries = 16 * 1024
    private static let keptBytes = 4 * 1024 * 1024
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
  private var held = Waiting()
  /// Empty outside of `release`: memory for the next to be held.
  private var released = Waiting()
  /// Streams that had something to say while the lane was full.
  private var stalled: [ClientStream] = []
  /// The same content goes to many clients: what is said of it is encoded once. By view number.
  private var delivered = PieceMemory()
  private var acknowledged = PieceMemory()

  /// Handed over before the turn ends. Reason: the writer works while the loop goes on.
  private static let batchBytes = 64 * 1024
  /// How long the record of an ACK waits for company. Reason: a wake of the writer costs more than the record, and
  /// ACKs trickle in.
  private static let ackPatience: Duration = .milliseconds(50)

  init(_ lane: AuditLane, loop: EventLoop) {
    self.lane = lane
    self.loop = loop
    lane.attach(loop.waker)
    // Not weak: an object with weak references pays for each of its retains. A loop lets go of this when it is
    // abandoned.
    loop.onTurnEnd = { self.endTurn() }
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
    held.append(response, for: stream, record: recorded)
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
    var (index, start) = (0, 0)
    while index < ready.entries.count {
      let stream = ready.entries[index].stream
      guard let connection = stream.connection else {
        stream.drop(next(ready, &index, &start))
        continue
      }
      // Responses of one client in a row share its records of TLS.
      connection.batch {
        repeat {
          ready.entries[index].stream.release(next(ready, &index, &start))
        } while index < ready.entries.count
          && (ready.entries[index].stream === stream || ready.entries[index].stream.connection === connection)
      }
    }
    ready.removeAll()
    if ready.entries.capacity > released.entries.capacity { released = ready }
    guard !stalled.isEmpty, !lane.isFull else { return }
    let waiting = stalled
    stalled = []
    for stream in waiting { stream.resume() }
  }

  /// The message at `index`, whose head begins at `start`; both go on to the next.
  private func next(_ waiting: borrowing Waiting, _ index: inout Int, _ start: inout Int) -> HeldMessage {
    let end = start + waiting.entries[index].headBytes
    defer { (index, start) = (index + 1, end) }
    return HeldMessage(head: waiting.heads[start..<end], body: waiting.entries[index].body)
  }

  /// Takes out what is written; what is recorded meanwhile waits behind the rest.
  private func takeReady() -> Waiting {
    let committed = lane.committed
    guard let oldest = held.entries.first, let newest = held.entries.last, oldest.record <= committed else {
      return Waiting()
    }
    if newest.record <= committed {
      let ready = held
      held = released
      released = Waiting()
      return ready
    }
    return held.takeFirst(held.entries.prefix { $0.record <= committed }.count)
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
    let kept = held.takeFirst(held.entries.prefix { $0.record <= record }.count)
    let denied = held
    held = kept
    var (index, start) = (0, 0)
    while index < denied.entries.count {
      denied.entries[index].stream.deny(next(denied, &index, &start))
    }
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
