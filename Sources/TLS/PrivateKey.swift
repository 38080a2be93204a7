// A private key: read once out of locked memory, then in OpenSSL's secure heap and nowhere else. All contexts and
// loops share it. It cannot be taken out again, is never printed, and in no error.

import COpenSSL
public import Primitives

/// One private key. OpenSSL counts references atomically and changes nothing in a key that is used, so threads share
/// it; it is wiped when the last context, connection and owner has let go of it.
@safe
public final class PrivateKey: Sendable, CustomStringConvertible, CustomReflectable {
  nonisolated(unsafe) private let raw: OpaquePointer

  /// Reads the first private key of a PEM text: PKCS#8, or the older EC and RSA forms; not encrypted.
  public convenience init(pem: SecretBytes) throws(TLSError) {
    SecureHeap.prepare()
    ErrorQueue.clear()
    let read: Result<OpaquePointer, TLSError> = unsafe pem.withBytes { bytes in
      guard let source = unsafe BIOPointer(reading: bytes) else {
        return unsafe .failure(.keyUnreadable(reason: "the file is too large"))
      }
      var count = 0
      var isEncrypted: Int32 = 0
      guard let der = unsafe copenssl_read_secret_pem(source.raw, &count, &isEncrypted) else {
        let code = ErrorQueue.take()
        return unsafe .failure(
          copenssl_wanted_password(code) != 0
            ? .keyEncrypted : .keyUnreadable(reason: ErrorQueue.reason(of: code)))
      }
      defer { unsafe copenssl_free_secret(der, count) }
      if isEncrypted != 0 { return unsafe .failure(.keyEncrypted) }
      return unsafe PrivateKey.read(UnsafeRawBufferPointer(start: der, count: count))
    }
    unsafe self.init(owning: try read.get())
  }

  /// Reads an unencrypted key as DER: PKCS#8, or the older EC and RSA forms.
  public convenience init(der: SecretBytes) throws(TLSError) {
    SecureHeap.prepare()
    ErrorQueue.clear()
    let read = unsafe der.withBytes { unsafe PrivateKey.read($0) }
    unsafe self.init(owning: try read.get())
  }

  private init(owning raw: OpaquePointer) { unsafe self.raw = raw }

  deinit { unsafe EVP_PKEY_free(raw) }

  private static func read(_ der: UnsafeRawBufferPointer) -> Result<OpaquePointer, TLSError> {
    defer { ErrorQueue.clear() }
    if let parts = unsafe KeyParts(der), let key = unsafe parts.makeKey(of: der) {
      return unsafe .success(key)
    }
    ErrorQueue.clear()
    // Kinds that OpenSSL has to take apart itself, which leaves a copy in memory that it has given back unwiped.
    var position = unsafe der.baseAddress?.assumingMemoryBound(to: UInt8.self)
    guard let key = unsafe d2i_AutoPrivateKey(nil, &position, der.count) else {
      return unsafe .failure(.keyUnreadable(reason: ErrorQueue.takeReason()))
    }
    return unsafe .success(key)
  }

  /// Whether this is the key of `certificate`, with both of its own halves.
  public func matches(_ certificate: Certificate) -> Bool {
    defer { ErrorQueue.clear() }
    guard unsafe X509_check_private_key(certificate.object.raw, raw) == 1,
      let check = unsafe EVP_PKEY_CTX_new(raw, nil)
    else { return false }
    defer { unsafe EVP_PKEY_CTX_free(check) }
    return unsafe EVP_PKEY_pairwise_check(check) == 1
  }

  /// Signs with SHA-256; Ed25519 signs the bytes themselves. ECDSA signatures are random: two differ. Nil for a kind of
  /// key that cannot sign.
  public func sign(_ message: [UInt8]) -> [UInt8]? {
    defer { ErrorQueue.clear() }
    guard let context = unsafe EVP_MD_CTX_new() else { return nil }
    defer { unsafe EVP_MD_CTX_free(context) }
    let kind = unsafe EVP_PKEY_get_id(raw)
    let digest = unsafe kind == EVP_PKEY_ED25519 || kind == EVP_PKEY_ED448 ? nil : EVP_sha256()
    var count = 0
    guard unsafe EVP_DigestSignInit(context, nil, digest, nil, raw) == 1,
      unsafe EVP_DigestSign(context, nil, &count, message, message.count) == 1
    else { return nil }
    var signature = [UInt8](repeating: 0, count: count)
    guard unsafe EVP_DigestSign(context, &signature, &count, message, message.count) == 1 else { return nil }
    signature.removeLast(signature.count - count)
    return signature
  }

  public var description: String { "private key" }

  public var customMirror: Mirror { Mirror(self, children: []) }

  /// The pointer, for the duration of `body`.
  func withPointer<R, E: Error>(_ body: (OpaquePointer) throws(E) -> R) throws(E) -> R {
    try unsafe body(raw)
  }
}
