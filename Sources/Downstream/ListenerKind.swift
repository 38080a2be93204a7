// What the listeners of a serve loop ask of those who connect, and who a caller is after that.
//
// DESIGN.md §4: `serve` knows mutual TLS only. The loopback kind is for `connect`, whose one client cannot
// present a certificate; configuration lets it listen on loopback addresses only.

public import Gates
import Primitives
public import SPIFFE
import Trust

public enum ListenerKind: Sendable {
  /// Who connects proves who it is; policy decides what it sees, or that it is refused.
  case mutualTLS
  /// Plaintext: whoever can reach the address is given `granted` for as long as it likes. It is known by this
  /// host's own SPIFFE ID, because what it is given was granted to that; by `host` while there is none yet.
  case loopback(granted: Generation.Grant, host: SPIFFEID)
}

/// Who is at the other end of an accepted connection.
enum Caller {
  case verified(VerifiedPeer)
  /// A process of this host that proved nothing.
  case local(SPIFFEID)

  var id: SPIFFEID {
    switch self {
    case .verified(let peer): peer.id
    case .local(let id): id
    }
  }

  /// Nil: a caller without a certificate has none that could expire.
  var notAfter: Timestamp? {
    switch self {
    case .verified(let peer): peer.notAfter
    case .local: nil
    }
  }
}
