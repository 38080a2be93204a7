// Signatures over bytes: made with the private key of an SVID, checked with its certificate.
// ECDSA and RSA sign a SHA-256 digest; Ed25519 signs the bytes themselves (RFC 8032 knows no other way).
// No key ever leaves this file's calls, and none appears in an error.

import COpenSSL
public import Primitives

/// Why something could not be signed or a signature could not be judged. A wrong signature is no error.
public enum SignatureError: Explained, Equatable {
  case keyUnreadable
  case certificateUnreadable
  /// OpenSSL's words, e.g. for a key type that cannot sign.
  case refused(String)

  public var what: String {
    switch self {
    case .keyUnreadable: "The private key cannot be read"
    case .certificateUnreadable: "The signer's certificate cannot be read"
    case .refused(let reason): "OpenSSL refused to sign or verify: \(reason)"
    }
  }

  public var howToFix: String {
    switch self {
    case .keyUnreadable: "Give an unencrypted PKCS#8 key"
    case .certificateUnreadable: "Give one X.509 certificate as DER"
    case .refused: "Use an EC P-256 key"
    }
  }

  public var blame: Blame { .operator }
}

public enum Signature {
  /// Signs `message` with a PKCS#8 DER key. ECDSA signatures are random: two calls differ.
  public static func sign(_ message: [UInt8], key: [UInt8]) throws(SignatureError) -> [UInt8] {
    let key = try PublicKeyPointer(privateKey: key)
    let context = try SignatureContext()
    guard unsafe EVP_DigestSignInit(context.pointer, nil, key.digest, nil, key.pointer) == 1 else {
      throw .refused(lastReason())
    }
    var length = 0
    guard unsafe EVP_DigestSign(context.pointer, nil, &length, message, message.count) == 1 else {
      throw .refused(lastReason())
    }
    var signature = [UInt8](repeating: 0, count: length)
    guard unsafe EVP_DigestSign(context.pointer, &signature, &length, message, message.count) == 1 else {
      throw .refused(lastReason())
    }
    signature.removeLast(signature.count - length)
    return signature
  }

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

/// Owns one EVP_PKEY, private or public.
@safe
private struct PublicKeyPointer: ~Copyable {
  let pointer: OpaquePointer

  init(privateKey der: [UInt8]) throws(SignatureError) {
    let read = unsafe der.withUnsafeBufferPointer { bytes in
      var position = bytes.baseAddress
      return unsafe d2i_AutoPrivateKey(nil, &position, bytes.count)
    }
    ERR_clear_error()
    guard let read = unsafe read else { throw .keyUnreadable }
    unsafe pointer = read
  }

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
