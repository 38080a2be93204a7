// The descent, driven from here: one stream of one client, in any dialect. A new view or a request goes in,
// responses come out when the client can take them. What to send is decided by its source role; this file
// only asks it again whenever something changed: a request, a view, a drained call, a deadline.

import GRPC
import Gates
import Primitives
import Ring
import Snapshots
import Transport

final class ClientStream: CallHandler, TimerHandler {
  let call: Call
  let dialect: Dialect
  /// Of its connection, for who fetches memory ahead.
  let socket: SocketID?
  private var role: SourceRole
  private let loop: EventLoop
  /// Nil when the call is over. Not weak: this is asked several times for each response.
  private var client: Client?
  private var timer = TimerID.none
  private var armedFor: Instant?
  private var pushes: PushClock
  /// When the newest view reached this loop.
  private var viewArrivedAt: Instant
  /// Set while something this client may no longer have was not taken away yet.
  private var withdrawal: Withdrawal?
  /// Nil: no audit is kept.
  private let scribe: Scribe?
  /// Something was handed to the call since it drained. While nothing was, nobody asks how much of it is left: the
  /// answer lies far away in memory.
  private var mayHaveUnsent = false
  /// Responses that wait for their record, and their bytes.
  private var held = (count: 0, bytes: 0)
  /// Will be asked again when records can be made.
  private var isStalled = false
  /// There may be more to send than there was room for.
  private var isCrowded = false
  /// Its client's loop knows that it waits for newer content only.
  private var isAtRest = false
  /// The loop's number of the types it wants, and how many those are.
  private var interest: (number: Int, types: Int)?
  /// Responses that have their records already; nil outside of `push`.
  private var forecast: Forecast?

  private struct Withdrawal {
    let timer: TimerID
    /// Every response that takes something away is queued on the call.
    var isQueued = false
  }

  private enum Tag: Int { case next, withdrawal }

  /// How long taking away may last. Reason: the promise that a grant that ends is gone at once.
  private static let withdrawalMost: Duration = .seconds(1)

  /// Bytes queued on a call beyond which no further response is asked for: the client is behind, and
  /// what it is given next should be the newest then. Small answers still share records.
  private static let queuedBytesMost = 64 * 1024
  /// Responses that wait for their records at once. Reason: as many types as a client asks for in one breath.
  private static let heldMost = 64

  init(_ call: Call, dialect: Dialect, client: Client, loop: EventLoop, limits: Limits) {
    self.call = call
    self.dialect = dialect
    self.client = client
    self.loop = loop
    scribe = client.scribe
    role = SourceRole(dialect, limits: limits)
    pushes = PushClock(now: loop.now)
    viewArrivedAt = loop.now
    socket = client.connection.socketID
    client.connection.surround(with: self, lines: 12)
    client.connection.surround(with: call, lines: 3)
    call.accept()
    // Says nothing but that we are here; no configuration leaves anywhere but in `pump`.
    if let greeting = role.greeting {
      mayHaveUnsent = true
      call.send(head: greeting)
    }
  }

  /// What the client calls itself; a label, never proof.
  var nodeID: String { role.nodeID ?? "" }
  var nodeMetadata: [UInt8] { role.nodeMetadata }

  /// What it has told its client, for whoever asks.
  func description(room: inout Int) -> StreamDescription {
    StreamDescription(nodeID: nodeID, dialect: dialect.name, subscriptions: role.details(room: &room))
  }

  var subscriptions: [SubscriptionFacts] {
    role.status.map { type in
      SubscriptionFacts(
        typeURL: type.typeURL, sent: type.sent, acknowledged: type.acked,
        rejections: type.nacks, lastRejection: type.lastNack)
    }
  }

  /// `narrows`: the view takes something away that the last one showed. If that cannot be written in time
  /// the stream ends instead.
  func update(_ view: View, narrows: Bool = false) {
    role.update(view)
    viewArrivedAt = loop.now
    if narrows, call.isOpen {
      // The first of several keeps its deadline.
      let timer =
        withdrawal?.timer
        ?? loop.schedule(at: loop.now + ClientStream.withdrawalMost, self, tag: Tag.withdrawal.rawValue)
      withdrawal = Withdrawal(timer: timer)
    }
    pump()
  }

  /// A response has waited too long for its answer.
  var isLagging: Bool { role.isLagging(now: loop.now) }

  func call(_ call: Call, received message: [UInt8]) {
    pushes.asked(at: loop.now)
    do throws(StreamFault) {
      try role.receive(message, now: loop.now)
    } catch {
      return end(error)
    }
    client?.requested(dialect)
    pump()
  }

  func callAccepted(_ call: Call) {}

  func callHalfClosed(_ call: Call) {
    // A client that will never acknowledge again has no use for more.
    call.finish(.ok)
  }

  func callDrained(_ call: Call) {
    mayHaveUnsent = call.unsentBytes > 0
    if withdrawal?.isQueued == true { withdrew() }
    pump()
  }

  func callEnded(_ call: Call, _ status: GRPCStatus) {
    loop.cancel(timer)
    withdrew()
    if let interest { client?.leave(interest: interest.number) }
    interest = nil
    client?.ended(self, status)
    client = nil
  }

  func timerFired(_ id: TimerID, tag: Int) {
    guard tag != Tag.withdrawal.rawValue else { return endWithdrawal() }
    armedFor = nil
    role.deadlinePassed(now: loop.now)
    pump()
  }

