// A sink of the classic protocol that we dial, for Pilots that wait for their source to call. Once it has
// answered and proved who it is, it is a client like any other: policy judges its verified identity, and its
// view, withdrawals, expiry and status are those of `Client`. This file only gets it there and back again.
//
//   idle ─► dialling ─verified, granted─► serving ─ended─► waiting ─► dialling …
//               └────failed, refused────────────────────────┘
//
// The control loop hands the list down; each sink belongs to one serve loop.

import GRPC
public import Primitives
import Ring
public import SPIFFE
import TLS
public import Transport
import Trust

/// A sink as configuration names it.
public struct SinkPlan: Sendable, Hashable {
  public var endpoint: Endpoint
  /// Who must answer.
  public var peer: SPIFFEPattern

  public init(endpoint: Endpoint, peer: SPIFFEPattern) {
    self.endpoint = endpoint
    self.peer = peer
  }
}

/// A sink and the serve loop it belongs to, by index.
public struct SinkAssignment: Sendable, Equatable {
  public var plan: SinkPlan
  public var loop: Int

  public init(plan: SinkPlan, loop: Int) {
    self.plan = plan
    self.loop = loop
  }
}

/// How far we have come with a sink.
public struct SinkFacts: Sendable, Equatable {
  public enum State: String, Sendable {
    /// Not reached yet.
    case connecting
    /// Its stream is open.
    case serving
    /// It is who it should be, and policy grants it nothing.
    case refused
    /// It cannot be reached, is somebody else, or has ended its stream.
    case failed
  }

  public let plan: SinkPlan
  public fileprivate(set) var state: State
  public fileprivate(set) var since: Timestamp
  /// Why it is not served; nil while it is.
  public fileprivate(set) var lastError: String?
}

final class DialledSink: DialerOwner, TimerHandler {
  private enum State {
    /// Nothing to dial with, or nothing to serve, yet.
    case idle
    case dialling(Dial)
    case serving(Dial, Connection)
    case waiting(TimerID)
    case stopped
  }

  let plan: SinkPlan
  private(set) var facts: SinkFacts
  private unowned let serving: ServeLoop
  private var state = State.idle
  private var backoff = Backoff()
  private var generator: SeededGenerator
  private var peer: VerifiedPeer?
  /// Why the stream ended, when more is known than that the connection is gone.
  private var lastWords: String?

  init(_ plan: SinkPlan, serving: ServeLoop, seed: UInt64) {
    self.plan = plan
    self.serving = serving
    generator = SeededGenerator(seed: seed)
    facts = SinkFacts(plan: plan, state: .connecting, since: serving.loop.wallClock)
  }

  // MARK: commands

  /// Something changed that a try may have failed for: credentials, rules, the first generation.
  func lookAgain() {
    switch state {
    case .idle: dial()
    case .waiting(let timer):
      serving.loop.cancel(timer)
      dial()
    case .dialling, .serving, .stopped: break
    }
  }

  /// No longer in the list, or the relay is shutting down. Nothing is heard of it afterwards.
  func stop() {
    let before = state
    state = .stopped
    switch before {
    case .idle, .stopped: break
    case .dialling(let dial): dial.cancel()
    case .waiting(let timer): serving.loop.cancel(timer)
    case .serving(let dial, let connection):
      let reason = ConnectionEnd.closedHere(GRPCStatus(.cancelled, "no longer served"))
      dial.cancel()
      connection.close(reason)
      serving.connectionClosed(connection, reason)
    }
  }

  /// It has asked for something: it works.
  func answered() { backoff.reset() }

  /// Its stream is over, or is about to be, for this reason.
  func streamEnds(_ reason: String) { lastWords = lastWords ?? reason }

  /// Without its stream the connection is of no use.
  func streamEnded(_ status: GRPCStatus) {
    streamEnds("its stream ended: \(status)")
    guard case .serving(_, let connection) = state else { return }
    connection.close(.closedHere(GRPCStatus(.cancelled, "its stream is over")))
  }

  // MARK: dialling

  private func dial() {
    guard serving.mayDialSinks else { return }
    peer = nil
    lastWords = nil
    do throws(TLSError) {
      guard
        let context = try serving.trust.contextToDial({ [weak self] chain in
          self?.judge(chain) ?? .reject(.accessDenied, reason: "no longer served")
        })
      else { return awaitSVID() }
      let name = plan.endpoint.literal == nil ? plan.endpoint.host : nil
      let dial = Dial(
        plan.endpoint, security: .tls(context, serverName: name), resolver: serving.resolver,
        loop: serving.loop, limits: serving.limits, memory: serving.memory,
        handshook: { [weak serving] end in serving?.handshook(end) })
      state = .dialling(dial)
      dial.start(self)
    } catch {
      fail(error.description)
    }
  }

  /// There is one, and it was taken back: a new one is what the next try waits for.
  private func awaitSVID() {
    state = .idle
    become(.failed, "not dialled, because the SPIFFE agent took our SVID back")
  }

  private func judge(_ chain: [Certificate]) -> TLSVerdict {
    do throws(VerificationFailure) {
      peer = try serving.trust.verify(chain, dialledAs: plan.peer)
      return .accept
    } catch {
      return error.verdict
    }
  }

  func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) { fail(reasons.joined(separator: "; ")) }

  func connectionVerified(_ connection: Connection) {
    // What it sends are requests, whoever dialled.
    connection.messageBytes = serving.limits.requestBytes
  }

  func connectionReady(_ connection: Connection) {
    guard case .dialling(let dial) = state, let peer else { return }
    // What it would still take, another instance of it can take.
    connection.onGoAway = { [weak self, weak connection] _ in
      self?.streamEnds("the sink is going away")
      connection?.close(.closedHere(GRPCStatus(.cancelled, "the sink is going away")))
    }
    switch serving.enter(connection, peer, sink: self) {
    case .entered(let client):
      state = .serving(dial, connection)
      become(.serving, nil)
      client.openSink(authority: plan.endpoint.description)
    case .refused(let reason): fail(reason, as: .refused)
    }
  }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    nil
  }

  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    switch state {
    case .serving(_, let current) where current === connection:
      serving.connectionClosed(connection, reason)
      fail(lastWords ?? reason.description)
    case .dialling: fail(reason.description)
    case .idle, .waiting, .serving, .stopped: break
    }
  }

  // MARK: trying again

  private func fail(_ reason: String, as next: SinkFacts.State = .failed) {
    let before = state
    let pause = backoff.wait(&generator)
    state = .waiting(serving.loop.schedule(at: serving.loop.now + pause, self, tag: 0))
    become(next, reason)
    if case .dialling(let dial) = before { dial.cancel() }
  }

  private func become(_ next: SinkFacts.State, _ error: String?) {
    // A sink that is away is away for a while: said once, not at every try.
    if next != facts.state || error != facts.lastError, let error {
      serving.note(.sinkFailed(address: plan.endpoint.description, reason: error))
    }
    if next != facts.state { facts.since = serving.loop.wallClock }
    facts.state = next
    facts.lastError = error
  }

  func timerFired(_ id: TimerID, tag: Int) {
    guard case .waiting = state else { return }
    state = .idle
    dial()
  }
}
