// SHA-256 over bytes, in one call or as a stream. Source: FIPS 180-4, computed by OpenSSL's EVP interface.
// Content versions and the audit chain stand on it; nothing here knows what the bytes mean.

import COpenSSL

/// Fetched once: what `EVP_sha256()` names is looked up in OpenSSL's tables, under its locks, for each hash. Never
/// changed, and not freed before the process ends.
nonisolated(unsafe) private let algorithm: OpaquePointer = {
  guard let fetched = unsafe EVP_MD_fetch(nil, "SHA256", nil) else {
    preconditionFailure("OpenSSL without SHA-256 cannot run this program")
  }
  return unsafe fetched
}()

/// A hash of nothing so far. To copy it costs less than to begin anew.
nonisolated(unsafe) private let beginning: OpaquePointer = {
  guard let context = unsafe EVP_MD_CTX_new() else {
    preconditionFailure("no memory for a SHA-256 state of about 200 bytes")
  }
  let done = unsafe EVP_DigestInit_ex2(context, algorithm, nil)
  precondition(done == 1, "OpenSSL without SHA-256 cannot run this program")
  return unsafe context
}()

/// SHA-256 of bytes that are at hand.
public enum SHA256 {
  /// Bytes of a digest.
  public static let byteCount = 32

  public static func hash(_ bytes: [UInt8]) -> [UInt8] {
    unsafe bytes.withUnsafeBytes { unsafe hash($0) }
  }

  public static func hash(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: byteCount)
    let done = unsafe EVP_Digest(bytes.baseAddress, bytes.count, &digest, nil, algorithm, nil)
    precondition(done == 1, "OpenSSL without SHA-256 cannot run this program")
    return digest
  }
}

/// SHA-256 of bytes that arrive piece by piece. A value: a copy goes its own way.
public struct SHA256Stream {
  private var context = HashContext()

  public init() {}

  public mutating func update(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe update($0) }
  }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    makeUnique()
    unsafe context.update(bytes)
  }

  /// The digest of everything since the start or the last `finish`; the stream begins anew.
  public mutating func finish() -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: SHA256.byteCount)
    finish(into: &digest)
    return digest
  }

  /// The same, into `digest`, which has `SHA256.byteCount` bytes: for many in a row.
  public mutating func finish(into digest: inout [UInt8]) {
    precondition(digest.count == SHA256.byteCount, "a SHA-256 digest has 32 bytes")
    makeUnique()
    context.finish(into: &digest)
  }

  private mutating func makeUnique() {
    if !isKnownUniquelyReferenced(&context) { context = HashContext(copying: context) }
  }
}

/// Owns one EVP_MD_CTX, always initialised for SHA-256.
@safe
private final class HashContext {
  private let pointer: OpaquePointer

  convenience init(copying other: HashContext) {
    self.init()
    unsafe copy(other.pointer)
  }

  init() {
    guard let pointer = unsafe EVP_MD_CTX_new() else {
      preconditionFailure("no memory for a SHA-256 state of about 200 bytes")
    }
    unsafe self.pointer = pointer
    unsafe copy(beginning)
  }

  private func copy(_ other: OpaquePointer) {
    let done = unsafe EVP_MD_CTX_copy_ex(pointer, other)
    precondition(done == 1, "no memory for a SHA-256 state of about 200 bytes")
  }

  deinit { unsafe EVP_MD_CTX_free(pointer) }

  func update(_ bytes: UnsafeRawBufferPointer) {
    guard unsafe !bytes.isEmpty else { return }
    let done = unsafe EVP_DigestUpdate(pointer, bytes.baseAddress, bytes.count)
    precondition(done == 1, "OpenSSL refused to hash bytes")
  }

  func finish(into digest: inout [UInt8]) {
    let done = unsafe EVP_DigestFinal_ex(pointer, &digest, nil)
    precondition(done == 1, "OpenSSL refused to finish a hash")
    unsafe copy(beginning)
  }
}
