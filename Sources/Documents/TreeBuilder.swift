// Builds the positioned tree of one document from Yams' nodes: resolves aliases, applies merge keys,
// refuses duplicate keys, and keeps depth and expansion within their limits.
// Source: YAML 1.2, section 3.2.2.2 (anchors and aliases); YAML 1.1 merge keys, which Kubernetes reads.

import Yams

struct TreeBuilder {
  private(set) var problems: [Problem] = []
  private let disguised: DisguisedText
  private let file: String
  private let linesBefore: Int
  private let limits: DocumentLimits
  private let expansionMax: Int
  /// What aliases stand for so far, in bytes of scalars plus one a node. 0 ≤ expanded ≤ expansionMax.
  private var expanded = 0
  private var anchors: [String: Built] = [:]

  /// A node and what it costs to walk it.
  private struct Built {
    let node: Node
    let weight: Int
    /// Levels below and including this node, at least 1.
    let height: Int
  }

  /// The document cannot be used any further; the reason is in `problems`.
  private struct Stop: Error {}

  init(
    disguised: DisguisedText, file: String, linesBefore: Int, limits: DocumentLimits, textBytes: Int
  ) {
    self.disguised = disguised
    self.file = file
    self.linesBefore = linesBefore
    self.limits = limits
    expansionMax = textBytes * limits.expansion
  }

  /// Nil when the document broke a bound; other problems leave a tree without the bad part.
  mutating func build(_ root: Yams.Node) -> Node? {
    do throws(Stop) { return try build(root, depth: 1).node } catch { return nil }
  }

  private mutating func build(_ node: Yams.Node, depth: Int) throws(Stop) -> Built {
    let position = position(of: node)
    guard depth <= limits.depth else { throw tooDeep(position) }
    let built: Built
    switch node {
    case .scalar(let scalar):
      if let name = aliasName(scalar) { return try resolve(name, at: position, depth: depth) }
      built = self.scalar(scalar, at: position)
    case .sequence(let items):
      checkTag(items.tag.rawValue, standard: "tag:yaml.org,2002:seq", at: position)
      built = try sequence(Array(items), at: position, depth: depth)
    case .mapping(let entries):
      checkTag(entries.tag.rawValue, standard: "tag:yaml.org,2002:map", at: position)
      built = try mapping(Array(entries), at: position, depth: depth)
    case .alias:
      preconditionFailure("Yams' parser composes no alias nodes: aliases are disguised")
    }
    if let anchor = node.anchor?.rawValue { anchors[anchor] = built }
    return built
  }

  // MARK: Kinds of nodes

  private mutating func scalar(_ scalar: Yams.Node.Scalar, at position: SourcePosition) -> Built {
    let text = disguised.reveal(scalar.string)
    let isQuoted = scalar.style != .plain
    var tag: String? = scalar.tag.rawValue
    // Yams gives quoted scalars without a tag the tag of strings.
    if tag == "" || (isQuoted && tag == "tag:yaml.org,2002:str") { tag = nil }
    if let tag { checkTag(tag, standard: nil, at: position) }
    let content = Node.Content.scalar(Node.Scalar(text: text, isQuoted: isQuoted, tag: tag))
    return Built(node: Node(content, at: position), weight: 1 + text.utf8.count, height: 1)
  }

  private mutating func sequence(
    _ items: [Yams.Node], at position: SourcePosition, depth: Int
  ) throws(Stop) -> Built {
    var nodes: [Node] = []
    nodes.reserveCapacity(items.count)
    var weight = 1
    var height = 0
    for item in items {
      let built = try build(item, depth: depth + 1)
      nodes.append(built.node)
      weight += built.weight
      height = max(height, built.height)
    }
    return Built(node: Node(.sequence(nodes), at: position), weight: weight, height: height + 1)
  }