  private var mayDeliver: Bool {
    call.isOpen && held.count < ClientStream.heldMost
      && (mayHaveUnsent ? call.unsentBytes : 0) + held.bytes < ClientStream.queuedBytesMost && !isStalled
  }

  /// Sends what may be sent, reports what happened, and arms the next deadline.
  private func pump() {
    // What was asked stands on record before what was answered.
    while let event = role.nextEvent() { noted(event) }
    do throws(StreamFault) {
      isCrowded = true
      while mayDeliver, !stallsForRecords {
        guard let response = try role.nextResponse(now: loop.now) else {
          isCrowded = false
          withdrawal?.isQueued = held.count == 0
          break
        }
        pushes.delivering(response, arrivedAt: viewArrivedAt)
        client?.delivering(response, dialect)
        send(response)
      }
    } catch {
      end(error)
    }
    if withdrawal?.isQueued == true, call.unsentBytes == 0 { withdrew() }
    rearm()
    if scribe != nil { settle() }
  }

  /// Tells the loop whether the next push has to ask this stream.
  private func settle() {
    let rests =
      role.isAtRest && !isCrowded && !isStalled && held.count == 0 && withdrawal == nil && !mayHaveUnsent
      && call.isOpen
    guard rests != isAtRest, let client else { return }
    isAtRest = rests
    if rests, interest?.types != role.typeCount {
      if let interest { client.leave(interest: interest.number) }
      interest = (client.enter(role.typeURLs), role.typeCount)
      client.forgetStream()
    }
    if let interest { client.rests(rests, interest: interest.number) }
  }

  /// `update`, when what the new view says to it is on record already. What is not gets a record of its own.
  func push(_ view: View, _ forecast: Forecast, arrivedAt: Instant) {
    role.update(view)
    viewArrivedAt = arrivedAt
    // Not past a response that waits.
    self.forecast = held.count == 0 ? forecast : nil
    pump()
    self.forecast = nil
  }

  // MARK: records

  /// At once, or as soon as its record is written.
  private func send(_ response: StreamResponse) {
    guard let scribe, forecast?.holds(response) != true else {
      return hand(HeldMessage(head: response.head[...], body: response.body))
    }
    // Without a client there is nobody to have it.
    guard let client else { return }
    held.count += 1
    held.bytes += response.byteCount
    scribe.hold(response, of: role.view, for: self, who: client.name(for: scribe))
  }

  private func hand(_ message: HeldMessage) {
    mayHaveUnsent = true
    call.send(head: message.head, body: message.body)
  }

  /// No further record can be made now: the stream is asked again when one can.
  private var stallsForRecords: Bool {
    guard let scribe, scribe.isFull else { return false }
    isStalled = true
    scribe.stall(self)
    return true
  }

  var connection: Connection? { client?.connection }

  /// Its record is written: it may leave.
  func release(_ message: HeldMessage) {
    drop(message)
    guard call.isOpen else { return }
    hand(message)
    // Otherwise nothing has changed since it was last asked.
    if held.count == 0, isCrowded || withdrawal != nil { pump() }
  }

  /// Nobody is left to have it.
  func drop(_ message: HeldMessage) {
    held.count -= 1
    held.bytes -= message.byteCount
  }

  /// Its record is lost: what is not on record does not leave, and the stream cannot go on without it.
  func deny(_ message: HeldMessage) {
    drop(message)
    deny()
  }

  func deny() {
    guard call.isOpen else { return }
    client?.couldNotRecord()
    end(GRPCStatus(.unavailable, "the delivery cannot be recorded: try again later"), atOnce: true)
  }

  /// Records can be made again.
  func resume() {
    isStalled = false
    if call.isOpen { pump() }
  }

  private func noted(_ event: StreamEvent) {
    if case .acknowledged(let typeURL, let version) = event,
      let time = pushes.acknowledged(typeURL, version, at: loop.now)
    {
      client?.pushed(within: time)
    }
    client?.noted(event, dialect)
  }

  /// All of it has been handed on, or there is nobody left to take it from.
  private func withdrew() {
    if let withdrawal { loop.cancel(withdrawal.timer) }
    withdrawal = nil
  }

  private func endWithdrawal() {
    withdrawal = nil
    guard call.isOpen else { return }
    client?.couldNotWithdraw()
    end(
      GRPCStatus(.unavailable, "what policy no longer grants could not be withdrawn in time"), atOnce: true)
  }

  private func end(_ error: StreamFault) {
    client?.brokeProtocol(error.message)
    end(GRPCStatus(StatusCode(rawValue: error.code) ?? .unknown, error.message), atOnce: false)
  }

  /// `atOnce`: what is queued goes nowhere any more.
  private func end(_ status: GRPCStatus, atOnce: Bool) {
    if dialect.isDialled {
      // A client has no status to give its server; the owner of the dial hears the reason.
      client?.gaveUp(status)
      call.cancel()
    } else if atOnce {
      call.cutShort(status)
    } else {
      call.finish(status)
    }
  }

  private func rearm() {
    // A call that is full or over has no use for a deadline: it would fire again and again without effect.
    // One that is full is asked again when it drains.
    let deadline = mayDeliver ? role.nextDeadline() : nil
    guard deadline != armedFor else { return }
    loop.cancel(timer)
    armedFor = deadline
    timer = deadline.map { loop.schedule(at: $0, self, tag: Tag.next.rawValue) } ?? .none
  }
}
