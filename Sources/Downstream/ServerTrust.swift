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
  private let minimum: TLSVersion
  private(set) var credentials: Credentials?
  /// Rebuilt for every generation of credentials; existing sessions keep theirs, so rotation drops nobody.
  private(set) var context: TLSContext?
  private(set) var contextError: TLSError?
  private var bundles: [TrustDomain: Bundle] = [:]
  private var named: Set<TrustDomain> = []
  /// Peers whose handshakes are not over yet, newest last. Bounded: one that fell out is judged again.
  private var found: [(chain: [Certificate], peer: VerifiedPeer)] = []
  private static let foundMost = 128

  init(loop: EventLoop, minimum: TLSVersion) {
    self.loop = loop
    self.minimum = minimum
  }

  /// True when a bundle went away or changed: live peers must be judged again.
  func adopt(_ credentials: Credentials) -> Bool {
    guard self.credentials?.generation != credentials.generation else { return false }
    self.credentials = credentials
    do throws(TLSError) {
      context = try TLSContext(
        role: .server, chain: credentials.svid.chain, key: credentials.svid.key, minimum: minimum,
        verifier: { [weak self] chain in self?.judge(chain) ?? .reject(.accessDenied, reason: "shutting down")
        })
      contextError = nil
    } catch {
      context = nil
      contextError = error
    }
    return selectBundles()
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
      found = []
    }
    return bundles.contains { selected[$0.key]?.anchors != $0.value.anchors }
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
      return try verifyPeer(chain: chain, bundles: bundles, at: loop.wallClock, role: .client)
    }
    return try verifyPeer(chain: chain, bundles: bundles, at: loop.wallClock, role: .server)
      .authorized(as: pattern)
  }

  /// The client side of mutual TLS, with our newest SVID; nil while there is none.
  func contextToDial(
    _ verifier: @escaping ([Certificate]) -> TLSVerdict
  ) throws(TLSError) -> TLSContext? {
    guard let credentials else { return nil }
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
