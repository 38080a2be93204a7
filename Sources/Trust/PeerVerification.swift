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
///   - chain: as presented, leaf first.
///   - bundles: the anchors of each trust domain; only those of the leaf's own trust domain are used.
///   - instant: the one moment at which everything must be valid.
///   - role: the peer's own role, which its extended key usage must allow.
public func verifyPeer(
  chain: [Certificate], bundles: [TrustDomain: Bundle], at instant: Timestamp, role: TLSRole
) throws(VerificationFailure) -> VerifiedPeer {
  guard let leaf = chain.first else { throw .emptyChain }
  guard chain.count <= chainCountMax else { throw .chainTooLong(count: chain.count) }
  let id = try workloadID(of: leaf)
  try checkUse(of: leaf, role: role)
  guard let bundle = bundles[id.trustDomain] else { throw .unknownTrustDomain(id.trustDomain) }
  guard !bundle.certificates.isEmpty else { throw .emptyBundle(id.trustDomain) }
  let path: [Certificate]
  do {
    path = try CertificatePath.validate(chain: chain, anchors: bundle.certificates, at: instant)
  } catch {
    throw .path(error)
  }
  try checkSigners(of: path, trustDomain: id.trustDomain)
  for (depth, certificate) in path.dropLast().enumerated()
  where bundle.revocations.contains(where: { $0.names(certificate, issuedBy: path[depth + 1]) }) {
    throw .revoked(depth: depth)
  }
  return VerifiedPeer(id: id, notAfter: path.reduce(leaf.notAfter) { min($0, $1.notAfter) })
}

/// The same over DER, for chains that no handshake has parsed.
public func verifyPeer(
  chain: [[UInt8]], bundles: [TrustDomain: Bundle], at instant: Timestamp, role: TLSRole
) throws(VerificationFailure) -> VerifiedPeer {
  guard chain.count <= chainCountMax else { throw .chainTooLong(count: chain.count) }
  var certificates: [Certificate] = []
  for der in chain { certificates.append(try parse(der, index: certificates.count)) }
  return try verifyPeer(chain: certificates, bundles: bundles, at: instant, role: role)
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

/// Checks every certificate above the leaf, the anchor included.
private func checkSigners(
  of path: [Certificate], trustDomain: TrustDomain
) throws(VerificationFailure) {
  for (depth, certificate) in path.enumerated().dropFirst() {
    let isAnchor = depth == path.count - 1
    if let fault = SigningCertificate.fault(of: certificate, in: trustDomain, isAnchor: isAnchor) {
      throw .signingCertificate(depth: depth, fault)
    }
  }
}
