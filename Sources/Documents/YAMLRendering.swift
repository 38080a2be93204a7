// JSON as block YAML, for people. Keys keep their order; what was a string stays one.

internal import Yams

extension YAML {
  /// Nil when `json` is not one JSON value. Of any size: a list is worked off item by item, because a document's limits
  /// are meant for what people write.
  public static func block(json: [UInt8]) -> String? {
    guard JSONItems.isList(json[...]) else { return block([json[...]], asItems: false) }
    guard let items = JSONItems(json[...]) else { return nil }
    return items.all.isEmpty ? "[]\n" : block(items.all, asItems: true)
  }

  private static func block(_ values: [ArraySlice<UInt8>], asItems: Bool) -> String? {
    var text = ""
    for value in values {
      var limits = DocumentLimits()
      limits.fileBytes = max(limits.fileBytes, value.count)
      limits.documentBytes = max(limits.documentBytes, value.count)
      let (documents, problems) = parse(yaml: Array(value), file: "", limits: limits)
      guard problems.isEmpty, documents.count == 1 else { return nil }
      let node = rendered(documents[0])
      let whole = asItems ? Yams.Node([node], Yams.Tag(.implicit), .block) : node
      guard let part = try? Yams.serialize(node: whole, width: -1, allowUnicode: true) else { return nil }
      text += part
    }
    return text
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

/// The items of a JSON list, found by its brackets and quotes alone: what is in them is read by whoever reads them.
private struct JSONItems {
  private(set) var all: [ArraySlice<UInt8>] = []

  static func isList(_ json: ArraySlice<UInt8>) -> Bool { json.first { !isSpace($0) } == UInt8(ascii: "[") }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

  /// Nil for anything but one list; also for one whose brackets do not fit.
  init?(_ json: ArraySlice<UInt8>) {
    guard JSONItems.isList(json), let open = json.firstIndex(where: { !JSONItems.isSpace($0) }) else {
      return nil
    }
    var (depth, isQuoted, isEscaped) = (0, false, false)
    var start = open + 1
    for index in json.indices[open...] {
      let byte = json[index]
      if isQuoted {
        (isEscaped, isQuoted) = (
          byte == UInt8(ascii: "\\") && !isEscaped, byte != UInt8(ascii: "\"") || isEscaped
        )
        continue
      }
      switch byte {
      case UInt8(ascii: "\""): isQuoted = true
      case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: ","), UInt8(ascii: "]"), UInt8(ascii: "}"):
        let ends = byte != UInt8(ascii: ",")
        if depth == 1 {
          let item = json[start..<index]
          let isBlank = item.allSatisfy(JSONItems.isSpace)
          guard !isBlank || (ends && all.isEmpty) else { return nil }
          if !isBlank { all.append(item) }
          start = index + 1
        }
        if ends { depth -= 1 }
        if depth == 0 {
          guard byte == UInt8(ascii: "]"), json[start...].allSatisfy(JSONItems.isSpace) else { return nil }
          return
        }
      default: break
      }
    }
    return nil
  }
}
