// The server side of mutual TLS for one loop: our newest SVID, and whose certificates are accepted.
//
// A chain is judged inside the handshake, so that a stranger never gets past it; what was found is kept
// until the handshake is over, and judged again whenever bundles shrink. Only trust domains that policy names
// are accepted, whatever bundles this host happens to hold.

import Primitives
import Ring
import SPIFFE
import TLS
import Trust

final class ServerTrust {
  private let loop: EventLoop
  private var minimum: TLSVersion
  private(set) var credentials: Credentials?
  /// By listener, because tickets of one do not count on another. Made anew for every generation of credentials;
  /// existing sessions keep theirs, so rotation drops nobody.
  private var contexts: [String: TLSContext] = [:]
  private(set) var contextError: TLSError?
  /// The newest keys of tickets; nil: there are none.
  private let ticketKeys: () -> TicketKeys?
  /// Of `bundles`.
  private var mark: [UInt8] = []
  private var bundles: [TrustDomain: Bundle] = [:]
  private var named: Set<TrustDomain> = []
  /// Peers whose handshakes are not over yet, newest last. Bounded: one that fell out is judged again.
  private var found: [(chain: [Certificate], peer: VerifiedPeer)] = []
  private static let foundMost = 128

  init(loop: EventLoop, minimum: TLSVersion, ticketKeys: @escaping () -> TicketKeys?) {
    self.loop = loop
    self.minimum = minimum
    self.ticketKeys = ticketKeys
  }

  /// New connections are taken on with this version or a newer one.
  func adopt(minimum: TLSVersion) {
    guard minimum != self.minimum else { return }
    self.minimum = minimum
    contexts = [:]
  }

  /// True when a bundle went away or changed: live peers must be judged again.
  func adopt(_ credentials: Credentials) -> Bool {
    guard self.credentials?.generation != credentials.generation else { return false }
    self.credentials = credentials
    contexts = [:]
    return selectBundles()
  }

  /// What new connections of a listener are taken on; nil while this host has no identity to show.
  func context(for listener: String) -> TLSContext? {
    if let context = contexts[listener] { return context }
    guard let credentials, credentials.withdrawnAt == nil else { return nil }
    do throws(TLSError) {
      let context = try TLSContext(
        role: .server, chain: credentials.svid.chain, key: credentials.svid.key, minimum: minimum,
        tickets: tickets(of: listener),
        verifier: { [weak self] chain in self?.judge(chain) ?? .reject(.accessDenied, reason: "shutting down")
        })
      contexts[listener] = context
      contextError = nil
      return context
    } catch {
      contextError = error
      return nil
    }
  }

  // MARK: tickets

  /// Who comes back is judged as anybody: its chain is in the ticket, and verified again at once.
  private func tickets(of listener: String) -> TicketTerms {
    TicketTerms(
      listener: listener, keys: ticketKeys,
      seal: { [weak self] chain in self?.ticket(for: chain, on: listener) },
      open: { [weak self] contents in self?.chain(of: contents, on: listener) })
  }

  private func ticket(for chain: [Certificate], on listener: String) -> [UInt8]? {
    let known = found.last { $0.chain == chain }?.peer
    guard let peer = known ?? (try? verify(chain)) else { return nil }
    return ResumptionTicket(
      listener: listener, id: peer.id, notAfter: peer.notAfter, trust: mark, chain: chain.map(\.der)
    ).bytes
  }

  private func chain(of contents: [UInt8], on listener: String) -> [Certificate]? {
    guard let ticket = ResumptionTicket(contents),
      ticket.mismatch(listener: listener, trust: mark, at: loop.steadyWallClock) == nil
    else { return nil }
    var chain: [Certificate] = []
    for der in ticket.chain {
      guard let certificate = try? Certificate(der: der) else { return nil }
      chain.append(certificate)
    }
    guard case .accept = judge(chain), found.last?.peer.id == ticket.id else { return nil }
    return chain
  }

  /// True when peers of a trust domain lost their footing.
  func adopt(named: Set<TrustDomain>) -> Bool {
    guard named != self.named else { return false }
    self.named = named
    return selectBundles()
  }

  private func selectBundles() -> Bool {
    let selected = (credentials?.bundles ?? [:]).filter { named.contains($0.key) }
    defer {
      bundles = selected
      mark = trustMark(of: selected)
      found = []
    }
    return bundles.contains { selected[$0.key]?.content != $0.value.content }
  }

  /// The verified peer behind a chain whose handshake has just ended.
  func admit(_ chain: [Certificate]) throws(VerificationFailure) -> VerifiedPeer {
    guard let index = found.lastIndex(where: { $0.chain == chain }) else { return try verify(chain) }
    return found.remove(at: index).peer
  }

  /// The verified peer behind a chain as of now. `pattern`: of a server that we have dialled, who it must be.
  func verify(
    _ chain: [Certificate], dialledAs pattern: SPIFFEPattern? = nil
  ) throws(VerificationFailure) -> VerifiedPeer {
    guard let pattern else {
      return try verifyPeer(chain: chain, bundles: bundles, at: loop.steadyWallClock, role: .client)
    }
    return try verifyPeer(chain: chain, bundles: bundles, at: loop.steadyWallClock, role: .server)
      .authorized(as: pattern)
  }

  /// The client side of mutual TLS, with our newest SVID; nil while there is none.
  func contextToDial(
    _ verifier: @escaping ([Certificate]) -> TLSVerdict
  ) throws(TLSError) -> TLSContext? {
    guard let credentials, credentials.withdrawnAt == nil else { return nil }
    return try TLSContext(
      role: .client, chain: credentials.svid.chain, key: credentials.svid.key, minimum: minimum,
      verifier: verifier)
  }

  private func judge(_ chain: [Certificate]) -> TLSVerdict {
    do throws(VerificationFailure) {
      let peer = try verify(chain)
      if found.count == ServerTrust.foundMost { found.removeFirst() }
      found.append((chain, peer))
      return .accept
    } catch {
      return error.verdict
    }
  }
}
