// Raw bytes to and from a listener, a folder that vanishes, a counter: what the tests of this room share.

import Admin
import Glibc
import Synchronization
import Testing

/// A blocking client connection. Waits end after 20 s, so that a silent server fails the test.
final class Wire {
  struct Failure: Error { let call: String, code: CInt }

  private let descriptor: CInt

  init(_ address: AdminAddress) throws {
    var storage = sockaddr_storage()
    let size = Wire.fill(&storage, address)
    descriptor = socket(CInt(storage.ss_family), CInt(SOCK_STREAM.rawValue), 0)
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let result = unsafe withUnsafePointer(to: &storage) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe connect(descriptor, $0, size)
      }
    }
    guard result == 0 else { throw Failure(call: "connect", code: errno) }
  }

  deinit { close(descriptor) }

  /// Sends all and returns what comes until the server closes.
  func exchange(_ text: String) throws -> String {
    try send(text)
    return try receive(until: nil)
  }

  /// A server that has refused and closed is no failure of the sender: its answer is what counts.
  func send(_ text: String) throws {
    let bytes = Array(text.utf8)
    var sent = 0
    while sent < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.send(
          descriptor, buffer.baseAddress.map { unsafe $0 + sent }, buffer.count - sent, CInt(MSG_NOSIGNAL))
      }
      if count < 0, errno == EPIPE || errno == ECONNRESET { return }
      guard count > 0 else { throw Failure(call: "send", code: errno) }
      sent += count
    }
  }

  func receive(until mark: String?) throws -> String {
    var text = ""
    while true {
      var chunk = [UInt8](repeating: 0, count: 4096)
      let count = unsafe chunk.withUnsafeMutableBytes { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
      if count == 0 || count < 0 && errno == ECONNRESET { return text }
      guard count > 0 else { throw Failure(call: "recv", code: errno) }
      text += String(decoding: chunk[..<count], as: UTF8.self)
      if let mark, text.hasSuffix(mark) { return text }
    }
  }

  static func fill(_ storage: inout sockaddr_storage, _ address: AdminAddress) -> socklen_t {
    switch address {
    case .unix(let path):
      var target = sockaddr_un()
      target.sun_family = sa_family_t(AF_UNIX)
      unsafe withUnsafeMutableBytes(of: &target.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
      return copy(target, &storage)
    case .loopback("::1", let port):
      var target = sockaddr_in6()
      target.sin6_family = sa_family_t(AF_INET6)
      target.sin6_port = port.bigEndian
      target.sin6_addr = in6addr_loopback
      return copy(target, &storage)
    case .loopback(_, let port):
      var target = sockaddr_in()
      target.sin_family = sa_family_t(AF_INET)
      target.sin_port = port.bigEndian
      target.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
      return copy(target, &storage)
    }
  }

  private static func copy<Address>(_ address: Address, _ storage: inout sockaddr_storage) -> socklen_t {
    unsafe withUnsafeMutableBytes(of: &storage) { target in
      unsafe withUnsafeBytes(of: address) { unsafe target.copyMemory(from: $0) }
    }
    return socklen_t(MemoryLayout<Address>.size)
  }
}

/// Binds and closes, as a relay that was killed leaves its socket.
func leaveStaleSocket(at path: String) throws {
  var storage = sockaddr_storage()
  let size = Wire.fill(&storage, .unix(path: path))
  let descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  let result = unsafe withUnsafePointer(to: &storage) { pointer in
    unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe bind(descriptor, $0, size) }
  }
  guard result == 0 else { throw Wire.Failure(call: "bind", code: errno) }
}

/// A folder of its own, removed with what is in it (one level of folders).
final class TemporaryFolder {
  private let root: String

  init() throws {
    var template = Array("/tmp/meshrelay-test-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else { throw Wire.Failure(call: "mkdtemp", code: errno) }
    root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func path(_ name: String) -> String { root + "/" + name }

  deinit {
    for name in ["a.sock", "sub/a.sock"] { unsafe unlink(path(name)) }
    unsafe rmdir(path("sub"))
    unsafe rmdir(root)
  }
}

final class Counter: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .sequentiallyConsistent) }
  func add() { count.add(1, ordering: .sequentiallyConsistent) }
}
