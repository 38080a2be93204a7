// An X.509 certificate as a plain value: the facts that trust decisions need, read once, with the DER beside them.
// Reading judges form only (an extension that is malformed or given twice makes the certificate unreadable);
// what the facts mean is decided in Trust. Source: RFC 5280, section 4.2.

import COpenSSL
public import Primitives

/// Bits of the keyUsage extension. RFC 5280, section 4.2.1.3.
public struct KeyUsage: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32

  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let digitalSignature = KeyUsage(rawValue: 0x80)
  public static let keyCertSign = KeyUsage(rawValue: 0x04)
  public static let crlSign = KeyUsage(rawValue: 0x02)
}

/// What the extendedKeyUsage extension allows, as far as TLS asks. RFC 5280, section 4.2.1.12.
public struct ExtendedKeyUsage: OptionSet, Hashable, Sendable {
  public let rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let serverAuth = ExtendedKeyUsage(rawValue: 1)
  public static let clientAuth = ExtendedKeyUsage(rawValue: 2)
  /// anyExtendedKeyUsage: every purpose.
  public static let any = ExtendedKeyUsage(rawValue: 4)
  /// A purpose that TLS does not use.
  public static let other = ExtendedKeyUsage(rawValue: 8)
}

/// One parsed certificate. Equal when the DER is.
public struct Certificate: Sendable, Hashable {
  public let der: [UInt8]
  /// First and last moment of validity, both inclusive.
  public let notBefore: Timestamp
  public let notAfter: Timestamp
  /// Subject for messages only, e.g. `CN=central`; may be empty and is chosen by the issuer.
  public let subject: String
  /// URI names in order. Bytes that are no UTF-8 become U+FFFD, which no SPIFFE ID contains.
  public let uriNames: [String]
  /// DNS names in order; irrelevant to SPIFFE peers.
  public let dnsNames: [String]
  /// basicConstraints cA; absent counts as false.
  public let isCA: Bool
  /// Nil when the extension is absent.
  public let keyUsage: KeyUsage?
  public let keyUsageIsCritical: Bool
  /// Nil when the extension is absent.
  public let extendedKeyUsage: ExtendedKeyUsage?

  /// The parsed certificate, shared with OpenSSL: validating it again need not parse it again.
  let object: X509Object

  /// Reads exactly one certificate.
  public init(der: [UInt8]) throws(TLSError) {
    try self.init(der: der, index: 0)
  }

  /// `index`: place within a file or chain, for the error.
  init(der: [UInt8], index: Int) throws(TLSError) {
    ErrorQueue.clear()
    let object = X509Object(der: der)
    ErrorQueue.clear()
    guard let object else { throw .certificateUnreadable(index: index, reason: "not one DER certificate") }
    try self.init(object, der: der, index: index)
  }

  /// Reads what OpenSSL has parsed already.
  init(_ object: X509Object, der: [UInt8], index: Int) throws(TLSError) {
    defer { ErrorQueue.clear() }
    let reader = CertificateReader(certificate: object, index: index)
    self.object = object
    self.der = der
    notBefore = try reader.notBefore()
    notAfter = try reader.notAfter()
    subject = reader.subject()
    (uriNames, dnsNames) = try reader.alternativeNames()
    isCA = try reader.isCA()
    (keyUsage, keyUsageIsCritical) = try reader.keyUsage()
    extendedKeyUsage = try reader.extendedKeyUsage()
  }

  /// All certificates of a PEM text in order; other blocks and text between blocks are passed over.
  public static func parse(pem: [UInt8]) throws(TLSError) -> [Certificate] {
    let blocks = try PEM.blocks(in: pem)
    var certificates: [Certificate] = []
    for block in blocks where PEM.certificateLabels.contains(block.label) {
      certificates.append(try Certificate(der: block.content, index: certificates.count))
    }
    guard !certificates.isEmpty else { throw .noCertificates }
    return certificates
  }

  /// All certificates of concatenated DER, as the SPIFFE Workload API has them; at least one.
  public static func parse(concatenatedDER bytes: [UInt8]) throws(TLSError) -> [Certificate] {
    var certificates: [Certificate] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      guard let length = DERLength.ofFirstElement(in: rest) else {
        throw .certificateUnreadable(index: certificates.count, reason: "not a DER sequence")
      }
      let der = Array(rest.prefix(length))
      certificates.append(try Certificate(der: der, index: certificates.count))
      rest = rest.dropFirst(length)
    }
    guard !certificates.isEmpty else { throw .noCertificates }
    return certificates
  }

  public static func == (left: Certificate, right: Certificate) -> Bool { left.der == right.der }

  public func hash(into hasher: inout Hasher) { hasher.combine(der) }
}

/// Where a DER element ends. X.690, section 8.1.3.
enum DERLength {
  /// Bytes of the SEQUENCE at the start of `bytes`, header included; nil when it is none or is cut short.
  static func ofFirstElement(in bytes: ArraySlice<UInt8>) -> Int? {
    let header = Array(bytes.prefix(6))
    guard header.count >= 2, header[0] == 0x30 else { return nil }
    let first = Int(header[1])
    if first < 0x80 { return bytes.count >= 2 + first ? 2 + first : nil }
    let lengthBytes = first & 0x7F
    guard (1...4).contains(lengthBytes), header.count >= 2 + lengthBytes else { return nil }
    // At most 4 bytes of length plus 6 of header: no overflow in Int.
    let length = header[2..<2 + lengthBytes].reduce(0) { $0 << 8 | Int($1) }
    let total = 2 + lengthBytes + length
    return bytes.count >= total ? total : nil
  }
}
