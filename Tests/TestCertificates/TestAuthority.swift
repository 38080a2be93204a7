// Certificates made while a test runs: a signing authority of one trust domain and what it issues.
// Keys live in memory only. Wrong certificates are made by handing in other extensions, in the notation of
// OpenSSL's configuration files (x509v3_config(5)).

import COpenSSL
public import Primitives

/// What one certificate says. Extension values are OpenSSL configuration text; nil leaves the extension out.
public struct CertificatePlan {
  /// Empty: no subject at all.
  public var commonName = "test"
  public var basicConstraints: String? = "critical,CA:FALSE"
  public var keyUsage: String? = "critical,digitalSignature"
  public var extendedKeyUsage: String? = "serverAuth,clientAuth"
  /// For example `URI:spiffe://td/a,DNS:host`.
  public var subjectAlternativeName: String?
  public var nameConstraints: String?
  /// Adds a critical extension that nobody knows.
  public var unknownCriticalExtension = false
  /// When set, the DER content of the subject alternative name, for what the text form cannot say.
  public var rawSubjectAlternativeName: [UInt8]?
  /// Validity, in seconds since 1970.
  public var notBefore: Int64 = TestAuthority.epoch - 3600
  public var notAfter: Int64 = TestAuthority.epoch + 24 * 3600

  public init() {}

  public static func workload(_ id: String) -> CertificatePlan {
    var plan = CertificatePlan()
    plan.subjectAlternativeName = "URI:" + id
    return plan
  }

  public static func authority(_ trustDomain: String) -> CertificatePlan {
    var plan = CertificatePlan()
    plan.commonName = "authority of " + trustDomain
    plan.basicConstraints = "critical,CA:TRUE"
    plan.keyUsage = "critical,keyCertSign,cRLSign"
    plan.extendedKeyUsage = nil
    plan.subjectAlternativeName = "URI:spiffe://" + trustDomain
    plan.notAfter = TestAuthority.epoch + 7 * 24 * 3600
    return plan
  }
}

/// A leaf with its intermediates and its key.
public struct TestIdentity {
  /// DER, leaf first, without the root.
  public let chain: [[UInt8]]
  /// PKCS#8 DER.
  public let key: [UInt8]
  public let chainPEM: String
  public let keyPEM: String

  /// The key as it is read.
  public var secret: SecretBytes { SecretBytes(key) }
}

/// The kind of all keys of an authority.
public enum TestKeys: Sendable {
  /// What most SPIFFE authorities issue. Encoded signatures differ in length.
  case p256
  /// Signatures are deterministic and of one length: for histories that must repeat byte for byte in size.
  case ed25519
}

/// A key and certificate that can sign others. Root or intermediate.
@safe
public final class TestAuthority: Sendable {
  /// 2026-11-23T12:00:00Z: the instant around which everything is valid by default.
  public static let epoch: Int64 = 1_795_435_200

  public let trustDomain: String
  /// DER.
  public let certificate: [UInt8]
  // Never changed after the initializer, and OpenSSL locks its reference counts.
  nonisolated(unsafe) private let key: OpaquePointer
  nonisolated(unsafe) private let pointer: OpaquePointer
  /// Intermediates from this authority up to, not including, its root.
  private let path: [[UInt8]]

  private let keys: TestKeys

  /// A root that signed itself.
  public convenience init(_ trustDomain: String, plan: CertificatePlan? = nil, keys: TestKeys = .p256) {
    self.init(trustDomain, plan: plan ?? .authority(trustDomain), parent: nil, keys: keys)
  }

  private init(_ trustDomain: String, plan: CertificatePlan, parent: TestAuthority?, keys: TestKeys) {
    self.trustDomain = trustDomain
    self.keys = keys
    let key = unsafe TestAuthority.newKey(keys)
    let issuer = unsafe parent.map { unsafe (certificate: $0.pointer, key: $0.key) }
    let pointer = unsafe TestAuthority.make(plan, key: key, issuer: issuer)
    unsafe self.key = key
    unsafe self.pointer = pointer
    certificate = unsafe TestAuthority.der(pointer)
    path = parent.map { [unsafe TestAuthority.der(pointer)] + $0.path } ?? []
  }

  deinit {
    unsafe X509_free(pointer)
    unsafe EVP_PKEY_free(key)
  }

  public var certificatePEM: String { unsafe TestAuthority.pem(pointer) }

  /// An authority below this one.
  public func intermediate(_ plan: CertificatePlan? = nil) -> TestAuthority {
    var plan = plan ?? .authority(trustDomain)
    if plan.commonName == "authority of " + trustDomain { plan.commonName = "intermediate of " + trustDomain }
    return TestAuthority(trustDomain, plan: plan, parent: self, keys: keys)
  }