  private mutating func mapping(
    _ pairs: [(key: Yams.Node, value: Yams.Node)], at position: SourcePosition, depth: Int
  ) throws(Stop) -> Built {
    var entries: [Node.Entry] = []
    entries.reserveCapacity(pairs.count)
    var lines: [String: Int] = [:]
    var merged: [Node] = []
    var weight = 1
    var height = 0
    for (keyNode, valueNode) in pairs {
      let key = try build(keyNode, depth: depth + 1)
      let value = try build(valueNode, depth: depth + 1)
      weight += key.weight + value.weight
      height = max(height, key.height, value.height)
      guard let name = keyName(key.node) else { continue }
      if name == "<<", key.node.scalar?.isQuoted == false {
        merged.append(value.node)
      } else if let line = lines[name] {
        report(
          key.node.position, "the key \(Problem.quote(name)) is written twice",
          why: "it stands at line \(line) already", howToFix: "remove one of them")
      } else {
        lines[name] = key.node.position.line
        entries.append(Node.Entry(key: name, keyNode: key.node, value: value.node))
      }
    }
    merge(merged, into: &entries, known: Set(lines.keys))
    return Built(node: Node(.mapping(entries), at: position), weight: weight, height: height + 1)
  }

  private mutating func keyName(_ node: Node) -> String? {
    guard let scalar = node.scalar else {
      report(
        node.position, "\(node.kindName) cannot be a key", howToFix: "write a single value before the colon")
      return nil
    }
    guard !scalar.text.isEmpty || scalar.isQuoted else {
      report(node.position, "there is no key before the colon")
      return nil
    }
    return scalar.text
  }

  /// Keys of the mapping itself win over merged ones, earlier merged mappings over later ones.
  private mutating func merge(_ values: [Node], into entries: inout [Node.Entry], known: Set<String>) {
    var known = known
    for value in values {
      for source in value.sequence ?? [value] {
        guard let additions = source.mapping else {
          report(source.position, "<< takes a mapping or a list of mappings, not \(source.kindName)")
          continue
        }
        for entry in additions where known.insert(entry.key).inserted { entries.append(entry) }
      }
    }
  }

  // MARK: Aliases

  /// The name after `*`, or nil when this scalar is no alias.
  private func aliasName(_ scalar: Yams.Node.Scalar) -> String? {
    guard scalar.style == .plain, scalar.string.unicodeScalars.first == disguised.aliasMark else {
      return nil
    }
    return String(disguised.reveal(scalar.string).dropFirst())
  }

  private mutating func resolve(
    _ name: String, at position: SourcePosition, depth: Int
  ) throws(Stop) -> Built {
    let isName = !name.isEmpty && name.utf8.allSatisfy(TreeBuilder.isNameByte)
    guard isName else {
      report(
        position, "an unquoted * begins an alias, and this is none",
        howToFix: "put the value in quotes")
      throw Stop()
    }
    guard let target = anchors[name] else {
      report(
        position, "this alias names no anchor above it",
        why: "an unquoted * begins an alias", howToFix: "put the value in quotes, or write the anchor with &")
      throw Stop()
    }
    expanded += target.weight
    guard expanded <= expansionMax else {
      report(
        position, "aliases make this document more than \(limits.expansion) times as large as its text",
        howToFix: "write the values out")
      throw Stop()
    }
    guard depth + target.height - 1 <= limits.depth else { throw tooDeep(position) }
    return target
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
      true
    default: false
    }
  }

  // MARK: Problems: they quote keys only, a value may be a secret.

  /// Tags of the YAML types pass; a program's own tags mean nothing here.
  private mutating func checkTag(_ tag: String, standard: String?, at position: SourcePosition) {
    if tag.isEmpty || tag == standard || (standard == nil && tag.hasPrefix("tag:yaml.org,2002:")) { return }
    report(position, "this tag has no meaning here", howToFix: "remove it")
  }

  private mutating func tooDeep(_ position: SourcePosition) -> Stop {
    report(position, "more than \(limits.depth) levels of nesting")
    return Stop()
  }

  private mutating func report(
    _ position: SourcePosition, _ what: String, why: String = "", howToFix: String = ""
  ) {
    problems.append(Problem(position, what, why: why, howToFix: howToFix))
  }

  private func position(of node: Yams.Node) -> SourcePosition {
    let line = node.mark?.line ?? 1
    let column = disguised.column(node.mark?.column ?? 1, ofLine: line)
    return SourcePosition(file: file, line: linesBefore + line, column: column)
  }
}
