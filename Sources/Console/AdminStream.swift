// One blocking connection to an admin interface, with a time limit on every wait.

import Admin
import Glibc
import Primitives

struct AdminStream: ~Copyable {
  private let descriptor: CInt
  private let address: AdminAddress

  init(to address: AdminAddress, patience: Duration) throws(AdminClientError) {
    self.address = address
    let family: CInt
    switch address {
    case .unix: family = AF_UNIX
    case .loopback(let host, _): family = host.contains(":") ? AF_INET6 : AF_INET
    }
    descriptor = socket(family, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .noAnswer(address, reason: lastError()) }
    let nanoseconds = patience.inNanoseconds
    var limit = timeval(
      tv_sec: Int(nanoseconds / 1_000_000_000), tv_usec: Int(nanoseconds % 1_000_000_000 / 1000))
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      unsafe setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    guard connectTo(address) == 0 else {
      switch errno {
      case ENOENT, ECONNREFUSED, ENOTDIR: throw .notRunning(address)
      case EACCES, EPERM: throw .notPermitted(address)
      default: throw .noAnswer(address, reason: lastError())
      }
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  borrowing func send(_ bytes: [UInt8]) throws(AdminClientError) {
    var sent = 0
    while sent < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.send(
          descriptor, buffer.baseAddress.map { unsafe $0 + sent }, buffer.count - sent, CInt(MSG_NOSIGNAL))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw .noAnswer(address, reason: lastError()) }
      sent += count
    }
  }

  /// Appends what has come; 0 at the end of the stream.
  borrowing func receive(into bytes: inout [UInt8]) throws(AdminClientError) -> Int {
    while true {
      var chunk = [UInt8](repeating: 0, count: 64 * 1024)
      let count = unsafe chunk.withUnsafeMutableBytes { unsafe recv(descriptor, $0.baseAddress, $0.count, 0) }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else {
        let waited = errno == EAGAIN || errno == EWOULDBLOCK
        throw .noAnswer(address, reason: waited ? "it took too long" : lastError())
      }
      bytes.append(contentsOf: chunk[..<count])
      return count
    }
  }

  private borrowing func connectTo(_ address: AdminAddress) -> CInt {
    switch address {
    case .unix(let path):
      precondition(path.utf8.count <= AdminAddress.pathBytesMax, "admin socket path above sun_path")
      var target = sockaddr_un()
      target.sun_family = sa_family_t(AF_UNIX)
      unsafe withUnsafeMutableBytes(of: &target.sun_path) { unsafe $0.copyBytes(from: path.utf8) }
      return connect(descriptor, pointing: &target)
    case .loopback(let host, let port) where host.contains(":"):
      var target = sockaddr_in6()
      target.sin6_family = sa_family_t(AF_INET6)
      target.sin6_port = port.bigEndian
      target.sin6_addr = in6addr_loopback
      return connect(descriptor, pointing: &target)
    case .loopback(let host, let port):
      var target = sockaddr_in()
      target.sin_family = sa_family_t(AF_INET)
      target.sin_port = port.bigEndian
      unsafe inet_pton(AF_INET, host == "localhost" ? "127.0.0.1" : host, &target.sin_addr)
      return connect(descriptor, pointing: &target)
    }
  }
}

/// `connect` on any of the kernel's address structures.
private func connect<Address>(_ descriptor: CInt, pointing address: inout Address) -> CInt {
  unsafe withUnsafePointer(to: &address) { pointer in
    unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      unsafe Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<Address>.size))
    }
  }
}

private func lastError() -> String { unsafe String(cString: strerror(errno)) }
