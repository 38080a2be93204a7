// Owners of OpenSSL objects, and OpenSSL's error queue. Each pointer has one owner here that frees it;
// no other file frees anything. Nothing but this room sees these types.

import COpenSSL

/// OpenSSL's per-thread error queue.
enum ErrorQueue {
  /// Call before an operation whose failure will be explained: older entries would be mistaken for its reason.
  static func clear() { ERR_clear_error() }

  /// The oldest entry, which is the cause of the later ones, in OpenSSL's words; the queue is empty afterwards.
  static func takeReason() -> String { reason(of: take()) }

  static func take() -> UInt {
    let code = ERR_get_error()
    ERR_clear_error()
    return code
  }

  static func reason(of code: UInt) -> String {
    guard code != 0 else { return "no reason given" }
    guard let text = unsafe ERR_reason_error_string(code) else { return "error \(code)" }
    return unsafe String(cString: text)
  }
}

/// Owns one reference to an X509, which is never changed once parsed: OpenSSL counts references atomically and
/// locks what it computes late, so threads may share it.
@safe
final class X509Object: Sendable {
  nonisolated(unsafe) let raw: OpaquePointer

  /// Nil when `der` is not exactly one certificate. Costs about 0.1 ms: parse once, then share.
  init?(der: [UInt8]) {
    let read = unsafe der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
      var position = bytes.baseAddress
      guard let certificate = unsafe d2i_X509(nil, &position, bytes.count) else { return nil }
      guard let end = unsafe bytes.baseAddress.map({ unsafe $0 + bytes.count }), unsafe position == end else {
        unsafe X509_free(certificate)
        return nil
      }
      return unsafe certificate
    }
    guard let read = unsafe read else { return nil }
    unsafe raw = read
  }

  /// A further reference to a certificate that OpenSSL has parsed.
  init(sharing certificate: OpaquePointer) {
    let counted = unsafe X509_up_ref(certificate)
    precondition(counted == 1, "an X509 has more references than an Int32 holds")
    unsafe raw = certificate
  }

  deinit { unsafe X509_free(raw) }

  var der: [UInt8] { unsafe DEREncoding.bytes { unsafe i2d_X509(raw, $0) } }
}

/// Owns an X509_CRL, which is never changed once parsed; OpenSSL locks what it sorts late, so threads may share it.
@safe
final class CRLObject: Sendable {
  nonisolated(unsafe) let raw: OpaquePointer

  /// Nil when `der` is not exactly one list.
  init?(der: [UInt8]) {
    let read = unsafe der.withUnsafeBufferPointer { bytes -> OpaquePointer? in
      var position = bytes.baseAddress
      guard let list = unsafe d2i_X509_CRL(nil, &position, bytes.count) else { return nil }
      guard let end = unsafe bytes.baseAddress.map({ unsafe $0 + bytes.count }), unsafe position == end else {
        unsafe X509_CRL_free(list)
        return nil
      }
      return unsafe list
    }
    guard let read = unsafe read else { return nil }
    unsafe raw = read
  }

  deinit { unsafe X509_CRL_free(raw) }
}

/// Owns a memory BIO that reads from bytes which outlive it.
@safe
struct BIOPointer: ~Copyable {
  let raw: OpaquePointer

  init?(reading bytes: UnsafeRawBufferPointer) {
    guard let count = Int32(exactly: bytes.count),
      let bio = unsafe BIO_new_mem_buf(bytes.baseAddress ?? UnsafeRawPointer(bitPattern: 1), count)
    else { return nil }
    unsafe raw = bio
  }

  deinit { unsafe BIO_free_all(raw) }
}

/// Owns a stack of references to certificates.
@safe
struct CertificateStack: ~Copyable {
  let raw: OpaquePointer

  /// Nil only when memory is out.
  init?(_ certificates: some Sequence<Certificate>) {
    guard let stack = unsafe copenssl_certificates_new() else { return nil }
    guard unsafe CertificateStack.push(certificates, onto: stack) else {
      unsafe copenssl_certificates_free(stack)
      return nil
    }
    unsafe raw = stack
  }

  private static func push(_ certificates: some Sequence<Certificate>, onto stack: OpaquePointer) -> Bool {
    for certificate in certificates {
      let object = certificate.object
      guard unsafe X509_up_ref(object.raw) == 1 else { return false }
      guard unsafe copenssl_certificates_push(stack, object.raw) > 0 else {
        unsafe X509_free(object.raw)
        return false
      }
    }
    return true
  }

  deinit { unsafe copenssl_certificates_free(raw) }

  /// The certificates of a stack that somebody else owns, in order; empty for none.
  static func objects(in stack: OpaquePointer?) -> [X509Object] {
    let count = unsafe copenssl_certificates_count(stack)
    return (0..<max(count, 0)).compactMap { index in
      unsafe copenssl_certificates_at(stack, index).map { unsafe X509Object(sharing: $0) }
    }
  }
}

/// OpenSSL's `i2d` convention: asked once for the length, once for the bytes.
enum DEREncoding {
  static func bytes(
    _ encode: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?) -> Int32
  ) -> [UInt8] {
    let count = Int(encode(nil))
    guard count > 0 else { return [] }
    return unsafe [UInt8](unsafeUninitializedCapacity: count) { target, used in
      var position = target.baseAddress
      used = unsafe Int(encode(&position))
    }
  }
}
