// A control plane of the simulation: dials edges over the production transport, asks for everything in one
// of the dialects, keeps what it was given over reconnects, answers late and sometimes no.

import GRPC
import Primitives
import Ring
import SPIFFE
import TLS
import Transport
import Trust

/// What the world wants to hear of its clients.
protocol ClientOwner: AnyObject {
  func client(_ client: SimulatedClient, opened stream: Int)
  func client(_ client: SimulatedClient, received answer: Answer, isAccepted: Bool)
  /// A message that no client could read.
  func client(_ client: SimulatedClient, cannotRead message: [UInt8])
  func client(_ client: SimulatedClient, ended status: String)
}

/// One client host.
final class SimulatedClient: DialerOwner, CallHandler, TimerHandler {
  /// How it treats what it gets.
  struct Manners {
    /// Share of answers it refuses: 0 … 1.
    var refusals = 0.0
    /// Acknowledgements are sent up to this late. More than ten seconds is more than a relay waits.
    var slowness: Duration = .zero

    static let kind = Manners()
  }

  let host: String
  let cluster: String
  let dialect: TalkDialect
  /// The edges it dials, in turn.
  let edges: [String]
  var manners: Manners
  private(set) var talk: DiscoveryTalk
  /// Counts streams; 0 before the first.
  private(set) var stream = 0
  /// The edge of the present try.
  private(set) var edge: String
  private(set) var call: Call?
  /// Redials when it loses its stream.
  private var persists = true
  private let network: SimulatedNetwork
  let loop: EventLoop
  private let limits: Limits
  private let memory = LoopMemory()
  private let resolver: Resolver
  private let credentials: Credentials
  private unowned let owner: any ClientOwner
  private var dial: Dial?
  private var connection: Connection?
  private var attempts = 0
  private var redialTimer = TimerID.none
  private var replies: [Int: (call: Call, bytes: [UInt8])] = [:]
  private var nextReply = 1
  private static let redialTag = 0

  init(
    host: String, cluster: String, dialect: TalkDialect, edges: [String], manners: Manners,
    network: SimulatedNetwork, limits: Limits, owner: any ClientOwner
  ) {
    self.host = host
    self.cluster = cluster
    self.dialect = dialect
    self.edges = edges
    self.manners = manners
    self.network = network
    self.limits = limits
    self.owner = owner
    edge = edges[0]
    talk = DiscoveryTalk(dialect: dialect, node: host, held: [:])
    loop = EventLoop(driver: SimulatedDriver(network: network, host: host))
    resolver = Resolver(worker: InlineWorker(), limits: limits, wake: loop.waker)
    credentials = Identities.credentials(cluster, host)
  }

  // MARK: commands

  func start() { connect() }

  /// Hangs up, as a control plane that restarts its stream.
  func reconnect() { lost("hung up") }

  /// Keeps its stream but does not dial again.
  func retire() {
    persists = false
    loop.cancel(redialTimer)
  }

  var id: SPIFFEID { credentials.svid.id }

  /// What it holds of a type now: wire name → revision; nil for what could not be read.
  func held(_ kind: SimulatedKind) -> [String: Int?] {
    talk.held[kind.typeURL, default: [:]].mapValues(\.revision)
  }

  // MARK: connecting

  private func connect() {
    edge = edges[attempts % edges.count]
    attempts += 1
    guard
      let endpoint = Endpoint(network.address(of: edge, port: SimulatedRelay.port).description)
    else { preconditionFailure("a simulated host has no usable address") }
    do throws(TLSError) {
      let context = try TLSContext(
        role: .client, chain: credentials.svid.chain, key: credentials.svid.key,
        verifier: { [weak self] chain in
          self?.judge(chain) ?? .reject(.accessDenied, reason: "the client is gone")
        })
      let dial = Dial(
        endpoint, security: .tls(context, serverName: nil), resolver: resolver, loop: loop, limits: limits,
        memory: memory)
      self.dial = dial
      dial.start(self)
    } catch {
      preconditionFailure("a simulated client has no usable certificate: \(error)")
    }
  }

  private func judge(_ chain: [Certificate]) -> TLSVerdict {
    do throws(VerificationFailure) {
      _ = try verifyPeer(chain: chain, bundles: credentials.bundles, at: loop.wallClock, role: .server)
        .authorized(as: Identities.pattern(Identities.id("edge", edge)))
      return .accept
    } catch {
      return error.verdict
    }
  }

  func connectionVerified(_ connection: Connection) {}

  func connectionReady(_ connection: Connection) {
    self.connection = connection
    stream += 1
    talk = DiscoveryTalk(dialect: dialect, node: host, held: talk.held)
    owner.client(self, opened: stream)
    let requests = talk.firstRequests
    call = connection.open(path: dialect.path, authority: edge, self)
    connection.batch { for request in requests { call?.send(head: request) } }
  }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead)
    -> (any CallHandler)?
  { nil }

  func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) {
    lost(reasons.joined(separator: "; "))
  }

  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    if connection === self.connection { lost(reason.what) }
  }

  /// The present try is over, however far it came.
  private func lost(_ reason: String) {
    guard let ending = dial else { return }
    let connection = connection
    dial = nil
    call = nil
    self.connection = nil
    replies = [:]
    owner.client(self, ended: reason)
    connection?.close(.closedHere(GRPCStatus(.cancelled, "done with this stream")))
    ending.cancel()
    guard persists else { return }
    let pause = network.generator.jittered(.seconds(1), spread: 0.8)
    redialTimer = loop.schedule(at: loop.now + pause, self, tag: SimulatedClient.redialTag)
  }

  // MARK: the stream

  func callAccepted(_ call: Call) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}

  func callEnded(_ call: Call, _ status: GRPCStatus) {
    if call === self.call { lost("\(status)") }
  }

  func call(_ call: Call, received message: [UInt8]) {
    guard call === self.call else { return }
    guard let answer = talk.read(message) else { return owner.client(self, cannotRead: message) }
    // A client that refuses to give up what it may no longer have is ended: another test's business.
    let mayRefuse = answer.removed.isEmpty && !answer.upserts.isEmpty
    let isRefused =
      mayRefuse && manners.refusals > 0
      && Double.random(in: 0..<1, using: &network.generator) < manners.refusals
    owner.client(self, received: answer, isAccepted: !isRefused)
    let reply = isRefused ? talk.refuse(answer, reason: "simulated refusal") : talk.accept(answer)
    let most = manners.slowness.inNanoseconds
    let wait = most > 0 ? Int64.random(in: 0...most, using: &network.generator) : 0
    guard wait > 0 else { return call.send(head: reply) }
    replies[nextReply] = (call, reply)
    loop.schedule(at: loop.now + .nanoseconds(wait), self, tag: nextReply)
    nextReply += 1
  }

  func timerFired(_ id: TimerID, tag: Int) {
    if tag == SimulatedClient.redialTag { return connect() }
    if let (call, bytes) = replies.removeValue(forKey: tag) { call.send(head: bytes) }
  }
}
