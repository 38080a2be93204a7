// What one serve loop records, and what waits for its record: a response leaves only after its `deliver` is in the
// log (docs/audit.md). The loop never waits: records go to the writer once per turn, responses are kept here in order,
// and the writer's wake lets them go. Nothing waits for the record of an ACK: those go along with the next that
// something waits for, or with the next beat. A lane that is full stops what would begin anew, never what ends a grant.

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

final class Scribe {
  private struct Held {
    /// Number of its record within this loop.
    let record: UInt64
    /// Nil once its response is let go: to forget it later would touch every client's memory once more.
    var stream: ClientStream?
    let socket: SocketID?
    let headBytes: Int
    var body: SharedBody?
  }

  /// Responses that wait, oldest first, and their heads one after the other: a thousand small arrays that live as long
  /// would cost more to make and to free than all that is done with them.
  private struct Waiting {
    private(set) var entries: [Held]
    private var heads: [UInt8]
    /// Entries that were taken by `takeNext`, and where the heads of the others begin.
    private var taken = 0
    private var start = 0

    init(entries: [Held] = [], heads: [UInt8] = []) {
      self.entries = entries
      self.heads = heads
    }

    var capacity: Int { entries.capacity }

    /// Whose response is the next.
    var nextStream: ClientStream? { taken < entries.count ? entries[taken].stream : nil }

    /// Whose will be taken some responses later.
    var approaching: SocketID? {
      let ahead = taken + EventLoop.lookahead
      return ahead < entries.count ? entries[ahead].socket : nil
    }

    /// The next response; call while there is a `nextStream`.
    mutating func takeNext() -> HeldMessage {
      let end = start + entries[taken].headBytes
      let message = HeldMessage(head: heads[start..<end], body: entries[taken].body.take())
      entries[taken].stream = nil
      (taken, start) = (taken + 1, end)
      return message
    }

    mutating func append(_ response: StreamResponse, for stream: ClientStream, record: UInt64) {
      entries.append(
        Held(
          record: record, stream: stream, socket: stream.socket, headBytes: response.head.count,
          body: response.body))
      heads.append(contentsOf: response.head)
    }

    /// Takes out the first `count`, none of which was taken.
    mutating func takeFirst(_ count: Int) -> Waiting {
      let bytes = entries[..<count].reduce(0) { $0 + $1.headBytes }
      let first = Waiting(entries: Array(entries[..<count]), heads: Array(heads[..<bytes]))
      self = Waiting(entries: Array(entries[count...]), heads: Array(heads[bytes...]))
      return first
    }

