// The stream to the SPIFFE Workload API: dial the agent, ask for our SVIDs, hear of every rotation, and begin
// again when it ends. Source: SPIFFE Workload API sections 5 and 6, Workload Endpoint sections 4 and 6.
//
//     idle ─start─► dialling ─ready─► asking ─answer─► following
//       ▲              │failed          │ended, silent     │ended
//       └──stop────────┴──────► waiting ◄──────────────────┘   (after `following`: the first try is at once)
//
// Every request carries `workload.spiffe.io: true`; without it agents refuse. What is offered goes up as it
// came. What was taken from an earlier answer is not this file's business: an agent that is away takes nothing away,
// one that refuses an established stream does (decision 085).

public import GRPC
import Glibc
import HTTP2
public import Primitives
public import Ring
public import Transport

/// What the wiring hears of the agent. Called on the loop.
public protocol WorkloadClientOwner: AnyObject {
  /// The agent's newest full state.
  func workload(_ client: WorkloadClient, offered offer: WorkloadOffer)
  /// Nothing new can be had for now. Told again only when the reason changes.
  func workload(_ client: WorkloadClient, isInTrouble trouble: WorkloadTrouble)
}

public final class WorkloadClient: ConnectionOwner, CallHandler, TimerHandler {
  private enum State {
    case idle
    case dialling(Connection)
    case asking(Connection, Call)
    case following(Connection, Call)
    case waiting(TimerID)
  }

  private enum Tag: Int { case again, patience }

  static let path = "/SpiffeWorkloadAPI/FetchX509SVID"
  /// Without it agents answer INVALID_ARGUMENT.
  static let securityHeader = HeaderField(name: "workload.spiffe.io", value: "true")
  /// How long an agent may keep us waiting for its first answer. Reason: it attests us meanwhile, which takes
  /// seconds in a busy cluster.
  private static let patience: Duration = .seconds(30)
  /// A stream that ended after this long was most likely an agent's restart: the next try is at once.
  private static let longLife: Duration = .seconds(10)
  /// Waits between tries. Reason: an agent that starts listens within seconds; 30 s keep a dead one cheap.
  private static let waits: (first: Duration, longest: Duration) = (.seconds(1), .seconds(30))
  /// The wait after an answer that trying again does not change. Reason: the standard asks not to try again
  /// at all, but a relay outlives the agent's next upgrade.
  private static let longWait: Duration = .seconds(300)
  /// gRPC servers in Go end connections that ping more often than every 5 minutes.
  private static let pingInterval: Duration = .seconds(360)
  /// Bytes of one answer. Reason: bundles of hundreds of trust domains fit.
  private static let messageBytes = 16 * 1024 * 1024

  public let endpoint: SocketAddress
  private let loop: EventLoop
  private let limits: Limits
  private let memory = LoopMemory()
  private weak var owner: (any WorkloadClientOwner)?
  private var state = State.idle
  private var wait = WorkloadClient.waits.first
  private var generator: SeededGenerator
  private var patience = TimerID.none
  private var askedAt: Instant
  /// Told to the owner and not mended since.
  public private(set) var trouble: WorkloadTrouble?

  public init(
    _ endpoint: SocketAddress, loop: EventLoop, limits: Limits, seed: UInt64, owner: any WorkloadClientOwner
  ) {
    self.endpoint = endpoint
    self.loop = loop
    self.owner = owner
    var limits = limits
    limits.idle = WorkloadClient.pingInterval
    limits.messageBytes = WorkloadClient.messageBytes
    self.limits = limits
    generator = SeededGenerator(seed: seed)
    askedAt = loop.now
  }

  // MARK: commands

  public func start() {
    if case .idle = state { dial() }
  }

  public func stop() {
    owner = nil
    end("no longer needed")
    state = .idle
  }

  // MARK: dialling

  private func dial() {
    do {
      let connection = try Connection(
        dialling: endpoint, security: .plaintext, loop: loop, limits: limits, memory: memory, owner: self)
      connection.wipesInput = true
      state = .dialling(connection)
    } catch {
      // Without TLS nothing can be refused before the socket is.
      fail(.unreachable(endpoint: endpoint.description, reason: error.description))
    }
  }

  public func connectionVerified(_ connection: Connection) {}

