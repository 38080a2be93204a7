// RFC 5280 path validation, as a pure function over certificates: no store, no clock, no cache.
// Which anchors are right and what the leaf may be is decided by the caller (Trust); here only cryptography,
// dates, constraints and linkage. Anchors may be intermediates: the path ends at the first one it meets.

import COpenSSL
public import Primitives

/// Why no path from a leaf to an anchor is valid.
public struct PathFailure: Error, Equatable, Sendable {
  public enum Kind: Sendable {
    /// No presented certificate and no anchor issued the certificate at `depth`.
    case untrusted
    case badSignature
    case expired
    case notYetValid
    /// The issuer is no authority, or may not sign certificates.
    case issuerNotAuthority
    case pathTooLong
    case unknownCriticalExtension
    /// A name constraint of an issuer excludes a name below it.
    case nameNotPermitted
    /// A key or digest below 112 bits of security.
    case weak
    case other
  }

  public let kind: Kind
  /// The certificate at fault: 0 is the leaf, 1 its issuer.
  public let depth: Int
  /// OpenSSL's words.
  public let reason: String

  public init(kind: Kind, depth: Int, reason: String) {
    self.kind = kind
    self.depth = depth
    self.reason = reason
  }
}

extension PathFailure {
  /// The right issuer was not among those tried.
  fileprivate var meansNoIssuer: Bool { kind == .badSignature || kind == .untrusted }
}

public enum CertificatePath {
  /// Certificates above the leaf that a path may have. Reason: real chains have one to three.
  public static let depthMax = 10

  /// Validates `chain` (leaf first, then what may help to reach an anchor, in any order) at one instant.
  /// - Returns: the path found: leaf first, anchor last, at least two certificates. A leaf that is itself an
  ///   anchor has no path: trust is never placed in a leaf.
  public static func validate(
    chain: [Certificate], anchors: [Certificate], at instant: Timestamp
  ) throws(PathFailure) -> [Certificate] {
    do throws(PathFailure) {
      return try validateOnce(chain: chain, anchors: anchors, at: instant)
    } catch {
      // Of several authorities of one name OpenSSL tries the first, when no key identifier tells them apart: while
      // an authority is replaced by its successor both are in the bundle.
      guard error.meansNoIssuer else { throw error }
      var closest = error
      for namesake in namesakes(among: anchors) {
        let rest = anchors.filter { $0.subject != namesake.subject }
        do throws(PathFailure) {
          return try validateOnce(chain: chain, anchors: [namesake] + rest, at: instant)
        } catch {
          if !error.meansNoIssuer { closest = error }
        }
      }
      throw closest
    }
  }

  /// Tries for one chain. Reason: two or three generations of an authority live at the same time.
  private static let namesakesMost = 8

  /// Anchors whose name another one bears, too.
  private static func namesakes(among anchors: [Certificate]) -> [Certificate] {
    guard anchors.count > 1 else { return [] }
    let counts = Dictionary(anchors.map { ($0.subject, 1) }, uniquingKeysWith: +)
    return Array(anchors.filter { counts[$0.subject] ?? 0 > 1 }.prefix(namesakesMost))
  }

  private static func validateOnce(
    chain: [Certificate], anchors: [Certificate], at instant: Timestamp
  ) throws(PathFailure) -> [Certificate] {
    ErrorQueue.clear()
    defer { ErrorQueue.clear() }
    guard let leaf = chain.first else {
      throw PathFailure(kind: .other, depth: 0, reason: "there is no certificate")
    }
    guard let presented = CertificateStack(chain.dropFirst()), let trusted = CertificateStack(anchors),
      let validation = unsafe X509_STORE_CTX_new()
    else { throw PathFailure(kind: .other, depth: 0, reason: "out of memory") }
    defer { unsafe X509_STORE_CTX_free(validation) }
    guard unsafe X509_STORE_CTX_init(validation, nil, leaf.object.raw, presented.raw) == 1 else {
      throw PathFailure(kind: .other, depth: 0, reason: ErrorQueue.takeReason())
    }
    unsafe X509_STORE_CTX_set0_trusted_stack(validation, trusted.raw)
    unsafe configure(X509_STORE_CTX_get0_param(validation), at: instant)
    guard unsafe X509_verify_cert(validation) == 1 else { throw unsafe failure(of: validation) }
    let path = unsafe CertificateStack.objects(in: X509_STORE_CTX_get0_chain(validation))
    guard path.count >= 2 else {
      throw PathFailure(kind: .untrusted, depth: 0, reason: "the leaf itself is in the bundle")
    }
    return path.map { find($0, in: chain, anchors) }
  }

