// A private key: read, matched with its certificate, handed on as PKCS#8. Never printed, never in an error.

import COpenSSL

/// Owns one private key. Its description says nothing about it.
@safe
public final class PrivateKey: CustomStringConvertible, CustomReflectable {
  private let key: KeyPointer

  /// Reads the first private key of a PEM text: PKCS#8, or the older EC and RSA forms; not encrypted.
  public init(pem: [UInt8]) throws(TLSError) {
    ErrorQueue.clear()
    let read: OpaquePointer? = unsafe pem.withUnsafeBytes { bytes in
      guard let source = unsafe BIOPointer(reading: bytes) else { return nil }
      return unsafe copenssl_read_private_key(source.raw)
    }
    guard let read = unsafe read else {
      let code = ErrorQueue.take()
      if copenssl_wanted_password(code) != 0 { throw .keyEncrypted }
      throw .keyUnreadable(reason: ErrorQueue.reason(of: code))
    }
    unsafe key = KeyPointer(owning: read)
  }

  /// Reads an unencrypted key as DER: PKCS#8, or the older EC and RSA forms.
  public init(der: [UInt8]) throws(TLSError) {
    ErrorQueue.clear()
    let read = unsafe der.withUnsafeBufferPointer { bytes in
      var position = bytes.baseAddress
      return unsafe d2i_AutoPrivateKey(nil, &position, bytes.count)
    }
    guard let read = unsafe read else { throw .keyUnreadable(reason: ErrorQueue.takeReason()) }
    unsafe key = KeyPointer(owning: read)
  }

  /// The key as PKCS#8 DER. Secret.
  public var pkcs8: [UInt8] {
    guard let info = unsafe EVP_PKEY2PKCS8(key.raw) else { return [] }
    defer { unsafe PKCS8_PRIV_KEY_INFO_free(info) }
    return unsafe DEREncoding.bytes { unsafe i2d_PKCS8_PRIV_KEY_INFO(info, $0) }
  }

  /// Whether this is the key of `certificate`.
  public func matches(_ certificate: Certificate) -> Bool {
    defer { ErrorQueue.clear() }
    return unsafe X509_check_private_key(certificate.object.raw, key.raw) == 1
  }

  public var description: String { "private key" }

  public var customMirror: Mirror { Mirror(self, children: []) }

  /// The pointer, for the duration of `body`.
  func withPointer<R, E: Error>(_ body: (OpaquePointer) throws(E) -> R) throws(E) -> R {
    try unsafe body(key.raw)
  }
}
