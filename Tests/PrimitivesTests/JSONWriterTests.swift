// Goal: text of peers stays text in every reader of our JSON. Method: one table of characters and their spelling.

import Primitives
import Testing

struct JSONWriterTests {
  @Test(arguments: [
    ("a\"b\\", #""a\"b\\""#), ("\n\r\t", #""\n\r\t""#), ("\0\u{1B}\u{7F}", #""\u0000\u001b\u007f""#),
    ("\u{80}\u{85}\u{9F}", #""\u0080\u0085\u009f""#), ("\u{2028}\u{2029}", #""\u2028\u2029""#),
    ("\u{FEFF}\u{FFFE}\u{FFFF}", #""\ufeff\ufffe\uffff""#), ("é€😀\u{A0}", "\"é€😀\u{A0}\""), ("", #""""#),
  ])
  func escapes(_ text: String, _ expected: String) {
    var writer = JSONWriter()
    writer.string(text)
    #expect(writer.text == expected)
  }
}
