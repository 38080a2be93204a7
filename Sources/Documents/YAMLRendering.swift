// JSON as block YAML, for people. Keys keep their order; what was a string stays one.

internal import Yams

extension YAML {
  /// Nil when `json` is not one JSON value.
  public static func block(json: [UInt8]) -> String? {
    let (documents, problems) = parse(yaml: json, file: "")
    guard problems.isEmpty, documents.count == 1 else { return nil }
    return try? Yams.serialize(node: rendered(documents[0]), width: -1, allowUnicode: true)
  }

  private static func rendered(_ node: Node) -> Yams.Node {
    switch node.content {
    case .scalar(let scalar):
      // Plain only where the text cannot be taken for anything but a string, or was no string.
      let style: Yams.Node.Scalar.Style = scalar.isQuoted && !isPlainWord(scalar.text) ? .doubleQuoted : .any
      return Yams.Node(scalar.text, Yams.Tag(.implicit), style)
    case .sequence(let items):
      return Yams.Node(items.map(rendered), Yams.Tag(.implicit), items.isEmpty ? .flow : .block)
    case .mapping(let entries):
      let pairs = entries.map { (Yams.Node($0.key), rendered($0.value)) }
      return Yams.Node(pairs, Yams.Tag(.implicit), pairs.isEmpty ? .flow : .block)
    }
  }

  /// A word that every reader of YAML takes for a string: letters first, and none of those that mean true,
  /// false or nothing somewhere.
  private static func isPlainWord(_ text: String) -> Bool {
    guard let first = text.utf8.first, (0x61...0x7A).contains(first | 0x20), text.utf8.count > 5 else {
      return false
    }
    return text.utf8.allSatisfy { byte in
      (0x61...0x7A).contains(byte | 0x20) || (0x30...0x39).contains(byte) || "-./_".utf8.contains(byte)
    }
  }
}
