// What a signing certificate of a trust domain must be. Source: SPIFFE X.509-SVID, sections 2, 4.1 and 4.3.

public import SPIFFE
import TLS

/// Why a certificate may not sign SVIDs of a trust domain.
public enum SigningFault: Equatable, Sendable, CustomStringConvertible {
  case notAuthority
  case keyUsageMissing
  case keyUsageNotCritical
  case noKeyCertSign
  case severalURIs(count: Int)
  case notSPIFFEID(String)
  /// Its SPIFFE ID has a path: it names a workload.
  case namesWorkload(SPIFFEID)
  case otherTrustDomain(TrustDomain)

  public var description: String {
    switch self {
    case .notAuthority: "it is not marked as a certificate authority"
    case .keyUsageMissing: "it has no key usage"
    case .keyUsageNotCritical: "its key usage is not critical"
    case .noKeyCertSign: "its key usage does not allow keyCertSign"
    case .severalURIs(let count): "it has \(count) URI names"
    case .notSPIFFEID: "its URI name is no SPIFFE ID"
    case .namesWorkload(let id): "its SPIFFE ID \(id) names a workload"
    case .otherTrustDomain(let trustDomain): "it belongs to the trust domain \(trustDomain)"
    }
  }
}

enum SigningCertificate {
  /// Nil when `certificate` may sign for `trustDomain`.
  /// - Parameter isAnchor: an anchor was chosen by the operator, so how its key usage is written is not held
  ///   against it (RFC 5280 section 6.1.1 takes only name and key of an anchor); what it says is.
  static func fault(
    of certificate: Certificate, in trustDomain: TrustDomain, isAnchor: Bool
  ) -> SigningFault? {
    guard certificate.isCA else { return .notAuthority }
    if let usage = certificate.keyUsage {
      if !usage.contains(.keyCertSign) { return .noKeyCertSign }
      if !certificate.keyUsageIsCritical && !isAnchor { return .keyUsageNotCritical }
    } else if !isAnchor {
      return .keyUsageMissing
    }
    return nameFault(certificate.uriNames, trustDomain)
  }

  private static func nameFault(_ names: [String], _ trustDomain: TrustDomain) -> SigningFault? {
    guard let name = names.first else { return nil }
    guard names.count == 1 else { return .severalURIs(count: names.count) }
    // Old examples of the standard write a trust domain's ID with a slash at its end.
    let text = name.hasSuffix("/") ? String(name.dropLast()) : name
    guard let id = try? SPIFFEID(parsing: text) else { return .notSPIFFEID(name) }
    if id.namesWorkload { return .namesWorkload(id) }
    return id.trustDomain == trustDomain ? nil : .otherTrustDomain(id.trustDomain)
  }
}
