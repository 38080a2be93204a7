// Where a stream socket listens or connects to: IPv4, IPv6 or a Unix path, as text and as the kernel's form.
//
// Stands beside the drivers: the only file that knows `sockaddr`. Text is what configuration files and
// status show: `127.0.0.1:15010`, `[::1]:80`, `[fe80::1%2]:80`, `unix:///run/x.sock`. IPv6 is written as
// RFC 5952 says. Never resolves names.

import Glibc

/// The address of one stream socket.
public enum SocketAddress: Hashable, Sendable, CustomStringConvertible {
  /// `address` in host byte order: 127.0.0.1 is 0x7F00_0001.
  case ip4(_ address: UInt32, port: UInt16)
  /// The 16 address bytes as two big-endian halves; `scope` is an interface index, 0 for none.
  case ip6(high: UInt64, low: UInt64, scope: UInt32, port: UInt16)
  /// A file system path, 1 to 107 bytes without NUL.
  case unix(path: String)

  /// Longest Unix path in bytes: `sun_path` less its final NUL. unix(7).
  static let pathBytesMax = 107

  /// Reads the text form; nil for host names and everything else that is no address.
  public init?(literal: String) {
    if literal.hasPrefix("unix://") {
      let path = String(literal.dropFirst("unix://".count))
      guard SocketAddress.isUsable(path) else { return nil }
      self = .unix(path: path)
      return
    }
    guard let colon = literal.lastIndex(of: ":"),
      let port = SocketAddress.port(literal[literal.index(after: colon)...])
    else { return nil }
    let host = literal[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      guard let address = SocketAddress.ip6(host.dropFirst().dropLast(), port: port) else { return nil }
      self = address
    } else {
      guard let address = SocketAddress.ip4(String(host)) else { return nil }
      self = .ip4(address, port: port)
    }
  }

  /// The port; nil for a Unix path. 0 asks the kernel for any free port when listening.
  public var port: UInt16? {
    switch self {
    case .ip4(_, let port): port
    case .ip6(_, _, _, let port): port
    case .unix: nil
    }
  }

  /// Only processes of this host can reach it: 127.0.0.0/8, ::1, or a Unix path.
  public var isLoopback: Bool {
    switch self {
    case .ip4(let address, _): address >> 24 == 127
    case .ip6(let high, let low, _, _):
      high == 0 && (low == 1 || (low >> 32 == 0xFFFF && (low >> 24) & 0xFF == 127))
    case .unix: true
    }
  }

  /// The same host with another port; a Unix path stays as it is.
  public func withPort(_ port: UInt16) -> SocketAddress {
    switch self {
    case .ip4(let address, _): .ip4(address, port: port)
    case .ip6(let high, let low, let scope, _): .ip6(high: high, low: low, scope: scope, port: port)
    case .unix: self
    }
  }

  public var description: String {
    switch self {
    case .ip4(let address, let port):
      return "\(address >> 24).\(address >> 16 & 255).\(address >> 8 & 255).\(address & 255):\(port)"
    case .ip6(let high, let low, let scope, let port):
      let host = SocketAddress.text(high: high, low: low)
      return scope == 0 ? "[\(host)]:\(port)" : "[\(host)%\(scope)]:\(port)"
    case .unix(let path):
      return "unix://" + path
    }
  }

  // MARK: text

  static func isUsable(_ path: String) -> Bool {
    (1...pathBytesMax).contains(path.utf8.count) && !path.utf8.contains(0)
  }

  /// Decimal digits only: `UInt16.init` alone would take a sign.
  private static func port(_ text: Substring) -> UInt16? {
    guard text.utf8.allSatisfy({ (48...57).contains($0) }) else { return nil }
    return UInt16(text)
  }

  private static func ip4(_ host: String) -> UInt32? {
    var address = in_addr()
    guard !host.utf8.contains(0), unsafe inet_pton(AF_INET, host, &address) == 1 else { return nil }
    return UInt32(bigEndian: address.s_addr)
  }

  private static func ip6(_ host: Substring, port: UInt16) -> SocketAddress? {
    let parts = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, !first.utf8.contains(0) else { return nil }
    var scope: UInt32 = 0
    if parts.count == 2 {
      guard let index = interfaceIndex(String(parts[1])) else { return nil }
      scope = index
    }
    var bytes = [UInt8](repeating: 0, count: 16)
    let read = unsafe bytes.withUnsafeMutableBytes {
      unsafe inet_pton(AF_INET6, String(first), $0.baseAddress)
    }
    guard read == 1 else { return nil }
    return .ip6(high: number(bytes[0..<8]), low: number(bytes[8..<16]), scope: scope, port: port)
  }

  /// An interface by number or by a name this host has; never 0.
  private static func interfaceIndex(_ text: String) -> UInt32? {
    guard !text.isEmpty, !text.utf8.contains(0) else { return nil }
    if text.utf8.allSatisfy({ (48...57).contains($0) }) {
      return UInt32(text).flatMap { $0 == 0 ? nil : $0 }
    }
    let index = unsafe if_nametoindex(text)
    return index == 0 ? nil : index
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }

