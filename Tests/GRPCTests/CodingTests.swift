// Goal: header values survive both ways, and no value of a peer can make a decoder fail or trap.
// Method: tables from the specification, every byte 0…255, and random text with a printed seed.

import GRPC
import HTTP2
import Primitives
import Testing

@Suite struct CodingTests {
  @Test(arguments: [
    ("", ""), ("plain text ~", "plain text ~"), ("100%", "100%25"), ("a\nb", "a%0Ab"), ("é", "%C3%A9"),
    ("\u{7f}", "%7F"), ("日本", "%E6%97%A5%E6%9C%AC"), ("\u{0}", "%00"),
  ])
  func percentBothWays(text: String, coded: String) {
    #expect(PercentCoding.encode(text) == coded)
    #expect(PercentCoding.decode(coded) == text)
  }

  @Test(arguments: [
    ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%%41", "%A"), ("a%2", "a%2"), ("%4g%41", "%4gA"),
    ("%c3%a9", "é"), ("%ff", "\u{fffd}"), ("%2541", "%41"),
  ])
  func badEscapesStay(coded: String, text: String) {
    #expect(PercentCoding.decode(coded) == text)
  }

  @Test func everyByteIsPrintableAfterPercentCoding() {
    for value in UInt32(0)...255 {
      let text = String(Character(Unicode.Scalar(UInt8(value))))
      let coded = PercentCoding.encode(text)
      #expect(coded.utf8.allSatisfy { (0x20...0x7e).contains($0) })
      #expect(PercentCoding.decode(coded) == text)
    }
  }

  @Test(
    arguments: [
      ([], ""), ([0], "AA"), ([0, 1], "AAE"), ([0, 1, 2], "AAEC"), ([255, 255, 255, 255], "/////w"),
      (Array("any carnal pleas".utf8), "YW55IGNhcm5hbCBwbGVhcw"),
    ] as [([UInt8], String)])
  func base64BothWays(bytes: [UInt8], coded: String) {
    #expect(BinaryHeader.encode(bytes) == coded)
    #expect(BinaryHeader.decode(coded) == [bytes])
    let padded = coded + String(repeating: "=", count: (4 - coded.utf8.count % 4) % 4)
    #expect(BinaryHeader.decode(padded) == [bytes])
  }

  @Test(
    arguments: [
      ("AA,AAE=", [[0], [0, 1]]), ("AA, AA", [[0], [0]]), ("A", nil), ("AA=", nil), ("A===", nil),
      ("A-", nil),
      ("AA==AA", nil), ("AAAA=", nil), ("é", nil), (",", [[], []]),
    ] as [(String, [[UInt8]]?)])
  func base64OfPeers(coded: String, values: [[UInt8]]?) {
    #expect(BinaryHeader.decode(coded) == values)
  }

  @Test func randomBytesSurviveBase64() {
    let seed: UInt64 = 0x5eed_0001
    var random = SeededGenerator(seed: seed)
    for _ in 0..<500 {
      let bytes = (0..<Int.random(in: 0...70, using: &random)).map { _ in
        UInt8.random(in: 0...255, using: &random)
      }
      #expect(BinaryHeader.decode(BinaryHeader.encode(bytes)) == [bytes], "seed \(seed)")
    }
  }

  @Test(
    arguments: [
      ("1H", .seconds(3600)), ("2M", .seconds(120)), ("30S", .seconds(30)), ("0S", .zero),
      ("5m", .milliseconds(5)), ("7u", .microseconds(7)), ("9n", .nanoseconds(9)),
      ("99999999H", .seconds(99_999_999 * 3600)), ("00000001S", .seconds(1)), ("", nil), ("S", nil),
      ("1", nil),
      ("1s", nil), ("123456789S", nil), ("-1S", nil), ("+1S", nil), (" 1S", nil), ("1 S", nil), ("1.5S", nil),
      ("١S", nil),
    ] as [(String, Duration?)])
  func timeouts(text: String, duration: Duration?) {
    #expect(Timeout.parse(text) == duration)
  }

  @Test(
    arguments: [
      (.zero, "0n"), (.nanoseconds(-5), "0n"), (.milliseconds(10), "10000000n"), (.seconds(1), "1000000u"),
      (.seconds(100), "100000m"), (.seconds(100_000), "100000S"), (.seconds(100_000_000), "1666666M"),
      (.seconds(Int64.max), "99999999H"),
    ] as [(Duration, String)])
  func timeoutsAsSent(duration: Duration, text: String) {
    #expect(Timeout.format(duration) == text)
    #expect(Timeout.parse(text) != nil)
  }
}