  public func issue(_ id: String) -> TestIdentity { issue(.workload(id)) }

  public func issue(_ plan: CertificatePlan) -> TestIdentity {
    let key = unsafe TestAuthority.newKey(keys)
    let leaf = unsafe TestAuthority.make(plan, key: key, issuer: (pointer, self.key))
    defer {
      unsafe X509_free(leaf)
      unsafe EVP_PKEY_free(key)
    }
    let chain = [unsafe TestAuthority.der(leaf)] + path
    return TestIdentity(
      chain: chain, key: unsafe TestAuthority.pkcs8(key),
      chainPEM: chain.map(TestAuthority.pem(der:)).joined(), keyPEM: unsafe TestAuthority.keyPEM(key))
  }

  /// A revocation list of this authority, as DER; by certificates' DER.
  public func revoking(_ certificates: [[UInt8]]) -> [UInt8] {
    let list = unsafe TestAuthority.require(X509_CRL_new())
    defer { unsafe X509_CRL_free(list) }
    unsafe TestAuthority.require(X509_CRL_set_version(list, 1))
    unsafe TestAuthority.require(X509_CRL_set_issuer_name(list, X509_get_subject_name(pointer)))
    let time = unsafe ASN1_TIME_set(nil, time_t(TestAuthority.epoch - 60))
    defer { unsafe ASN1_TIME_free(time) }
    unsafe TestAuthority.require(X509_CRL_set1_lastUpdate(list, time))
    for der in certificates {
      let certificate = unsafe TestAuthority.require(
        der.withUnsafeBufferPointer { bytes in
          var position = bytes.baseAddress
          return unsafe d2i_X509(nil, &position, bytes.count)
        })
      defer { unsafe X509_free(certificate) }
      let entry = unsafe TestAuthority.require(X509_REVOKED_new())
      unsafe TestAuthority.require(
        X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(certificate)))
      unsafe TestAuthority.require(X509_REVOKED_set_revocationDate(entry, time))
      unsafe TestAuthority.require(X509_CRL_add0_revoked(list, entry))
    }
    unsafe TestAuthority.require(X509_CRL_sign(list, key, keys == .ed25519 ? nil : EVP_sha256()))
    return unsafe TestAuthority.bytes { unsafe i2d_X509_CRL(list, $0) }
  }

  /// A certificate in PEM.
  public static func pem(der: [UInt8]) -> String {
    let certificate = unsafe der.withUnsafeBufferPointer { bytes in
      var position = bytes.baseAddress
      return unsafe d2i_X509(nil, &position, bytes.count)
    }
    defer { unsafe X509_free(certificate) }
    return unsafe pem(require(certificate))
  }
}

extension TestAuthority {
  /// A fresh key, encrypted with a password that is forgotten.
  public static func encryptedKeyPEM() -> String {
    let key = unsafe newKey(.p256)
    defer { unsafe EVP_PKEY_free(key) }
    let password = Array("forgotten".utf8)
    return unsafe text {
      unsafe PEM_write_bio_PrivateKey($0, key, EVP_aes_128_cbc(), password, Int32(password.count), nil, nil)
    }
  }
}

// The OpenSSL calls behind it. Every failure is a bug of the test that asked.
extension TestAuthority {
  private static func require(_ pointer: OpaquePointer?) -> OpaquePointer {
    guard let pointer = unsafe pointer else { preconditionFailure("OpenSSL refused a test certificate") }
    return unsafe pointer
  }

  private static func require(_ result: Int32) {
    precondition(result > 0, "OpenSSL refused a test certificate")
  }

