// What can go wrong in the TLS room, and the words for it: alerts, handshake results, errors.
// Sources: RFC 8446 section 6 (alerts), RFC 7301 section 3.2 (ALPN).

public import Primitives

/// One TLS alert as it travels on the wire. RFC 8446, section 6.
public struct TLSAlert: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  public static let badCertificate = TLSAlert(rawValue: 42)
  public static let unsupportedCertificate = TLSAlert(rawValue: 43)
  public static let certificateRevoked = TLSAlert(rawValue: 44)
  public static let certificateExpired = TLSAlert(rawValue: 45)
  public static let certificateUnknown = TLSAlert(rawValue: 46)
  public static let unknownCA = TLSAlert(rawValue: 48)
  public static let accessDenied = TLSAlert(rawValue: 49)
  public static let certificateRequired = TLSAlert(rawValue: 116)
  public static let noApplicationProtocol = TLSAlert(rawValue: 120)

  private static let names: [UInt8: String] = [
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow",
    40: "handshake_failure", 42: "bad_certificate", 43: "unsupported_certificate",
    44: "certificate_revoked", 45: "certificate_expired", 46: "certificate_unknown",
    47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied", 50: "decode_error",
    51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
    86: "inappropriate_fallback", 90: "user_canceled", 109: "missing_extension",
    110: "unsupported_extension", 112: "unrecognized_name", 116: "certificate_required",
    120: "no_application_protocol",
  ]

  public var description: String { TLSAlert.names[rawValue] ?? "alert \(rawValue)" }

  /// Whether a peer that sends this speaks of the certificate we presented, or of its absence.
  var concernsOurCertificate: Bool {
    switch self {
    case .badCertificate, .unsupportedCertificate, .certificateRevoked, .certificateExpired,
      .certificateUnknown, .unknownCA, .accessDenied, .certificateRequired:
      true
    default: false
    }
  }
}

/// How a handshake ended, in the words of the metric `handshakes_total{result}`.
public enum HandshakeResult: String, CaseIterable, Sendable {
  case ok
  case noCertificate = "no_certificate"
  case untrusted
  case expired
  case badID = "bad_id"
  case wrongID = "wrong_id"
  case alpn
  case `protocol`
  case timeout
  case closed
}

/// Everything the TLS room reports.
public enum TLSError: Explained, Equatable {
  /// OpenSSL's reason for not reading a certificate; `index` counts from 0 within its file or chain.
  case certificateUnreadable(index: Int, reason: String)
  case noCertificates
  /// A revocation list.
  case listUnreadable
  case keyUnreadable(reason: String)
  case keyEncrypted
  /// The private key is not that of the first certificate.
  case keyDoesNotMatch
  /// OpenSSL refused a setting or a credential, in its own words.
  case contextRefused(reason: String)

  /// The peer presented no certificate.
  case noPeerCertificate
  /// Our verifier refused the peer's certificate.
  case peerRejected(alert: TLSAlert, reason: String, result: HandshakeResult)
  /// The peer refused our certificate. In TLS 1.3 a client learns it only after its own handshake is done.
  case refusedByPeer(TLSAlert)
  /// The peer gave up for a reason of its own.
  case peerAlert(TLSAlert)
  /// The peer offers other protocols by ALPN, none of them ours.
  case noCommonProtocol
  /// Not TLS, wrong TLS, or TLS that we do not allow; OpenSSL's reason.
  case malformed(reason: String)
  /// The connection ended within the handshake.
  case closedEarly
  /// The connection ended without close_notify: what was received may be cut short.
  case truncated
  /// Nothing can be sent: the handshake is not done, or the connection has ended.
  case notEstablished
  /// The handshake took longer than `Limits.handshake`; told by who keeps the clock.
  case timedOut

  /// This error's label of the metric `handshakes_total{result}`.
  public var handshakeResult: String { result.rawValue }

  private var result: HandshakeResult {
    switch self {
    case .noPeerCertificate, .refusedByPeer(.certificateRequired): .noCertificate
    case .peerRejected(_, _, let result): result
    case .refusedByPeer(.certificateExpired): .expired
    case .refusedByPeer, .certificateUnreadable, .noCertificates: .untrusted
    case .noCommonProtocol, .peerAlert(.noApplicationProtocol): .alpn
    case .closedEarly, .truncated, .notEstablished: .closed
    case .timedOut: .timeout
    case .peerAlert, .malformed, .listUnreadable, .keyUnreadable, .keyEncrypted, .keyDoesNotMatch,
      .contextRefused:
      .protocol
    }
  }
}

extension TLSError {
  public var what: String {
    switch self {
    case .certificateUnreadable(let index, let reason): "Certificate \(index + 1) cannot be read: \(reason)"
    case .noCertificates: "There is no certificate"
    case .listUnreadable: "It is not one revocation list in DER"
    case .keyUnreadable(let reason): "The private key cannot be read: \(reason)"
    case .keyEncrypted: "The private key is encrypted"
    case .keyDoesNotMatch: "The private key is not that of the first certificate"
    case .contextRefused(let reason): "OpenSSL refused the TLS settings: \(reason)"
    case .noPeerCertificate: "The peer presented no certificate"
    case .peerRejected(let alert, let reason, _):
      "The peer's certificate was refused (\(alert)): \(reason)"
    case .refusedByPeer(let alert): "The peer refused our certificate: \(alert)"
    case .peerAlert(let alert): "The peer ended TLS with the alert \(alert)"
    case .noCommonProtocol: "The peer offers application protocols by ALPN, but not h2"
    case .malformed(let reason): "TLS failed: \(reason)"
    case .closedEarly: "The connection ended before the TLS handshake was done"
    case .truncated: "The connection ended without TLS close_notify"
    case .notEstablished: "TLS is not established"
    case .timedOut: "The TLS handshake took too long"
    }
  }

  public var why: String {
    switch self {
    case .refusedByPeer(.unknownCA): "Its bundle does not hold the authority of our SVID"
    case .refusedByPeer(.certificateExpired): "Our SVID is expired, or the clocks differ"
    case .refusedByPeer(.certificateRequired): "We presented no certificate"
    case .malformed(let reason) where reason.contains("wrong version number"):
      "The peer probably speaks plaintext"
    case .malformed(let reason) where reason.contains("unsupported protocol"):
      "The peer speaks only versions of TLS that are not allowed here"
    default: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .certificateUnreadable, .noCertificates: "Give X.509 certificates as PEM, leaf first"
    case .keyUnreadable, .keyEncrypted: "Give an unencrypted PKCS#8 or EC key as PEM"
    case .keyDoesNotMatch: "Give certificate and key from the same issue"
    case .noPeerCertificate: "Let the client present its X.509-SVID"
    case .refusedByPeer(.unknownCA): "Give the peer our trust bundle"
    case .noCommonProtocol: "Let the client offer h2"
    default: ""
    }
  }

  public var blame: Blame {
    switch self {
    case .certificateUnreadable, .noCertificates, .listUnreadable, .keyUnreadable, .keyEncrypted,
      .keyDoesNotMatch, .contextRefused:
      .operator
    case .notEstablished: .us
    default: .peer
    }
  }
}
