// Whether those that the relay dials can be reached, are who they must be, and take us: every address once, at the
// same time, with our own SVID, up to one question that every gRPC server answers somehow.

import GRPC
import Identity
import Primitives
import Ring
import SPIFFE
import TLS
import Transport
import Trust

struct ReachabilityProbe {
  private let subject: DoctorSubject
  /// With all the bundles that were found.
  private let credentials: Credentials?

  init(_ subject: DoctorSubject, credentials: Credentials?) {
    self.subject = subject
    self.credentials = credentials
  }

  func examine() -> [DoctorFinding] {
    guard !subject.peers.isEmpty else { return [] }
    guard let credentials else {
      return [
        .warning(
          .reachability, "nobody was dialled, because there is no identity to show",
          fix: "mend the identity first")
      ]
    }
    guard let driver = try? makeDriver(nil) else {
      return [.problem(.reachability, "no socket can be made here", fix: "ulimit -n")]
    }
    let round = DialRound(EventLoop(driver: driver), credentials)
    var findings: [DoctorFinding] = []
    var visits: [(DoctorSubject.Peer, [Visit])] = []
    for peer in subject.peers {
      switch round.judge(of: peer) {
      case .success(let judge): visits.append((peer, peer.endpoints.map { round.visit($0, judge) }))
      case .failure(let fault): findings.append(.of(fault, .reachability))
      }
    }
    round.run()
    for (peer, visits) in visits { findings += tell(peer, visits) }
    return findings
  }

  /// One address that works is enough to follow; the others are told all the same.
  private func tell(_ peer: DoctorSubject.Peer, _ visits: [Visit]) -> [DoctorFinding] {
    let works = visits.contains { if case .taken = $0.outcome { true } else { false } }
    return visits.map { visit in
      switch visit.outcome {
      case .taken(let who): .ok(.reachability, "\(peer.name): \(visit.endpoint) is \(who), and takes us")
      case .refused(let status):
        DoctorFinding(
          probe: .reachability, level: works ? .warning : .problem,
          text: "\(peer.name): \(visit.endpoint) refuses us: \(status)",
          fix: "add \(credentials?.svid.id.description ?? "our SPIFFE ID") to a cluster of its policy")
      case .failed(let reason):
        DoctorFinding(
          probe: .reachability, level: works ? .warning : .problem,
          text: "\(peer.name): \(visit.endpoint): \(reason)",
          fix: "openssl s_client -connect \(visit.endpoint) -alpn h2 </dev/null")
      case nil:
        DoctorFinding(
          probe: .reachability, level: works ? .warning : .problem,
          text: "\(peer.name): \(visit.endpoint) does not answer within 15 s",
          fix: "nc -vz \(visit.endpoint.host) \(visit.endpoint.port)")
      }
    }
  }
}

/// All dials of one examination.
private final class DialRound: TimerHandler {
  /// Who it is, or why not.
  typealias Judge = ([Certificate]) -> (who: String?, TLSVerdict)

  /// Reason: a relay holds a refusal back for up to 4 s, and a name server may take 5.
  private static let patience: Duration = .seconds(15)

  let loop: EventLoop
  private let credentials: Credentials
  private let resolver: Resolver
  private let memory = LoopMemory()
  private var visits: [Visit] = []
  private var awaited = 0

  init(_ loop: EventLoop, _ credentials: Credentials) {
    self.loop = loop
    self.credentials = credentials
    let resolver = Resolver(worker: InlineWorker(), limits: Limits(), wake: loop.waker)
    self.resolver = resolver
    loop.onWake = { [resolver] in resolver.deliver() }
  }