    /// Forgets all and keeps memory, unless a flood made it large.
    mutating func removeAll() {
      let keeps = entries.capacity <= Waiting.keptEntries && heads.capacity <= Waiting.keptBytes
      entries.removeAll(keepingCapacity: keeps)
      heads.removeAll(keepingCapacity: keeps)
      (taken, start) = (0, 0)
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
  /// When the newest records happened.
  private var stamped: Instant?
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
  private var numbers = PieceNumbers()

  /// Handed over before the turn ends, and ACKs before their time. Reason: the writer works while the loop goes on, and
  /// each time costs a wake of it.
  private static let batchBytes = 256 * 1024
  /// Records so close together have one time. Reason: what the clock of a host is worth.
  private static let sameTime: Duration = .milliseconds(1)

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
  /// What is recorded now is not lost.
  var hasRoom: Bool { !lane.isFull && batch.byteCount < lane.bytesSoft }
  /// Records that are written, counted as those of `announce`.
  var written: UInt64 { lane.committed }
  /// Told how many of the records so far are kept when later ones are lost.
  var onLoss: ((UInt64) -> Void)?

  // MARK: records

  func record(_ record: AuditRecord) {
    batch.append(record, at: loop.wallClock)
    stamped = loop.now
    recorded &+= 1
    mustHandOver = true
    handOverIfLarge()
  }

  /// `who`: of `name`.
  func acknowledged(_ typeURL: String, _ version: String, by who: PieceNumbers.Name) {
    let what = acknowledged.name(of: typeURL, version, in: 0, &numbers, &batch) {
      AuditPiece(type: typeURL, version: version)
    }
    append(.ack, who, what)
    handOverIfLarge()
  }

  /// Gives a client the name that its records have.
  func name(_ id: SPIFFEID, cluster: String) -> PieceNumbers.Name {
    numbers.name(AuditPiece(spiffeID: id, cluster: cluster), in: &batch)
  }

  func isKnown(_ name: PieceNumbers.Name) -> Bool { numbers.isKnown(name) }

  /// The client has another name now, or none.
  func release(_ name: PieceNumbers.Name) { numbers.release(name) }

  private func append(
    _ event: AuditRecord.Event, _ who: PieceNumbers.Name, _ what: PieceNumbers.Name
  ) {
    if stamped.map({ loop.now - $0 >= Scribe.sameTime }) ?? true {
      batch.begin(at: loop.wallClock)
      stamped = loop.now
    }
    batch.append(event, who, what)
    recorded &+= 1
  }

  // MARK: responses

  /// Records a delivery that will be made. Returns the number of the record; it leaves when so many are `written`.
  func announce(_ what: PieceNumbers.Name, to who: PieceNumbers.Name) -> UInt64 {
    append(.deliver, who, what)
    mustHandOver = true
    return recorded
  }

  /// Records a delivery and keeps the response until the record is written; then `stream` is given it back.
  func hold(
    _ response: StreamResponse, of view: @autoclosure () -> View, for stream: ClientStream,
    who: PieceNumbers.Name
  ) {
    append(.deliver, who, name(response.typeURL, response.version, response.view, view))
    mustHandOver = true
    held.append(response, for: stream, record: recorded)
    handOverIfLarge()
  }

  /// Names what a view has of a type.
  func name(_ typeURL: String, _ version: String, _ view: View) -> PieceNumbers.Name {
    name(typeURL, version, view.number) { view }
  }

  private func name(
    _ typeURL: String, _ version: String, _ number: UInt64, _ view: () -> View
  ) -> PieceNumbers.Name {
    delivered.name(of: typeURL, version, in: number, &numbers, &batch) {
      let view = view()
      // A part of a view (names, a withdrawal) has a version of its own: the whole one is in a `publish`.
      let type = Scribe.type(named: typeURL)
      let whole = type.map { view.content(of: $0).versionText }
      return AuditPiece(type: typeURL, version: version, view: whole, sequence: view.position.sequence)
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
    while let stream = ready.nextStream {
      if let socket = ready.approaching { loop.approach(socket) }
      guard let connection = stream.connection else {
        stream.drop(ready.takeNext())
        continue
      }
      // Responses of one client in a row share its records of TLS.
      connection.batch {
        stream.release(ready.takeNext())
        while let following = ready.nextStream, following === stream || following.connection === connection {
          following.release(ready.takeNext())
        }
      }
    }
    ready.removeAll()
    if ready.capacity > released.capacity { released = ready }
    guard !stalled.isEmpty, !lane.isFull else { return }
    let waiting = stalled
    stalled = []
    for stream in waiting { stream.resume() }
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
    if batch.byteCount >= Scribe.batchBytes { handOver() }
  }

  private func endTurn() {
    if mustHandOver { handOver() }
  }

  /// Gives everything recorded so far to the writer. Call every second at the least: nothing else sees to ACKs.
  func handOver() {
    guard !batch.isEmpty else { return }
    let isAwaited = mustHandOver
    mustHandOver = false
    stamped = nil
    let first = recorded &- UInt64(batch.count)
    let fits = lane.hand(&batch, isAwaited: isAwaited)
    guard !fits else { return numbers.reuseReleased() }
    numbers.startAnew()
    // Lost and counted: a delivery without a record does not leave, and its stream with it.
    deny(after: first)
    onLoss?(first)
  }

  private func deny(after record: UInt64) {
    let kept = held.takeFirst(held.entries.prefix { $0.record <= record }.count)
    var denied = held
    held = kept
    while let stream = denied.nextStream { stream.deny(denied.takeNext()) }
  }
}

/// What is said of content, with one number for all who are given it.
private struct PieceMemory {
  private struct Content: Hashable {
    let typeURL: String
    let version: String
    /// Number of the view it is said of: in another one the same may stand elsewhere, or be a part of something else.
    let view: UInt64
  }

  private struct Entry {
    let content: Content
    let name: PieceNumbers.Name
  }

  private var entries: [Content: Entry] = [:]
  /// A push says the same of one type to everybody.
  private var newest: Entry?

  /// Pieces remembered. Reason: 200 bytes each; when full it starts anew.
  private static let piecesMost = 1024

  mutating func name(
    of typeURL: String, _ version: String, in view: UInt64, _ numbers: inout PieceNumbers,
    _ batch: inout AuditBatch, make: () -> AuditPiece
  ) -> PieceNumbers.Name {
    if let newest, newest.content.view == view, newest.content.version == version,
      newest.content.typeURL == typeURL,
      numbers.isKnown(newest.name)
    {
      return newest.name
    }
    let content = Content(typeURL: typeURL, version: version, view: view)
    if let known = entries[content], numbers.isKnown(known.name) {
      newest = known
      return known.name
    }
    if entries.count >= PieceMemory.piecesMost {
      for entry in entries.values { numbers.release(entry.name) }
      entries = [:]
    }
    let entry = Entry(content: content, name: numbers.name(make(), in: &batch))
    entries[content] = entry
    newest = entry
    return entry.name
  }
}
