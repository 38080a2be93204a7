// Goal: addresses as text: what is accepted, what is not, and that text comes back as it went in.
// Method: tables, and every byte value in the places where a grammar exists.

import Primitives
import Testing

@testable import Ring

@Suite struct SocketAddressTests {
  @Test(arguments: [
    ("127.0.0.1:15010", SocketAddress.ip4(0x7F00_0001, port: 15010)),
    ("0.0.0.0:0", .ip4(0, port: 0)),
    ("255.255.255.255:65535", .ip4(.max, port: 65535)),
    ("[::1]:80", .ip6(high: 0, low: 1, scope: 0, port: 80)),
    ("[::]:1", .ip6(high: 0, low: 0, scope: 0, port: 1)),
    (
      "[2001:db8::ff00:42:8329]:443",
      .ip6(high: 0x2001_0DB8_0000_0000, low: 0x0000_FF00_0042_8329, scope: 0, port: 443)
    ),
    ("[fe80::1%2]:80", .ip6(high: 0xFE80_0000_0000_0000, low: 1, scope: 2, port: 80)),
    ("unix:///run/x.sock", .unix(path: "/run/x.sock")),
  ])
  func literals(_ text: String, _ address: SocketAddress) {
    #expect(SocketAddress(literal: text) == address)
    #expect(address.description == text)
  }

  @Test(arguments: [
    "", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:+80", "127.0.0.1:-1",
    "127.0.0.1: 80",
    "127.0.0.1:80 ", "127.1:80", "256.0.0.1:80", "127.0.0.01:80x", "localhost:80", "example.org:443",
    "::1:80", "[::1]",
    "[::1]80", "[::1:80", "::1]:80", "[]:80", "[127.0.0.1]:80", "[::1%]:80", "[::1%0]:80",
    "[::1%no-such-if]:80",
    "[::1%4294967296]:80", "unix://", "unix:/run/x", "/run/x.sock", "unix:///a\u{0}b", "1.2.3.4\u{0}:80",
    "unix:///" + String(repeating: "x", count: 107),
  ])
  func notAddresses(_ text: String) {
    #expect(SocketAddress(literal: text) == nil)
  }

  @Test func otherSpellingsOfOneAddress() {
    #expect(SocketAddress(literal: "[0:0:0:0:0:0:0:1]:080") == .ip6(high: 0, low: 1, scope: 0, port: 80))
    #expect(SocketAddress(literal: "[2001:DB8::]:1")?.description == "[2001:db8::]:1")
  }

  @Test(arguments: UInt8.min...UInt8.max)
  func everyByteInAPort(_ byte: UInt8) {
    let text = "127.0.0.1:8" + String(UnicodeScalar(byte))
    let isDigit = (48...57).contains(byte)
    #expect((SocketAddress(literal: text) != nil) == isDigit)
  }

  @Test(arguments: [
    ("127.0.0.1:1", true), ("127.9.9.9:1", true), ("[::1]:1", true), ("[::ffff:127.0.0.1]:1", true),
    ("unix:///x", true),
    ("0.0.0.0:1", false), ("10.0.0.1:1", false), ("[::]:1", false), ("[::2]:1", false),
    ("[::ffff:10.0.0.1]:1", false),
  ])
  func loopback(_ text: String, _ expected: Bool) {
    #expect(SocketAddress(literal: text)?.isLoopback == expected)
  }

  @Test func ports() {
    #expect(SocketAddress(literal: "1.2.3.4:5")?.port == 5)
    #expect(SocketAddress(literal: "[::1]:5")?.withPort(6).description == "[::1]:6")
    #expect(SocketAddress(literal: "unix:///x")?.port == nil)
    #expect(SocketAddress(literal: "unix:///x")?.withPort(6) == .unix(path: "/x"))
  }

  @Test func longestPath() {
    let path = "/" + String(repeating: "x", count: 106)
    #expect(SocketAddress(literal: "unix://" + path) == .unix(path: path))
    #expect(SocketAddressMemory(.unix(path: path)) != nil)
    #expect(SocketAddressMemory(.unix(path: path + "x")) == nil)
    #expect(SocketAddressMemory(.unix(path: "")) == nil)
  }
}