  private static func newKey(_ keys: TestKeys) -> OpaquePointer {
    switch keys {
    case .p256: return unsafe require(copenssl_generate_p256())
    case .ed25519:
      var secret = [UInt8](repeating: 0, count: 32)
      unsafe require(RAND_bytes(&secret, 32))
      return unsafe require(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nil, secret, secret.count))
    }
  }

  private static func make(
    _ plan: CertificatePlan, key: OpaquePointer, issuer: (certificate: OpaquePointer, key: OpaquePointer)?
  ) -> OpaquePointer {
    let certificate = unsafe require(X509_new())
    unsafe require(X509_set_version(certificate, 2))
    // Always eight bytes when encoded.
    var serial: UInt64 = 0
    unsafe withUnsafeMutableBytes(of: &serial) {
      unsafe require(RAND_bytes($0.baseAddress?.assumingMemoryBound(to: UInt8.self), 8))
    }
    unsafe require(ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 2 | 1 << 62))
    _ = unsafe ASN1_TIME_set(X509_getm_notBefore(certificate), time_t(plan.notBefore))
    _ = unsafe ASN1_TIME_set(X509_getm_notAfter(certificate), time_t(plan.notAfter))
    let name = unsafe X509_get_subject_name(certificate)
    if !plan.commonName.isEmpty {
      unsafe require(
        X509_NAME_add_entry_by_txt(
          name, "CN", MBSTRING_UTF8, Array(plan.commonName.utf8), Int32(plan.commonName.utf8.count), -1, 0))
    }
    let issuerName = unsafe issuer.map { unsafe X509_get_subject_name($0.certificate) } ?? name
    unsafe require(X509_set_issuer_name(certificate, issuerName))
    unsafe require(X509_set_pubkey(certificate, key))
    unsafe addExtensions(plan, to: certificate, issuer: issuer?.certificate ?? certificate)
    let signer = unsafe issuer?.key ?? key
    let digest = unsafe EVP_PKEY_get_base_id(signer) == EVP_PKEY_ED25519 ? nil : EVP_sha256()
    unsafe require(X509_sign(certificate, signer, digest))
    return unsafe certificate
  }

  private static func addExtensions(
    _ plan: CertificatePlan, to certificate: OpaquePointer, issuer: OpaquePointer
  ) {
    var context = unsafe X509V3_CTX()
    unsafe X509V3_set_ctx(&context, issuer, certificate, nil, nil, 0)
    let values: [(Int32, String?)] = [
      (NID_basic_constraints, plan.basicConstraints), (NID_key_usage, plan.keyUsage),
      (NID_ext_key_usage, plan.extendedKeyUsage), (NID_subject_alt_name, plan.subjectAlternativeName),
      (NID_name_constraints, plan.nameConstraints), (NID_subject_key_identifier, "hash"),
      (NID_authority_key_identifier, "keyid"),
    ]
    for (kind, value) in values {
      guard let value else { continue }
      let added = unsafe require(X509V3_EXT_conf_nid(nil, &context, kind, value))
      unsafe require(X509_add_ext(certificate, added, -1))
      unsafe X509_EXTENSION_free(added)
    }
    if let raw = plan.rawSubjectAlternativeName {
      unsafe addRaw(raw, kind: NID_subject_alt_name, critical: 0, to: certificate)
    }
    if plan.unknownCriticalExtension {
      // Any kind that path validation does not evaluate will do: the Netscape comment is one.
      unsafe addRaw([0x16, 0x01, 0x78], kind: NID_netscape_comment, critical: 1, to: certificate)
    }
  }

  private static func addRaw(_ content: [UInt8], kind: Int32, critical: Int32, to certificate: OpaquePointer)
  {
    let octets = unsafe ASN1_OCTET_STRING_new()
    defer { unsafe ASN1_OCTET_STRING_free(octets) }
    unsafe require(ASN1_OCTET_STRING_set(octets, content, Int32(content.count)))
    let added = unsafe require(X509_EXTENSION_create_by_NID(nil, kind, critical, octets))
    unsafe require(X509_add_ext(certificate, added, -1))
    unsafe X509_EXTENSION_free(added)
  }

  private static func der(_ certificate: OpaquePointer) -> [UInt8] {
    unsafe bytes { unsafe i2d_X509(certificate, $0) }
  }

  private static func pkcs8(_ key: OpaquePointer) -> [UInt8] {
    let info = unsafe EVP_PKEY2PKCS8(key)
    defer { unsafe PKCS8_PRIV_KEY_INFO_free(info) }
    return unsafe bytes { unsafe i2d_PKCS8_PRIV_KEY_INFO(info, $0) }
  }

  private static func pem(_ certificate: OpaquePointer) -> String {
    unsafe text { unsafe PEM_write_bio_X509($0, certificate) }
  }

  private static func keyPEM(_ key: OpaquePointer) -> String {
    unsafe text { unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }
  }

  /// What an `i2d` function encodes: asked once for the length, once for the bytes.
  private static func bytes(_ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32)
    -> [UInt8]
  {
    let count = Int(encode(nil))
    precondition(count > 0, "OpenSSL refused to encode")
    return unsafe [UInt8](unsafeUninitializedCapacity: count) { target, used in
      var position = target.baseAddress
      used = unsafe Int(encode(&position))
    }
  }

  private static func text(_ write: (OpaquePointer?) -> Int32) -> String {
    let bio = unsafe BIO_new(BIO_s_mem())
    defer { unsafe BIO_free_all(bio) }
    unsafe require(write(bio))
    var start: UnsafePointer<UInt8>?
    let count = unsafe copenssl_bio_contents(bio, &start)
    return unsafe String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
  }
}
