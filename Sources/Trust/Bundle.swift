// The authorities of one trust domain: parsed from PEM or from a SPIFFE bundle document (a JWK set).
// Bundles of two trust domains are never merged. Source: SPIFFE Trust Domain and Bundle, sections 4 and 5.

public import Primitives
public import SPIFFE
public import TLS

/// Signing certificates that may anchor SVIDs of `trustDomain`. No anchors: all keys are revoked, nobody is trusted.
public struct Bundle: Sendable, Hashable {
  public let trustDomain: TrustDomain
  /// DER, without duplicates, in the order of the document. Self-signed or not.
  public let anchors: [[UInt8]]
  /// The same, parsed: every handshake validates against them.
  public let certificates: [Certificate]
  /// `spiffe_sequence` of a bundle document: grows with every change of content.
  public let sequence: UInt64?
  /// `spiffe_refresh_hint` of a bundle document: how often its publisher wants to be asked.
  public let refreshHint: Duration?
  /// When the last of the anchors expires; nil without anchors.
  public let notAfter: Timestamp?
  /// What whoever gave it says of single certificates beyond that; of whichever issuer.
  public var revocations: [RevocationList] = []
  /// When this was the newest there was: when a file was written, a document fetched. Nil: now.
  public var obtainedAt: Timestamp?

  /// Checks that every certificate is a signing certificate fit for `trustDomain`.
  public init(
    trustDomain: TrustDomain, anchors: [[UInt8]], sequence: UInt64? = nil, refreshHint: Duration? = nil
  ) throws(TrustError) {
    var kept: [Certificate] = []
    var notAfter: Timestamp?
    for (index, der) in anchors.enumerated() where !kept.contains(where: { $0.der == der }) {
      let certificate: Certificate
      do {
        certificate = try Certificate(der: der)
      } catch {
        throw .anchorUnreadable(index: index)
      }
      if let fault = SigningCertificate.fault(of: certificate, in: trustDomain, isAnchor: true) {
        throw .anchorRefused(index: index, subject: certificate.subject, fault)
      }
      notAfter = max(notAfter ?? certificate.notAfter, certificate.notAfter)
      kept.append(certificate)
    }
    self.trustDomain = trustDomain
    self.anchors = kept.map(\.der)
    certificates = kept
    self.sequence = sequence
    self.refreshHint = refreshHint
    self.notAfter = notAfter
  }

  /// Reads a bundle document when the text begins with `{`, else PEM.
  public static func parse(_ text: [UInt8], trustDomain: TrustDomain) throws(TrustError) -> Bundle {
    let whitespace = Array(" \t\r\n".utf8)
    return text.first(where: { !whitespace.contains($0) }) == UInt8(ascii: "{")
      ? try parse(json: text, trustDomain: trustDomain) : try parse(pem: text, trustDomain: trustDomain)
  }

  /// Certificates in PEM, at least one.
  public static func parse(pem: [UInt8], trustDomain: TrustDomain) throws(TrustError) -> Bundle {
    let certificates: [Certificate]
    do {
      certificates = try Certificate.parse(pem: pem)
    } catch {
      throw .certificates(error)
    }
    return try Bundle(trustDomain: trustDomain, anchors: certificates.map(\.der))
  }

  /// Concatenated DER, as the Workload API has it; at least one certificate.
  public static func parse(
    concatenatedDER bytes: [UInt8], trustDomain: TrustDomain
  ) throws(TrustError) -> Bundle {
    let certificates: [Certificate]
    do {
      certificates = try Certificate.parse(concatenatedDER: bytes)
    } catch {
      throw .certificates(error)
    }
    return try Bundle(trustDomain: trustDomain, anchors: certificates.map(\.der))
  }

  /// All that a peer is judged by: when it differs, peers are judged again.
  public var content: [[UInt8]] { anchors + revocations.map(\.der) }

  /// Whether this word of a trust domain comes after `other`: by the publisher's own count, else by time.
  public func isNewer(than other: Bundle) -> Bool {
    if let sequence, let before = other.sequence { return sequence > before }
    guard let obtainedAt else { return true }
    return other.obtainedAt.map { obtainedAt > $0 } ?? false
  }

  /// A SPIFFE bundle document; its `keys` may be empty.
  public static func parse(json: [UInt8], trustDomain: TrustDomain) throws(TrustError) -> Bundle {
    let document = try BundleDocument(parsing: json)
    return try Bundle(
      trustDomain: trustDomain, anchors: document.anchors, sequence: document.sequence,
      refreshHint: document.refreshHint)
  }
}
