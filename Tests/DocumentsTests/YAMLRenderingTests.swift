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

  @Test(arguments: [
    "{", "[", "[1", "[1,", "[1,]", "[,1]", "[1]]", "[1] 2", "[{]", "[{\"a\":1]", "[\"a]", "[1}", "",
  ])
  func whatIsNoJSONIsNone(text: String) { #expect(YAML.block(json: Array(text.utf8)) == nil) }

  @Test func aListIsRenderedItemByItem() throws {
    let json = " [ {\"a\":[1,[2,\"],{\\\\\"]],\"b\":\"x\\\",\"} , 2,[ ],{},\"\" ,[3]]\n"
    let rendered = try #require(YAML.block(json: Array(json.utf8)))
    let (documents, problems) = YAML.parse(yaml: rendered, file: "x")
    let (expected, _) = YAML.parse(yaml: json, file: "x")
    func plain(_ node: Node) -> String {
      if let items = node.sequence { return "[" + items.map(plain).joined(separator: ";") + "]" }
      if let entries = node.mapping {
        return "{" + entries.map { "\($0.key)=\(plain($0.value))" }.joined(separator: ";") + "}"
      }
      return node.scalar?.text ?? "?"
    }
    #expect(problems.isEmpty && documents.map(plain) == expected.map(plain), "\(rendered)")
    #expect(YAML.block(json: Array(" [ ] ".utf8)) == "[]\n")
  }

  /// Larger than a document may be that people write.
  @Test func aLongListIsRendered() throws {
    let item = "{\"a\":\"" + String(repeating: "x", count: 1_000_000) + "\"}"
    let json = "[" + [String](repeating: item, count: 9).joined(separator: ",") + "]"
    #expect(json.utf8.count > DocumentLimits().documentBytes)
    let rendered = try #require(YAML.block(json: Array(json.utf8)))
    #expect(rendered.split(separator: "\n").count == 9)
  }
}