  static func bytes(high: UInt64, low: UInt64) -> [UInt8] {
    [high, low].flatMap { half in
      stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: half >> UInt64($0)) }
    }
  }

  private static func text(high: UInt64, low: UInt64) -> String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    let source = bytes(high: high, low: low)
    unsafe source.withUnsafeBytes { source in
      unsafe text.withUnsafeMutableBufferPointer { target in
        _ = unsafe inet_ntop(AF_INET6, source.baseAddress, target.baseAddress, socklen_t(target.count))
      }
    }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

// MARK: the kernel's form

/// One `sockaddr` at a stable address: the kernel may read it until a connect has completed.
@safe
public final class SocketAddressMemory {
  let address: SocketAddress
  private let storage: UnsafeMutablePointer<sockaddr_storage>
  /// Bytes of the storage that mean something.
  let length: socklen_t

  /// Nil for a Unix path that is too long.
  init?(_ address: SocketAddress) {
    if case .unix(let path) = address, !SocketAddress.isUsable(path) { return nil }
    self.address = address
    unsafe storage = .allocate(capacity: 1)
    unsafe storage.initialize(to: sockaddr_storage())
    length = unsafe SocketAddressMemory.write(address, to: UnsafeMutableRawPointer(storage))
  }

  deinit { unsafe storage.deallocate() }

  var pointer: UnsafePointer<sockaddr> {
    unsafe UnsafeRawPointer(storage).assumingMemoryBound(to: sockaddr.self)
  }

  var family: Int32 {
    switch address {
    case .ip4: AF_INET
    case .ip6: AF_INET6
    case .unix: AF_UNIX
    }
  }

  private static func write(_ address: SocketAddress, to storage: UnsafeMutableRawPointer) -> socklen_t {
    switch address {
    case .ip4(let host, let port):
      var form = sockaddr_in()
      form.sin_family = sa_family_t(AF_INET)
      form.sin_port = port.bigEndian
      form.sin_addr.s_addr = host.bigEndian
      unsafe storage.storeBytes(of: form, as: sockaddr_in.self)
      return socklen_t(MemoryLayout<sockaddr_in>.size)
    case .ip6(let high, let low, let scope, let port):
      var form = sockaddr_in6()
      form.sin6_family = sa_family_t(AF_INET6)
      form.sin6_port = port.bigEndian
      form.sin6_scope_id = scope
      let bytes = SocketAddress.bytes(high: high, low: low)
      unsafe withUnsafeMutableBytes(of: &form.sin6_addr) { unsafe $0.copyBytes(from: bytes) }
      unsafe storage.storeBytes(of: form, as: sockaddr_in6.self)
      return socklen_t(MemoryLayout<sockaddr_in6>.size)
    case .unix(let path):
      let bytes = Array(path.utf8)
      unsafe storage.storeBytes(of: sa_family_t(AF_UNIX), as: sa_family_t.self)
      let offset = SocketAddress.pathOffset
      for (index, byte) in bytes.enumerated() {
        unsafe storage.storeBytes(of: byte, toByteOffset: offset + index, as: UInt8.self)
      }
      return socklen_t(offset + bytes.count + 1)
    }
  }
}

extension SocketAddress {
  /// Where `sun_path` begins: after the family.
  fileprivate static let pathOffset = MemoryLayout<sa_family_t>.size

  /// Reads what `getsockname` or `getpeername` wrote; nil for a family that is no stream socket of ours.
  /// A peer without a name on a Unix socket is `unix` with an empty path.
  init?(from call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32) {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let address: SocketAddress? = unsafe withUnsafeMutablePointer(to: &storage) { pointer in
      let raw = UnsafeMutableRawPointer(pointer)
      guard unsafe call(raw.assumingMemoryBound(to: sockaddr.self), &length) == 0 else { return nil }
      return unsafe SocketAddress.read(UnsafeRawPointer(raw), length: Int(length))
    }
    guard let address else { return nil }
    self = address
  }

  private static func read(_ raw: UnsafeRawPointer, length: Int) -> SocketAddress? {
    switch Int32(unsafe raw.load(as: sa_family_t.self)) {
    case AF_INET:
      let form = unsafe raw.load(as: sockaddr_in.self)
      return .ip4(UInt32(bigEndian: form.sin_addr.s_addr), port: UInt16(bigEndian: form.sin_port))
    case AF_INET6:
      let form = unsafe raw.load(as: sockaddr_in6.self)
      let bytes = unsafe withUnsafeBytes(of: form.sin6_addr) { unsafe Array($0) }
      return .ip6(
        high: number(bytes[0..<8]), low: number(bytes[8..<16]), scope: form.sin6_scope_id,
        port: UInt16(bigEndian: form.sin6_port))
    case AF_UNIX:
      let path = (pathOffset..<max(pathOffset, length)).map {
        unsafe raw.load(fromByteOffset: $0, as: UInt8.self)
      }
      return .unix(path: String(decoding: path.prefix { $0 != 0 }, as: UTF8.self))
    default:
      return nil
    }
  }
}
