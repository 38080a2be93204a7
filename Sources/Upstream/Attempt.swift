// One way to one address: dial it, see that it is who it must be, keep one stream open on it.
//
//   dialling ─verified, ready─► connected ─open─► streaming ─ended─► connected
//      └──────────────────────────────┴────────────── failed, closed ────► over
//
// Says what happened through one closure, at most once after it is over. Decides nothing: what the stream means,
// and whether to try again, is its owner's matter.

import GRPC
import Metrics
import Primitives
import Ring
import TLS
import Transport
import Trust

final class Attempt: DialerOwner, CallHandler {
  enum Event {
    /// The server is who it must be and takes streams.
    case ready
    case received([UInt8])
    /// The stream is over; the connection may be there still.
    case ended(GRPCStatus)
    /// Nothing more will come.
    case failed(String)
  }

  /// What every attempt of one subscription shares.
  struct Surroundings {
    let loop: EventLoop
    let limits: Limits
    let memory: LoopMemory
    let resolver: Resolver
    let minimumTLS: TLSVersion
    /// The least time between two pings.
    let pingSpacing: Duration
    /// Counts handshakes; nil: nobody does.
    let metrics: MetricShard?
  }

  let endpoint: Endpoint
  private let around: Surroundings
  private var trust: ServerTrust
  private var notify: ((Attempt, Event) -> Void)?
  private var dial: Dial?
  private var connection: Connection?
  private var call: Call?
  /// Until when the server is who it was found to be.
  private(set) var validUntil: Timestamp?
  /// Until when the server takes the SVID that we have shown.
  private(set) var ownEnd: Timestamp?

  /// When the first of both certificates ends.
  var endsAt: Timestamp? {
    guard let validUntil, let ownEnd else { return validUntil ?? ownEnd }
    return min(validUntil, ownEnd)
  }

  init(
    _ endpoint: Endpoint, trust: ServerTrust, around: Surroundings,
    notify: @escaping (Attempt, Event) -> Void
  ) {
    self.endpoint = endpoint
    self.trust = trust
    self.around = around
    self.notify = notify
  }

  // MARK: commands

  /// Begins; the owner may hear of the result before this returns.
  func start() {
    guard trust.credentials.withdrawnAt == nil else {
      return say(.failed("\(endpoint): not dialled, because the SPIFFE agent took our SVID back"))
    }
    ownEnd = trust.credentials.svid.notAfter
    do throws(TLSError) {
      let context = try TLSContext(
        role: .client, chain: trust.credentials.svid.chain, key: trust.credentials.svid.key,
        minimum: around.minimumTLS,
        verifier: { [weak self] chain in self?.judge(chain) ?? .reject(.accessDenied, reason: "stopped") })
      let dial = Dial(
        endpoint, security: .tls(context, serverName: serverName), resolver: around.resolver,
        loop: around.loop, limits: around.limits, memory: around.memory,
        handshook: { [metrics = around.metrics] end in
          let result = end.map { Metrics.HandshakeResult(rawValue: $0.handshakeResult) ?? .protocol }
          metrics?.add(to: .handshakes(result ?? .ok))
        })
      self.dial = dial
      dial.start(self)
    } catch {
      say(.failed(error.description))
    }
  }

  /// Opens the stream; false when the connection takes none.
  func open(path: String, requests: [[UInt8]]) -> Bool {
    guard let connection else { return false }
    let old = call
    call = nil
    old?.cancel()
    guard let next = connection.open(path: path, authority: endpoint.description, self) else { return false }
    call = next
    connection.batch {
      for request in requests { next.send(head: request) }
    }
    return true
  }

  func send(_ request: [UInt8]) { call?.send(head: request) }

  /// Judges the server by what is known now. Nil: it is who it must be.
  func judgeAgain(by trust: ServerTrust) -> String? {
    self.trust = trust
    guard let connection else { return nil }
    switch trust.judge(connection.peerChain, at: around.loop.steadyWallClock) {
    case .good(let until):
      validUntil = until
      return nil
    case .bad(_, let reason): return "\(connection.peer): \(reason)"
    }
  }

  /// Ends everything; the owner hears no more.
  func close() {
    notify = nil
    call = nil
    dial?.cancel()
    dial = nil
    connection?.close(.closedHere(GRPCStatus(.cancelled, "no longer needed")))
    connection = nil
  }

  // MARK: from the connection

  /// What is asked for in the handshake: the host's own name where it is not the address.
  private var serverName: String? {
    if case .host(let name) = trust.expected { return name }
    return endpoint.literal == nil ? endpoint.host : nil
  }

  private func judge(_ chain: [Certificate]) -> TLSVerdict {
    switch trust.judge(chain, at: around.loop.steadyWallClock) {
    case .good(let until):
      validUntil = until
      return .accept
    case .bad(let verdict, _): return verdict
    }
  }

  func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) {
    say(.failed("\(endpoint): " + reasons.joined(separator: "; ")))
  }

  func connectionVerified(_ connection: Connection) { connection.pingSpacing = around.pingSpacing }

  func connectionReady(_ connection: Connection) {
    guard notify != nil else { return }
    self.connection = connection
    connection.onGoAway = { [weak self, weak connection] debug in
      guard let self, let connection else { return }
      // What it would still say, another one can say.
      say(.failed("\(connection.peer): \(ConnectionEnd.goneAway(debug: debug).what)"))
    }
    say(.ready)
  }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    nil
  }

  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    // Also one that was verified, and gone before a call could be opened.
    say(.failed("\(connection.peer): \(reason.description)"))
  }

  // MARK: from the stream

  func callAccepted(_ call: Call) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}

  func call(_ call: Call, received message: [UInt8]) {
    if call === self.call { say(.received(message)) }
  }

  func callEnded(_ call: Call, _ status: GRPCStatus) {
    guard call === self.call else { return }
    self.call = nil
    say(.ended(status))
  }

  private func say(_ event: Event) {
    guard let ownEnd, ownEnd < around.loop.steadyWallClock else {
      notify?(self, event)
      return
    }
    // Whatever the server calls it, this is the reason.
    let reason = "our own SVID expired at \(ownEnd.rfc3339)"
    switch event {
    case .failed(let words): notify?(self, .failed("\(words); \(reason)"))
    case .ended(let status): notify?(self, .ended(GRPCStatus(status.code, "\(status.message); \(reason)")))
    case .ready, .received: notify?(self, event)
    }
  }
}
