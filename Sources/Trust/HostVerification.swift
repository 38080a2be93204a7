// Is the server the host it should be? For upstreams that have no SVID, istiod above all: an authority and a DNS
// name instead of a trust domain and a SPIFFE ID. The only other way to be trusted, and only where one source's
// configuration says so. Source: RFC 5280, section 6; RFC 6125, section 6.4. A pure function, as `verifyPeer` is.

public import Primitives
public import TLS

/// A server whose chain was valid for a DNS name at one instant.
public struct VerifiedHost: Sendable, Hashable {
  public let name: String
  /// The earliest end of validity of all certificates of the path, the anchor's included.
  public let notAfter: Timestamp
}

/// Why a server is not the host it should be.
public enum HostFailure: Explained, Equatable {
  case emptyChain
  case leafIsAuthority
  case wrongPurpose
  /// No DNS name of the certificate is `expected`. Names are foreign text: shown when they are host names.
  case wrongName(expected: String, found: [String])
  case path(PathFailure)

  public var what: String {
    switch self {
    case .emptyChain: "The server has no certificate"
    case .leafIsAuthority: "The server's certificate is marked as a certificate authority"
    case .wrongPurpose: "The server's certificate is not meant for TLS servers"
    case .wrongName(let expected, let found):
      "The server must be \(expected), its certificate names "
        + (found.isEmpty ? "no host" : found.joined(separator: ", "))
    case .path(let failure):
      "No valid path leads from the server's certificate to the configured authority: "
        + "\(failure.reason) (certificate \(failure.depth + 1) of the path)"
    }
  }

  public var why: String {
    switch self {
    case .path(let failure) where failure.kind == .untrusted:
      "The authority was changed, or it is another server"
    case .path(let failure) where failure.kind == .expired || failure.kind == .notYetValid:
      "It was not renewed in time, or the clocks differ"
    default: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .wrongName: "Correct dnsName, or issue the server's certificate for it"
    case .path(let failure) where failure.kind == .untrusted: "Renew the file that ca names"
    default: ""
    }
  }

  public var blame: Blame { .upstream }

  /// This failure as the answer of a `PeerVerifier`.
  public var verdict: TLSVerdict {
    switch self {
    case .wrongPurpose: .reject(.unsupportedCertificate, reason: description, result: .untrusted)
    case .wrongName: .reject(.certificateUnknown, reason: description, result: .wrongID)
    case .path(let failure) where failure.kind == .expired:
      .reject(.certificateExpired, reason: description, result: .expired)
    case .path(let failure) where failure.kind == .untrusted:
      .reject(.unknownCA, reason: description, result: .untrusted)
    default: .reject(.badCertificate, reason: description, result: .untrusted)
    }
  }
}

/// - Parameters:
///   - chain: as presented, leaf first.
///   - authority: the only anchors there are for this server.
///   - name: a DNS name without wildcard.
public func verifyHost(
  chain: [Certificate], authority: [Certificate], name: String, at instant: Timestamp
) throws(HostFailure) -> VerifiedHost {
  guard let leaf = chain.first else { throw .emptyChain }
  guard !leaf.isCA else { throw .leafIsAuthority }
  if let purposes = leaf.extendedKeyUsage {
    guard !purposes.isDisjoint(with: [.serverAuth, .any]) else { throw .wrongPurpose }
  }
  guard leaf.dnsNames.contains(where: { HostName.matches(pattern: $0, name) }) else {
    throw .wrongName(expected: name, found: leaf.dnsNames.prefix(8).filter(HostName.isPrintable))
  }
  let path: [Certificate]
  do {
    path = try CertificatePath.validate(chain: chain, anchors: authority, at: instant)
  } catch {
    throw .path(error)
  }
  return VerifiedHost(name: name, notAfter: path.reduce(leaf.notAfter) { min($0, $1.notAfter) })
}

enum HostName {
  /// Without regard to case; `*` stands for the whole leftmost label and nothing else, with two more behind it.
  static func matches(pattern: String, _ name: String) -> Bool {
    let (pattern, name) = (labels(pattern), labels(name))
    guard pattern.count == name.count, !name.contains("") else { return false }
    guard pattern[0] == "*" else { return pattern == name }
    return pattern.count >= 3 && pattern.dropFirst() == name.dropFirst()
  }

  static func isPrintable(_ name: String) -> Bool {
    (1...253).contains(name.utf8.count)
      && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") }
  }

  private static func labels(_ name: String) -> [String] {
    let whole = name.hasSuffix(".") ? name.dropLast() : name[...]
    return whole.lowercased().split(separator: ".", omittingEmptySubsequences: false).map(String.init)
  }
}
