// Goal: no byte a peer chose can control a terminal. Method: every scalar below U+0100 and the known
// invisible ones, judged by what may be left of them.

import Primitives
import Testing

struct ForeignTextTests {
  @Test func controlCharactersAreWrittenOut() {
    for value in UInt8.min...UInt8.max {
      let isControl = value < 0x20 || (0x7F...0x9F).contains(value)
      let text = String(Unicode.Scalar(value))
      let expected = isControl ? "\\u{" + String(value, radix: 16) + "}" : text
      #expect(ForeignText.line(text) == expected)
    }
  }

  @Test(arguments: ["\u{2028}", "\u{202E}", "\u{2066}"]) func directionAndLineMarksAreWrittenOut(
    _ mark: String
  ) {
    #expect(!ForeignText.line("a" + mark + "b").unicodeScalars.contains { $0.value > 0x7F })
  }

  @Test func otherTextIsLeftAlone() { #expect(ForeignText.line("Grüße, 世界") == "Grüße, 世界") }
}
