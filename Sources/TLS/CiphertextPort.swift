// How OpenSSL reaches ciphertext: a BIO method of our own that reads the caller's bytes in place and writes
// straight into the caller's send buffer. It stores nothing, so an idle connection costs no buffer here.
// The port is open only during one call of `TLSEngine`; outside, reads find nothing and writes are lost by design.

import COpenSSL
import Primitives

/// The two ends that OpenSSL sees while one engine call runs.
@safe
final class CiphertextPort {
  private var input = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
  private var output: IOBuffer?

  /// Ciphertext of this call that OpenSSL has not read yet.
  var unreadBytes: Int { unsafe input.count }

  /// Lends `input` and `output` to OpenSSL until `close`.
  func open(input: UnsafeRawBufferPointer, output: IOBuffer) {
    unsafe self.input = input
    self.output = output
  }

  func close() {
    unsafe input = UnsafeRawBufferPointer(start: nil, count: 0)
    output = nil
  }

  /// Copies at most `capacity` bytes to `target`, where OpenSSL decrypts them; 0 when there are none.
  fileprivate func read(into target: UnsafeMutableRawPointer, capacity: Int) -> Int {
    let count = unsafe min(capacity, input.count)
    guard count > 0, let start = unsafe input.baseAddress else { return 0 }
    unsafe target.copyMemory(from: start, byteCount: count)
    unsafe input = UnsafeRawBufferPointer(rebasing: input.dropFirst(count))
    return count
  }

  fileprivate func write(_ bytes: UnsafeRawBufferPointer) {
    unsafe output?.append(bytes)
  }
}

extension CiphertextPort {
  /// A BIO over `port`, which must outlive it. Nil only when memory is out.
  static func makeBIO(over port: CiphertextPort) -> OpaquePointer? {
    guard let bio = unsafe BIO_new(method) else { return nil }
    unsafe BIO_set_data(bio, Unmanaged.passUnretained(port).toOpaque())
    unsafe BIO_set_init(bio, 1)
    return unsafe bio
  }

  /// Made once and never freed: OpenSSL's BIOs point to it.
  nonisolated(unsafe) private static let method: OpaquePointer? = {
    let method = unsafe BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "meshrelay ciphertext")
    unsafe BIO_meth_set_read_ex(method) { bio, target, capacity, count in
      guard let bio = unsafe bio, let target = unsafe target else { return 0 }
      let copied = unsafe port(of: bio)?.read(into: target, capacity: capacity) ?? 0
      unsafe count?.pointee = copied
      guard copied > 0 else {
        unsafe copenssl_want_more_input(bio)
        return 0
      }
      unsafe copenssl_no_retry(bio)
      return 1
    }
    unsafe BIO_meth_set_write_ex(method) { bio, source, length, count in
      guard let bio = unsafe bio else { return 0 }
      unsafe copenssl_no_retry(bio)
      unsafe port(of: bio)?.write(UnsafeRawBufferPointer(start: source, count: length))
      unsafe count?.pointee = length
      return 1
    }
    unsafe BIO_meth_set_ctrl(method) { _, command, _, _ in
      // OpenSSL flushes after each flight; there is nothing to flush. Every other command is unsupported.
      command == BIO_CTRL_FLUSH ? 1 : 0
    }
    return unsafe method
  }()

  private static func port(of bio: OpaquePointer) -> CiphertextPort? {
    guard let data = unsafe BIO_get_data(bio) else { return nil }
    return unsafe Unmanaged<CiphertextPort>.fromOpaque(data).takeUnretainedValue()
  }
}
