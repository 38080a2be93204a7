// Goal: a response is taken whole or not at all, however its bytes are cut, and nothing a server sends traps or grows
// without limit. Method: tables of texts, every way to cut them, and mutilated ones.

import Primitives
import Testing

@testable import Transport

private func read(_ text: String, pieces: Int = 1, bodyBytesMax: Int = 100, ends: Bool = false) throws
  -> HTTPResponse?
{
  var reader = HTTPResponseReader(bodyBytesMax: bodyBytesMax)
  let bytes = Array(text.utf8)
  for start in stride(from: 0, to: bytes.count, by: max(1, bytes.count / pieces)) {
    let piece = Array(bytes[start..<min(bytes.count, start + max(1, bytes.count / pieces))])
    try unsafe piece.withUnsafeBytes { try unsafe reader.receive($0) }
  }
  if ends { try reader.receiveEnd() }
  return reader.response
}

struct HTTPResponseTests {
  @Test(arguments: [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ncontent-length:5\r\nX: y\r\n\r\nhello",
    "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more that nobody asked for",
  ])
  func whole(_ text: String) throws {
    for pieces in [1, 2, 3, 7, text.utf8.count] {
      let found = try #require(try read(text, pieces: pieces))
      #expect(found.status == 200 && found.body == Array("hello".utf8))
    }
  }

  @Test func untilTheEnd() throws {
    let text = "HTTP/1.1 200 OK\r\n\r\nhello"
    #expect(try read(text) == nil)
    #expect(try read(text, ends: true)?.body == Array("hello".utf8))
  }

  @Test func fieldsAndStatus() throws {
    let found = try #require(
      try read("HTTP/1.1 302 Found\r\nLocation: https://a/b\r\nContent-Length: 0\r\n\r\n"))
    #expect(found.status == 302 && found.field("location") == "https://a/b" && found.body == [])
    #expect(try read("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")?.body == [])
  }

  @Test(arguments: [
    "SSH-2.0-x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/1.1 abc\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nA B: c\r\n\r\n",
    "HTTP/1.1 200 OK\r\n: c\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFF\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n",
    "HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "x", count: 101),
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + String(repeating: "1", count: 300),
    "HTTP/1.1 200 OK\r\nA: " + String(repeating: "x", count: 20_000),
  ])
  func refused(_ text: String) {
    for pieces in [1, 3, 50] { #expect(throws: HTTPFault.self) { try read(text, pieces: pieces) } }
  }

  @Test(arguments: ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"])
  func cutShort(_ text: String) throws {
    #expect(try read(text) == nil)
    #expect(throws: HTTPFault.self) { try read(text, ends: true) }
  }

  @Test func mutilatedResponsesNeverTrap() {
    let good = Array(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n5\r\nhello\r\n0\r\n\r\n".utf8)
    var generator = SeededGenerator(seed: 91)
    for _ in 0..<5_000 {
      var bytes = good
      for _ in 0..<Int.random(in: 1...5, using: &generator) {
        bytes[Int.random(in: bytes.indices, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
      }
      let text = String(decoding: bytes, as: UTF8.self)
      _ = try? read(text, pieces: Int.random(in: 1...9, using: &generator), ends: true)
    }
  }

  @Test(arguments: [
    ("https://a.org", "https://a.org/"), ("https://a.org:8443/x?y=z", "https://a.org:8443/x?y=z"),
    ("HTTPS://a.org/", "https://a.org/"), ("https://[::1]:1/x", "https://[::1]:1/x"),
    ("https://a.org?q", "https://a.org/?q"),
  ])
  func targets(_ text: String, _ expected: String) {
    #expect(HTTPSTarget(url: text)?.description == expected)
  }

  @Test(arguments: [
    "", "http://a.org/", "/x", "https://", "https://u:p@a.org/", "https://a.org/#x", "https://a.org:0/",
    "https://a.org/\r\nX: y",
    "https://a.org:99999/",
  ])
  func noTargets(_ text: String) { #expect(HTTPSTarget(url: text) == nil) }
}