  func judge(of peer: DoctorSubject.Peer) -> Result<Judge, IdentityError> {
    let (bundles, loop) = (credentials.bundles, loop)
    switch peer.server {
    case .workload(let pattern):
      return .success { chain in
        do throws(VerificationFailure) {
          let peer = try verifyPeer(chain: chain, bundles: bundles, at: loop.wallClock, role: .server)
          return ("\(try peer.authorized(as: pattern).id) until \(peer.notAfter.rfc3339)", .accept)
        } catch {
          return (nil, error.verdict)
        }
      }
    case .host(let name, let ca):
      return Result { () throws(IdentityError) in
        let authority = try AuthorityFile(path: ca).load()
        return { chain in
          do throws(HostFailure) {
            let host = try verifyHost(chain: chain, authority: authority, name: name, at: loop.wallClock)
            return ("\(host.name) until \(host.notAfter.rfc3339)", .accept)
          } catch {
            return (nil, error.verdict)
          }
        }
      }
    }
  }

  func visit(_ endpoint: Endpoint, _ judge: @escaping Judge) -> Visit {
    let visit = Visit(endpoint) { [weak self] in
      guard let self else { return }
      awaited -= 1
      if awaited == 0 { self.loop.stop() }
    }
    visits.append(visit)
    awaited += 1
    do throws(TLSError) {
      let context = try TLSContext(
        role: .client, chain: credentials.svid.chain, key: credentials.svid.key, minimum: .tls12,
        verifier: { [weak visit] chain in
          let (who, verdict) = judge(chain)
          visit?.who = who
          return verdict
        })
      visit.dial = Dial(
        endpoint, security: .tls(context, serverName: endpoint.literal == nil ? endpoint.host : nil),
        resolver: resolver, loop: loop, limits: Limits(), memory: memory)
    } catch {
      visit.settle(.failed(error.description))
    }
    return visit
  }

  func run() {
    loop.schedule(at: loop.now + DialRound.patience, self, tag: 0)
    for visit in visits { visit.dial?.start(visit) }
    if awaited > 0 { loop.run() }
    for visit in visits { visit.dial?.cancel() }
  }

  func timerFired(_ id: TimerID, tag: Int) { loop.stop() }
}

/// One address.
private final class Visit: DialerOwner, CallHandler {
  enum Outcome {
    /// It is who it must be, and has answered.
    case taken(String)
    case refused(String)
    case failed(String)
  }

  let endpoint: Endpoint
  var dial: Dial?
  /// What the handshake has shown.
  var who: String?
  private(set) var outcome: Outcome?
  private let done: () -> Void

  init(_ endpoint: Endpoint, done: @escaping () -> Void) {
    self.endpoint = endpoint
    self.done = done
  }

  func settle(_ outcome: Outcome) {
    guard self.outcome == nil else { return }
    self.outcome = outcome
    done()
  }

  func dialFailed(_ endpoint: Endpoint, _ reasons: [String]) {
    settle(.failed(reasons.joined(separator: "; ")))
  }

  func connectionVerified(_ connection: Connection) {}

  /// TLS 1.3 lets us finish before the server has judged our SVID: only an answer shows that it took it.
  func connectionReady(_ connection: Connection) {
    let call = connection.open(
      path: "/grpc.health.v1.Health/Check", authority: endpoint.description, self)
    guard let call else { return settle(.failed("it takes no call")) }
    call.send(head: [])
    call.end()
  }

  func connection(_ connection: Connection, opened call: Call, head: RequestHead) -> (any CallHandler)? {
    nil
  }

  func connectionClosed(_ connection: Connection, _ reason: ConnectionEnd) {
    settle(.failed(reason.description))
  }

  func callAccepted(_ call: Call) {}
  func callHalfClosed(_ call: Call) {}
  func callDrained(_ call: Call) {}

  func call(_ call: Call, received message: [UInt8]) { settle(.taken(who ?? "who it must be")) }

  func callEnded(_ call: Call, _ status: GRPCStatus) {
    switch status.code {
    case .permissionDenied, .unauthenticated: settle(.refused(status.description))
    // Ended with its connection.
    case .unavailable, .cancelled: settle(.failed(status.description))
    default: settle(.taken(who ?? "who it must be"))
    }
  }
}
