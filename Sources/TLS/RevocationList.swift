// A certificate revocation list as a plain value: its DER, and the question that is asked of it. What follows from the
// answer is decided in Trust. Source: RFC 5280, section 5.

import COpenSSL

/// One parsed list. Equal when the DER is.
public struct RevocationList: Sendable, Hashable {
  public let der: [UInt8]
  private let object: CRLObject

  /// Reads exactly one list.
  public init(der: [UInt8]) throws(TLSError) {
    ErrorQueue.clear()
    let object = CRLObject(der: der)
    ErrorQueue.clear()
    guard let object else { throw .listUnreadable }
    self.der = der
    self.object = object
  }

  /// Whether the list is `issuer`'s and names `certificate`. One that is older than it wants to be still counts: what was
  /// revoked stays so. Lists that only tell what changed since another count for what they name.
  public func names(_ certificate: Certificate, issuedBy issuer: Certificate) -> Bool {
    defer { ErrorQueue.clear() }
    let subject = unsafe X509_get_subject_name(issuer.object.raw)
    guard unsafe X509_NAME_cmp(subject, X509_CRL_get_issuer(object.raw)) == 0 else { return false }
    var entry: OpaquePointer?
    // 2 means: taken off a list of before.
    guard unsafe X509_CRL_get0_by_cert(object.raw, &entry, certificate.object.raw) == 1 else { return false }
    // Last, because it costs most: nobody else may speak for the issuer.
    return unsafe X509_CRL_verify(object.raw, X509_get0_pubkey(issuer.object.raw)) == 1
  }

  public static func == (left: RevocationList, right: RevocationList) -> Bool { left.der == right.der }

  public func hash(into hasher: inout Hasher) { hasher.combine(der) }
}