  public func connectionReady(_ connection: Connection) {
    guard case .dialling(connection) = state else { return }
    // The name that the standard has for a socket without one.
    let authority = endpoint.port == nil ? "localhost" : endpoint.description
    guard
      let call = connection.open(
        path: WorkloadClient.path, authority: authority, metadata: [WorkloadClient.securityHeader], self)
    else { return }
    state = .asking(connection, call)
    askedAt = loop.now
    patience = loop.schedule(at: loop.now + WorkloadClient.patience, self, tag: Tag.patience.rawValue)
    // The request has no fields.
    call.send(head: [])
    call.end()
  }

  public func connection(_ connection: Connection, opened call: Call, head: RequestHead)
    -> (any CallHandler)?
  { nil }

  public func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    switch state {
    case .dialling(let current) where current === connection:
      fail(.unreachable(endpoint: endpoint.description, reason: reason.what))
    case .asking(let current, _) where current === connection,
      .following(let current, _) where current === connection:
      fail(.ended(endpoint: endpoint.description, reason: reason.what))
    default: break
    }
  }

  // MARK: following

  public func callAccepted(_ call: Call) {}
  public func callHalfClosed(_ call: Call) {}
  public func callDrained(_ call: Call) {}

  public func call(_ call: Call, received message: [UInt8]) {
    switch state {
    case .asking(let connection, call): state = .following(connection, call)
    case .following(_, call): break
    default: return
    }
    loop.cancel(patience)
    wait = WorkloadClient.waits.first
    // There are keys in it, and nobody looks at it again: what is taken from it is copied.
    defer { unsafe message.withUnsafeBytes { unsafe wipe($0) } }
    do throws(WorkloadTrouble) {
      let offer = try WorkloadOffer(decoding: message)
      trouble = nil
      owner?.workload(self, offered: offer)
    } catch {
      // This answer is dropped; the next one may be whole.
      tell(error)
    }
  }

  public func callEnded(_ call: Call, _ status: GRPCStatus) {
    switch state {
    case .asking(_, call), .following(_, call): fail(meaning(of: status))
    default: break
    }
  }

  private func meaning(of status: GRPCStatus) -> WorkloadTrouble {
    switch status.code {
    case .permissionDenied:
      // After an answer on this very stream it is about that answer. Before one it may be an agent that has not
      // heard of our entry yet.
      if case .following = state {
        .withdrawn(user: getuid(), said: status.message)
      } else {
        .noEntry(user: getuid(), said: status.message)
      }
    case .invalidArgument, .unimplemented:
      .notWorkloadAPI(endpoint: endpoint.description, said: status.description)
    default: .ended(endpoint: endpoint.description, reason: ForeignText.line(status.description))
    }
  }

  // MARK: failing and trying again

  private func fail(_ trouble: WorkloadTrouble) {
    let pause = pause(after: trouble)
    end("trying again")
    state = .waiting(loop.schedule(at: loop.now + pause, self, tag: Tag.again.rawValue))
    tell(trouble)
  }

  private func pause(after trouble: WorkloadTrouble) -> Duration {
    if case .notWorkloadAPI = trouble { return generator.jittered(WorkloadClient.longWait, spread: 0.2) }
    if case .following = state, loop.now - askedAt > WorkloadClient.longLife {
      return generator.jittered(.milliseconds(50), spread: 0.5)
    }
    defer { wait = min(wait * 1.6, WorkloadClient.waits.longest) }
    return generator.jittered(wait, spread: 0.2)
  }

  private func end(_ reason: String) {
    loop.cancel(patience)
    let previous = state
    state = .idle
    let status = GRPCStatus(.cancelled, reason)
    switch previous {
    case .idle: break
    case .dialling(let connection), .asking(let connection, _), .following(let connection, _):
      connection.close(.closedHere(status))
    case .waiting(let timer): loop.cancel(timer)
    }
  }

  private func tell(_ trouble: WorkloadTrouble) {
    guard trouble != self.trouble else { return }
    self.trouble = trouble
    owner?.workload(self, isInTrouble: trouble)
  }

  public func timerFired(_ id: TimerID, tag: Int) {
    switch (Tag(rawValue: tag), state) {
    case (.again, .waiting(id)): dial()
    case (.patience, .asking): fail(.silent(endpoint: endpoint.description))
    default: break
    }
  }
}

/// Expression patterns for the objects of a state: the same one, not an equal one.
private func ~= (pattern: Connection, value: Connection) -> Bool { pattern === value }
private func ~= (pattern: Call, value: Call) -> Bool { pattern === value }
