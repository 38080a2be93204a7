// One named reason for every rule of X.509-SVID validation. Source: SPIFFE X.509-SVID, sections 4 and 5.
// Text of a peer's certificate appears only where it parsed as a SPIFFE ID; anything else is cut and escaped.

public import Primitives
public import SPIFFE
public import TLS

public enum VerificationFailure: Explained, Equatable {
  case emptyChain
  case chainTooLong(count: Int)
  /// `index` 0 is the leaf.
  case unreadable(index: Int, reason: String)
  case noURI
  case severalURIs(count: Int)
  case notSPIFFEID(SPIFFEError)
  /// The leaf's SPIFFE ID is that of the trust domain itself.
  case namesTrustDomain(TrustDomain)
  case leafIsAuthority
  /// The leaf's key usage allows keyCertSign or cRLSign.
  case leafMaySign
  /// The leaf's key usage does not allow digitalSignature.
  case noDigitalSignature
  /// The leaf's extended key usage leaves out the peer's role.
  case wrongPurpose(role: TLSRole)
  case unknownTrustDomain(TrustDomain)
  /// The bundle holds no anchor: every key of the trust domain is revoked.
  case emptyBundle(TrustDomain)
  case path(PathFailure)
  /// A certificate of the path may not sign; `depth` 1 issued the leaf.
  case signingCertificate(depth: Int, SigningFault)
  /// A revocation list of its issuer names it; `depth` 0 is the leaf.
  case revoked(depth: Int)
  /// Verified, but not who it must be.
  case wrongID(SPIFFEID, expected: SPIFFEPattern)

  /// Label of the metric `handshakes_total{result}`.
  public var handshakeResult: String { result.rawValue }

  public var result: HandshakeResult {
    switch self {
    case .emptyChain: .noCertificate
    case .unreadable, .noURI, .severalURIs, .notSPIFFEID, .namesTrustDomain, .leafIsAuthority, .leafMaySign,
      .noDigitalSignature, .wrongPurpose:
      .badID
    case .path(let failure) where failure.kind == .expired || failure.kind == .notYetValid: .expired
    case .chainTooLong, .unknownTrustDomain, .emptyBundle, .path, .signingCertificate, .revoked: .untrusted
    case .wrongID: .wrongID
    }
  }

  /// What the peer is told.
  public var alert: TLSAlert {
    switch self {
    case .wrongPurpose, .noDigitalSignature: .unsupportedCertificate
    case .path(let failure) where failure.kind == .expired: .certificateExpired
    case .path(let failure) where failure.kind == .untrusted: .unknownCA
    case .unknownTrustDomain, .emptyBundle: .unknownCA
    case .revoked: .certificateRevoked
    case .wrongID: .certificateUnknown
    default: .badCertificate
    }
  }

  /// This failure as the answer of a `PeerVerifier`.
  public var verdict: TLSVerdict { .reject(alert, reason: description, result: result) }
}

extension VerificationFailure {
  public var what: String {
    switch self {
    case .emptyChain: "There is no certificate"
    case .chainTooLong(let count): "The chain has \(count) certificates"
    case .unreadable(let index, let reason): "Certificate \(index + 1) of the chain cannot be read: \(reason)"
    case .noURI: "The certificate has no URI name, so no SPIFFE ID"
    case .severalURIs(let count): "The certificate has \(count) URI names instead of one"
    case .notSPIFFEID(let error): "The certificate's URI name is no SPIFFE ID: \(error.what)"
    case .namesTrustDomain(let trustDomain):
      "The certificate's SPIFFE ID spiffe://\(trustDomain) names a trust domain, not a workload"
    case .leafIsAuthority: "The certificate is marked as a certificate authority"
    case .leafMaySign: "The certificate's key usage allows signing certificates or revocation lists"
    case .noDigitalSignature: "The certificate's key usage does not allow digitalSignature"
    case .wrongPurpose(let role):
      "The certificate's extended key usage does not allow TLS \(role == .server ? "servers" : "clients")"
    case .unknownTrustDomain(let trustDomain): "There is no bundle for the trust domain \(trustDomain)"
    case .emptyBundle(let trustDomain): "The bundle of the trust domain \(trustDomain) is empty"
    case .path(let failure):
      "No valid path leads from the certificate to its trust domain's bundle: "
        + "\(failure.reason) (certificate \(failure.depth + 1) of the path)"
    case .signingCertificate(let depth, let fault):
      "Certificate \(depth + 1) of the path may not sign for this trust domain: \(fault)"
    case .revoked(let depth): "Certificate \(depth + 1) of the path was revoked by its issuer"
    case .wrongID(let id, let expected): "The peer is \(id), but must be \(expected)"
    }
  }

  public var why: String {
    switch self {
    case .emptyBundle: "An empty bundle means that all of its keys are revoked"
    case .path(let failure) where failure.kind == .expired || failure.kind == .notYetValid:
      "It was not renewed in time, or the clocks differ"
    case .path(let failure) where failure.kind == .untrusted:
      "The peer left out an intermediate, or the bundle is from before the authority changed"
    case .path(let failure) where failure.kind == .badSignature:
      "The bundle has an authority of its issuer's name with another key: one of the two is from before it changed"
    case .revoked: "The SPIFFE agent has a revocation list of its issuer that names it"
    default: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .unknownTrustDomain(let trustDomain): "Add a bundle for \(trustDomain) if it is to be trusted"
    case .path(let failure) where failure.kind == .expired || failure.kind == .notYetValid:
      "Renew the SVID and compare the clocks of both hosts"
    case .path(let failure) where failure.kind == .untrusted:
      "Let the peer present its intermediates, and renew the bundle"
    case .path(let failure) where failure.kind == .badSignature: "Renew the bundle, or the peer's SVID"
    case .revoked: "Issue a new SVID to the peer, if it is who it should be"
    case .wrongPurpose: "Issue the SVID for TLS servers and clients"
    case .noURI, .severalURIs, .notSPIFFEID, .namesTrustDomain, .leafIsAuthority, .leafMaySign,
      .noDigitalSignature:
      "Issue an X.509-SVID for the workload"
    default: ""
    }
  }

  public var blame: Blame { .peer }
}