  /// Validates the chain of a web server: an authority of this host, the name it was asked by, and its purpose.
  /// - Parameter host: a DNS name or an IP address.
  public static func validateForWeb(
    chain: [Certificate], host: String, at instant: Timestamp
  ) throws(PathFailure) {
    ErrorQueue.clear()
    defer { ErrorQueue.clear() }
    guard let leaf = chain.first else {
      throw PathFailure(kind: .other, depth: 0, reason: "there is no certificate")
    }
    guard let presented = CertificateStack(chain.dropFirst()), let store = unsafe X509_STORE_new() else {
      throw PathFailure(kind: .other, depth: 0, reason: "out of memory")
    }
    defer { unsafe X509_STORE_free(store) }
    // Where the distribution keeps them; $SSL_CERT_FILE and $SSL_CERT_DIR say otherwise.
    guard unsafe X509_STORE_set_default_paths(store) == 1, let validation = unsafe X509_STORE_CTX_new() else {
      throw PathFailure(kind: .other, depth: 0, reason: "the authorities of this host cannot be read")
    }
    defer { unsafe X509_STORE_CTX_free(validation) }
    guard unsafe X509_STORE_CTX_init(validation, store, leaf.object.raw, presented.raw) == 1 else {
      throw PathFailure(kind: .other, depth: 0, reason: ErrorQueue.takeReason())
    }
    let parameters = unsafe X509_STORE_CTX_get0_param(validation)
    unsafe X509_VERIFY_PARAM_set_time(parameters, time_t(instant.seconds))
    unsafe X509_VERIFY_PARAM_set_auth_level(parameters, 2)
    unsafe _ = X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_SSL_SERVER)
    // An address is asked for as such; whatever is none is a name.
    let isNamed =
      unsafe X509_VERIFY_PARAM_set1_ip_asc(parameters, host) == 1
      || X509_VERIFY_PARAM_set1_host(parameters, host, host.utf8.count) == 1
    guard isNamed else { throw PathFailure(kind: .other, depth: 0, reason: "'\(host)' is no host name") }
    guard unsafe X509_verify_cert(validation) == 1 else { throw unsafe failure(of: validation) }
  }

  /// The path consists of references to what was given, so it is found by identity.
  private static func find(_ object: X509Object, in chain: [Certificate], _ anchors: [Certificate])
    -> Certificate
  {
    let isSame = { (certificate: Certificate) in unsafe certificate.object.raw == object.raw }
    guard let certificate = chain.first(where: isSame) ?? anchors.first(where: isSame) else {
      preconditionFailure("OpenSSL put a certificate into a path that nobody gave it")
    }
    return certificate
  }

  private static func configure(_ parameters: OpaquePointer?, at instant: Timestamp) {
    unsafe X509_VERIFY_PARAM_set_time(parameters, time_t(instant.seconds))
    unsafe X509_VERIFY_PARAM_set_depth(parameters, Int32(depthMax))
    // Level 2: 112 bits, so no RSA below 2048 bits and no SHA-1 signatures.
    unsafe X509_VERIFY_PARAM_set_auth_level(parameters, 2)
    unsafe _ = X509_VERIFY_PARAM_set_flags(parameters, UInt(X509_V_FLAG_PARTIAL_CHAIN))
  }

  private static func failure(of validation: OpaquePointer) -> PathFailure {
    let code = unsafe X509_STORE_CTX_get_error(validation)
    let text = unsafe String(cString: X509_verify_cert_error_string(Int(code)))
    let depth = unsafe Int(X509_STORE_CTX_get_error_depth(validation))
    return PathFailure(kind: kind(of: code), depth: max(depth, 0), reason: text)
  }

  private static func kind(of code: Int32) -> PathFailure.Kind {
    switch code {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
      X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
      X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, X509_V_ERR_CERT_UNTRUSTED:
      .untrusted
    case X509_V_ERR_CERT_SIGNATURE_FAILURE, X509_V_ERR_UNABLE_TO_DECRYPT_CERT_SIGNATURE: .badSignature
    case X509_V_ERR_CERT_HAS_EXPIRED: .expired
    case X509_V_ERR_CERT_NOT_YET_VALID: .notYetValid
    case X509_V_ERR_INVALID_CA, X509_V_ERR_KEYUSAGE_NO_CERTSIGN: .issuerNotAuthority
    case X509_V_ERR_PATH_LENGTH_EXCEEDED, X509_V_ERR_CERT_CHAIN_TOO_LONG: .pathTooLong
    case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION: .unknownCriticalExtension
    case X509_V_ERR_PERMITTED_VIOLATION, X509_V_ERR_EXCLUDED_VIOLATION, X509_V_ERR_SUBTREE_MINMAX,
      X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE, X509_V_ERR_UNSUPPORTED_CONSTRAINT_SYNTAX,
      X509_V_ERR_UNSUPPORTED_NAME_SYNTAX:
      .nameNotPermitted
    case X509_V_ERR_EE_KEY_TOO_SMALL, X509_V_ERR_CA_KEY_TOO_SMALL, X509_V_ERR_CA_MD_TOO_WEAK: .weak
    default: .other
    }
  }
}
