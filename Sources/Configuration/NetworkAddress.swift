// Where to listen and whom to dial, as configuration writes it: `host:port`, `[IPv6]:port`.
// Names are not resolved here. Source: RFC 3986, section 3.2, without user information.

internal import Glibc

/// A host and a port.
public struct NetworkAddress: Hashable, Sendable, CustomStringConvertible {
  /// A DNS name or an IP address; IPv6 without brackets.
  public let host: String
  /// 0 lets the kernel choose, which only listening may ask for.
  public let port: UInt16

  /// What is wrong with a text: clauses for a problem. Never repeats what may be a secret.
  struct Fault: Error, Equatable {
    let what: String
    let howToFix: String

    init(_ what: String, _ howToFix: String = "write it like host:15010") {
      self.what = what
      self.howToFix = howToFix
    }
  }

  init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  init(parsing text: String) throws(Fault) {
    guard !text.contains("@") else {
      throw Fault("has user information in it", "remove everything up to the @")
    }
    guard !text.contains("://") else { throw Fault("is a URL, not an address") }
    guard !text.contains("/") else { throw Fault("has a path in it") }
    guard let colon = text.lastIndex(of: ":") else { throw Fault("has no port") }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
      guard NetworkAddress.isIPv6(host) else { throw Fault("has no IPv6 address in its brackets") }
    } else {
      guard !host.contains(":") else {
        throw Fault("has more than one colon", "write IPv6 addresses in brackets, like [::1]:15010")
      }
      guard NetworkAddress.isIPv4(host) || NetworkAddress.isName(host) else {
        throw Fault("has no host name or IP address before the port")
      }
    }
    let digits = text[text.index(after: colon)...]
    guard !digits.isEmpty, digits.utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains),
      let port = UInt16(digits)
    else { throw Fault("has a port that is no number from 1 to 65535") }
    self.init(host: host, port: port)
  }

  public var isIPAddress: Bool { NetworkAddress.isIPv4(host) || NetworkAddress.isIPv6(host) }

  /// Reached from this host only: 127.0.0.0/8 or ::1. Names never count: what they mean can change.
  public var isLoopback: Bool {
    NetworkAddress.isIPv4(host) ? host.hasPrefix("127.") : NetworkAddress.isIPv6Loopback(host)
  }

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  private static func isIPv4(_ text: String) -> Bool {
    var address = in_addr()
    return unsafe inet_pton(AF_INET, text, &address) == 1
  }

  private static func isIPv6(_ text: String) -> Bool {
    var address = in6_addr()
    return unsafe inet_pton(AF_INET6, text, &address) == 1
  }

  private static func isIPv6Loopback(_ text: String) -> Bool {
    var bytes = [UInt8](repeating: 0, count: 16)
    return unsafe inet_pton(AF_INET6, text, &bytes) == 1 && bytes == Array(repeating: 0, count: 15) + [1]
  }

  /// Letters, digits, `-` and `_` in labels of 1 to 63, at most 253 in all, and the last one no number:
  /// `10.0.0` is a mistyped address.
  static func isName(_ text: String) -> Bool {
    let labels = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard text.utf8.count <= 253, let last = labels.last, !last.allSatisfy(isDigit) else { return false }
    return labels.allSatisfy { (1...63).contains($0.count) && $0.allSatisfy(isNameByte) }
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
