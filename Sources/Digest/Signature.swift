// Signatures over bytes, checked with the certificate of an SVID; its key makes them (TLS/PrivateKey).
// ECDSA and RSA sign a SHA-256 digest; Ed25519 signs the bytes themselves (RFC 8032 knows no other way).

import COpenSSL
public import Primitives

/// Why a signature could not be judged. A wrong signature is no error.
public enum SignatureError: Explained, Equatable {
  case certificateUnreadable
  /// OpenSSL's words, e.g. for a kind of key that makes no signatures.
  case refused(String)

  public var what: String {
    switch self {
    case .certificateUnreadable: "The signer's certificate cannot be read"
    case .refused(let reason): "OpenSSL refused to verify: \(reason)"
    }
  }

  public var howToFix: String {
    switch self {
    case .certificateUnreadable: "Give one X.509 certificate as DER"
    case .refused: "Use an EC P-256 key"
    }
  }

  public var blame: Blame { .operator }
}

public enum Signature {
  /// Whether `signature` is that of `message` under the key of the DER `certificate`.
  public static func verify(
    _ signature: [UInt8], of message: [UInt8], certificate: [UInt8]
  ) throws(SignatureError) -> Bool {
    let key = try PublicKeyPointer(certificate: certificate)
    let context = try SignatureContext()
    guard unsafe EVP_DigestVerifyInit(context.pointer, nil, key.digest, nil, key.pointer) == 1 else {
      throw .refused(lastReason())
    }
    let result = unsafe EVP_DigestVerify(
      context.pointer, signature, signature.count, message, message.count)
    // 0 and negative results both mean "not this signature"; the latter when it is not even well formed.
    ERR_clear_error()
    return result == 1
  }

  private static func lastReason() -> String {
    let code = ERR_get_error()
    ERR_clear_error()
    guard let text = unsafe ERR_reason_error_string(code) else { return "error \(code)" }
    return unsafe String(cString: text)
  }
}

/// Owns one EVP_MD_CTX for one signature.
@safe
private struct SignatureContext: ~Copyable {
  let pointer: OpaquePointer

  init() throws(SignatureError) {
    guard let pointer = unsafe EVP_MD_CTX_new() else { throw .refused("out of memory") }
    unsafe self.pointer = pointer
  }

  deinit { unsafe EVP_MD_CTX_free(pointer) }
}

/// Owns one EVP_PKEY.
@safe
private struct PublicKeyPointer: ~Copyable {
  let pointer: OpaquePointer

  init(certificate der: [UInt8]) throws(SignatureError) {
    let read = unsafe der.withUnsafeBufferPointer { bytes in
      var position = bytes.baseAddress
      let certificate = unsafe d2i_X509(nil, &position, bytes.count)
      defer { unsafe X509_free(certificate) }
      return unsafe X509_get_pubkey(certificate)
    }
    ERR_clear_error()
    guard let read = unsafe read else { throw .certificateUnreadable }
    unsafe pointer = read
  }

  deinit { unsafe EVP_PKEY_free(pointer) }

  /// The digest the key type signs with; none for the Edwards curves.
  var digest: OpaquePointer? {
    let type = unsafe EVP_PKEY_get_id(pointer)
    return unsafe type == EVP_PKEY_ED25519 || type == EVP_PKEY_ED448 ? nil : EVP_sha256()
  }
}
