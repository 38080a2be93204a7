// What the servers of one upstream are judged by: within the handshake, and again whenever credentials, the
// authority or time may have taken away what it found good.

import Primitives
import TLS
import Trust

struct ServerTrust {
  let expected: ExpectedServer
  var credentials: Credentials
  /// For a host: its only anchors.
  var authority: [Certificate]

  enum Judgement {
    /// Good until this time, if nothing else changes.
    case good(until: Timestamp)
    case bad(TLSVerdict, reason: String)
  }

  func judge(_ chain: [Certificate], at instant: Timestamp) -> Judgement {
    switch expected {
    case .workload(let pattern):
      do throws(VerificationFailure) {
        let peer = try verifyPeer(chain: chain, bundles: credentials.bundles, at: instant, role: .server)
        return .good(until: try peer.authorized(as: pattern).notAfter)
      } catch {
        return .bad(error.verdict, reason: error.description)
      }
    case .host(let name):
      do throws(HostFailure) {
        let host = try verifyHost(chain: chain, authority: authority, name: name, at: instant)
        return .good(until: host.notAfter)
      } catch {
        return .bad(error.verdict, reason: error.description)
      }
    }
  }
}
