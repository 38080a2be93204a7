// Goal: JSON printed as YAML is read back as the same values by a reader that types words. Method: texts that some
// YAML reader takes for something else.

import Documents
import Testing

struct YAMLRenderingTests {
  @Test func keepsOrderAndKinds() throws {
    let json =
      #"{"type":"networking.istio.io/Gateway","port":80,"on":true,"none":null,"list":[],"map":{},"n":{"b":[1,{"a":"x"}]}}"#
    let text = try #require(YAML.block(json: Array(json.utf8)))
    #expect(
      text == """
        type: networking.istio.io/Gateway
        port: 80
        on: true
        none: null
        list: []
        map: {}
        n:
          b:
          - 1
          - a: "x"

        """)
  }

  @Test(arguments: [
    "true", "yes", "1", "1e3", "null", "~", "0x10", "1:30", " x", "a: b", "#", "- x", "é\\n", "2026-01-01",
  ])
  func stringsStayStrings(text: String) throws {
    let json = "{\"a\":\"\(text)\"}"
    let rendered = try #require(YAML.block(json: Array(json.utf8)))
    let (documents, problems) = YAML.parse(yaml: rendered, file: "x")
    #expect(problems.isEmpty)
    let scalar = try #require(documents.first?["a"]?.scalar)
    #expect(scalar.isQuoted)
    #expect(scalar.text == text.replacing("\\n", with: "\n"))
  }

  @Test func whatIsNoJSONIsNone() { #expect(YAML.block(json: Array("{".utf8)) == nil) }
}
