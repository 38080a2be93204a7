// Who is the peer? The whole of X.509-SVID validation as one pure function: no clock, no cache, no I/O.
// Runs within the handshake of every connection and again whenever bundles or rules change.
// Source: SPIFFE X.509-SVID, sections 4 and 5; RFC 5280, section 6. Says nothing about what the peer may do.

public import Primitives
public import SPIFFE
public import TLS

/// A peer whose chain was valid at one instant under one set of bundles.
public struct VerifiedPeer: Sendable, Hashable {
  public let id: SPIFFEID
  /// The earliest end of validity of all certificates of the path, the anchor's included.
  public let notAfter: Timestamp

  public var trustDomain: TrustDomain { id.trustDomain }

  /// Requires the peer to be one of `expected`.
  public func authorized(as expected: SPIFFEPattern) throws(VerificationFailure) -> VerifiedPeer {
    guard expected.matches(id) else { throw .wrongID(id, expected: expected) }
    return self
  }
}

/// Certificates a peer may present. Reason: as many as a path may have; more only cost us time.
private let chainCountMax = CertificatePath.depthMax

/// - Parameters:
///   - chain: DER as presented, leaf first.
///   - bundles: the anchors of each trust domain; only those of the leaf's own trust domain are used.
///   - instant: the one moment at which everything must be valid.
///   - role: the peer's own role, which its extended key usage must allow.
public func verifyPeer(
  chain: [[UInt8]], bundles: [TrustDomain: Bundle], at instant: Timestamp, role: TLSRole
) throws(VerificationFailure) -> VerifiedPeer {
  let leaf = try parseLeaf(of: chain)
  let id = try workloadID(of: leaf)
  try checkUse(of: leaf, role: role)
  guard let bundle = bundles[id.trustDomain] else { throw .unknownTrustDomain(id.trustDomain) }
  guard !bundle.anchors.isEmpty else { throw .emptyBundle(id.trustDomain) }
  let path: [[UInt8]]
  do {
    path = try CertificatePath.validate(chain: chain, anchors: bundle.anchors, at: instant)
  } catch {
    throw .path(error)
  }
  let notAfter = try checkSigners(of: path, trustDomain: id.trustDomain)
  return VerifiedPeer(id: id, notAfter: min(leaf.notAfter, notAfter))
}

/// The SPIFFE ID of a workload's certificate by its form alone, trusting nobody.
func workloadID(of leaf: Certificate) throws(VerificationFailure) -> SPIFFEID {
  guard let name = leaf.uriNames.first else { throw .noURI }
  guard leaf.uriNames.count == 1 else { throw .severalURIs(count: leaf.uriNames.count) }
  let id: SPIFFEID
  do {
    id = try SPIFFEID(parsing: name)
  } catch {
    throw .notSPIFFEID(error)
  }
  guard id.namesWorkload else { throw .namesTrustDomain(id.trustDomain) }
  return id
}

private func parseLeaf(of chain: [[UInt8]]) throws(VerificationFailure) -> Certificate {
  guard !chain.isEmpty else { throw .emptyChain }
  guard chain.count <= chainCountMax else { throw .chainTooLong(count: chain.count) }
  let certificates = try chain.enumerated().map { (index, der) throws(VerificationFailure) in
    try parse(der, index: index)
  }
  return certificates[0]
}

private func parse(_ der: [UInt8], index: Int) throws(VerificationFailure) -> Certificate {
  do {
    return try Certificate(der: der)
  } catch .certificateUnreadable(_, let reason) {
    throw .unreadable(index: index, reason: reason)
  } catch {
    throw .unreadable(index: index, reason: error.what)
  }
}

/// A leaf is no authority, signs nothing but handshakes, and is meant for its role.
private func checkUse(of leaf: Certificate, role: TLSRole) throws(VerificationFailure) {
  guard !leaf.isCA else { throw .leafIsAuthority }
  if let usage = leaf.keyUsage {
    guard usage.isDisjoint(with: [.keyCertSign, .crlSign]) else { throw .leafMaySign }
    guard usage.contains(.digitalSignature) else { throw .noDigitalSignature }
  }
  if let purposes = leaf.extendedKeyUsage {
    let needed: ExtendedKeyUsage = role == .server ? .serverAuth : .clientAuth
    guard !purposes.isDisjoint(with: [needed, .any]) else { throw .wrongPurpose(role: role) }
  }
}

/// Checks every certificate above the leaf and returns the earliest end of their validity.
private func checkSigners(
  of path: [[UInt8]], trustDomain: TrustDomain
) throws(VerificationFailure) -> Timestamp {
  var earliest = Timestamp(seconds: .max)
  for (depth, der) in path.enumerated().dropFirst() {
    let certificate = try parse(der, index: depth)
    let isAnchor = depth == path.count - 1
    if let fault = SigningCertificate.fault(of: certificate, in: trustDomain, isAnchor: isAnchor) {
      throw .signingCertificate(depth: depth, fault)
    }
    earliest = min(earliest, certificate.notAfter)
  }
  return earliest
}
