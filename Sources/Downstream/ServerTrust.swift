// The server side of mutual TLS for one loop: our newest SVID, and whose certificates are accepted.
//
// A chain is judged twice by the same pure function: inside the handshake, so that a stranger never
// gets past it, and once it is over, for the identity and its end. Only trust domains that policy names
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
        verifier: { [weak self] chain in self?.judge(chain) ?? .reject(.accessDenied, reason: "shutting down") })
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
    defer { bundles = selected }
    return bundles.contains { selected[$0.key]?.anchors != $0.value.anchors }
  }

  /// The verified peer behind a chain as of now.
  func verify(_ chain: [Certificate]) throws(VerificationFailure) -> VerifiedPeer {
    try verifyPeer(chain: chain, bundles: bundles, at: loop.wallClock, role: .client)
  }

  private func judge(_ chain: [Certificate]) -> TLSVerdict {
    do throws(VerificationFailure) {
      _ = try verify(chain)
      return .accept
    } catch {
      return error.verdict
    }
  }
}
