// What one serve loop records, and what waits for its record: a response leaves only after its `deliver` is in the
// log (docs/audit.md). The loop never waits: records go to the writer once per turn, responses are kept here in order,
// and the writer's wake lets them go. A lane that is full stops what would begin anew, never what ends a grant.

import Audit
import Primitives
import Ring
import SPIFFE
import Snapshots
import Transport

final class Scribe {
  private struct Held {
    /// Number of its record within this loop.
    let record: UInt64
    let stream: ClientStream
    let response: StreamResponse
  }

  private struct Name: Hashable {
    let typeURL: String
    let version: String
  }

  private let lane: AuditLane
  private let loop: EventLoop
  /// Records of this turn.
  private var batch = AuditBatch()
  /// Records since the start, this turn's included.
  private var recorded: UInt64 = 0
  /// Oldest first; those before `next` have left.
  private var held: [Held] = []
  private var next = 0
  /// Streams that had something to say while the lane was full.
  private var stalled: [ClientStream] = []
  /// The same content goes to many clients: what is said of it is encoded once. By view number.
  private var delivered: [Name: (view: UInt64, piece: AuditPiece)] = [:]
  private var acknowledged: [Name: AuditPiece] = [:]
  private var refusals = RefusalMeter()

  /// Handed over before the turn ends. Reason: the writer works while the loop goes on.
  private static let batchBytes = 64 * 1024
  /// Pieces remembered. Reason: 200 bytes each; when full it starts anew.
  private static let piecesMost = 1024

  init(_ lane: AuditLane, loop: EventLoop) {
    self.lane = lane
    self.loop = loop
    lane.attach(loop.waker)
    loop.onTurnEnd = { [weak self] in self?.handOver() }
  }

  /// Nothing may begin that needs a record.
  var isFull: Bool { lane.isFull }

  // MARK: records

  func record(_ record: AuditRecord) {
    batch.append(record, at: loop.wallClock)
    recorded &+= 1
    handOverIfLarge()
  }

  /// A peer was turned away: some of an identity's are recorded, the rest is counted.
  func recordRefusal(_ record: AuditRecord) {
    let who = record.spiffeID?.description ?? ""
    guard let omitted = refusals.admit(who, record, at: loop.now) else { return }
    var record = record
    record.omitted = omitted
    self.record(record)
  }

  /// Says how many refusals were left out, as far as nobody else will. Call every second; `all` at the end.
  func settleRefusals(all: Bool = false) {
    for record in refusals.settle(at: all ? .distantFuture : loop.now) { self.record(record) }
  }

  func acknowledged(_ typeURL: String, _ version: String, by who: AuditPiece) {
    let name = Name(typeURL: typeURL, version: version)
    let what: AuditPiece
    if let known = acknowledged[name] {
      what = known
    } else {
      what = AuditPiece(type: typeURL, version: version)
      if acknowledged.count >= Scribe.piecesMost { acknowledged = [:] }
      acknowledged[name] = what
    }
    batch.append(.ack, who, what, at: loop.wallClock)
    recorded &+= 1
    handOverIfLarge()
  }

  // MARK: responses

  /// Records a delivery and keeps the response until the record is written; then `stream` is given it back.
  func hold(_ response: StreamResponse, of view: View, for stream: ClientStream, who: AuditPiece) {
    batch.append(.deliver, who, what(response, view), at: loop.wallClock)
    recorded &+= 1
    held.append(Held(record: recorded, stream: stream, response: response))
    handOverIfLarge()
  }

  private func what(_ response: StreamResponse, _ view: View) -> AuditPiece {
    let name = Name(typeURL: response.typeURL, version: response.version)
    if let known = delivered[name], known.view == view.number { return known.piece }
    // A part of a view (names, a withdrawal) has a version of its own: the whole one is in a `publish`.
    let type = Scribe.type(named: response.typeURL)
    let whole = type.map { (view.collections[$0] ?? .empty).version.description }
    let piece = AuditPiece(
      type: response.typeURL, version: response.version, view: whole, sequence: view.position.sequence)
    if delivered.count >= Scribe.piecesMost { delivered = [:] }
    delivered[name] = (view.number, piece)
    return piece
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
    let committed = lane.committed
    while next < held.count, held[next].record <= committed {
      guard let connection = held[next].stream.connection else {
        held[next].stream.drop(held[next].response)
        next += 1
        continue
      }
      // Responses of one client in a row share its records of TLS.
      connection.batch {
        while next < held.count, held[next].record <= committed, held[next].stream.connection === connection {
          let entry = held[next]
          next += 1
          entry.stream.release(entry.response)
        }
      }
    }
    if next == held.count || next > 4096 {
      held.removeFirst(next)
      next = 0
    }
    guard !stalled.isEmpty, !lane.isFull else { return }
    let waiting = stalled
    stalled = []
    for stream in waiting { stream.resume() }
  }

  // MARK: handing over

  private func handOverIfLarge() {
    if batch.bytes.count >= Scribe.batchBytes { handOver() }
  }

  /// Gives this turn's records to the writer.
  func handOver() {
    guard !batch.isEmpty else { return }
    let first = recorded &- UInt64(batch.count)
    let fits = lane.hand(batch)
    batch = AuditBatch()
    // Lost and counted: a delivery without a record does not leave, and its stream with it.
    if !fits { deny(after: first) }
  }

  private func deny(after record: UInt64) {
    let denied = held[next...].filter { $0.record > record }
    held.removeAll { $0.record > record }
    for entry in denied { entry.stream.deny(entry.response) }
  }
}
