// A YAML document as a tree whose every node knows its place.
//
// Engine of floor 1, used by Manifests, Policy and Configuration. Scalars stay text: whether `yes` is a
// boolean or a word depends on who reads it (Kubernetes reads YAML 1.1), so no typing happens here.
// Source: YAML 1.2, chapter 3 (representation graph); aliases are already replaced by what they name.

/// A value of a document. Immutable; an aliased subtree is shared, not copied.
public struct Node: Sendable {
  public enum Content: Sendable {
    case scalar(Scalar)
    case sequence([Node])
    /// In the order of the file; no key twice. Merge keys (`<<`) are already applied.
    case mapping([Entry])
  }

  public struct Scalar: Hashable, Sendable {
    /// The value after unquoting and folding, before any typing.
    public let text: String
    /// Quoted ('…', "…") or a block (`|`, `>`): then it is a string, whatever it looks like.
    public let isQuoted: Bool
    /// The explicit tag in full (`tag:yaml.org,2002:str` for `!!str`), nil without one.
    public let tag: String?

    public init(text: String, isQuoted: Bool, tag: String? = nil) {
      self.text = text
      self.isQuoted = isQuoted
      self.tag = tag
    }

    /// `null`, `~` or nothing at all, unquoted.
    public var isNull: Bool {
      if let tag { return tag == "tag:yaml.org,2002:null" }
      return !isQuoted && ["", "~", "null", "Null", "NULL"].contains(text)
    }
  }

  public struct Entry: Sendable {
    public let key: String
    /// The key as it was written, for its place and quoting.
    public let keyNode: Node
    public let value: Node

    public init(key: String, keyNode: Node, value: Node) {
      self.key = key
      self.keyNode = keyNode
      self.value = value
    }

    /// Where the key stands.
    public var position: SourcePosition { keyNode.position }
  }

  public let position: SourcePosition
  public let content: Content

  public init(_ content: Content, at position: SourcePosition) {
    self.content = content
    self.position = position
  }

  public var scalar: Scalar? {
    if case .scalar(let scalar) = content { scalar } else { nil }
  }

  public var sequence: [Node]? {
    if case .sequence(let items) = content { items } else { nil }
  }

  public var mapping: [Entry]? {
    if case .mapping(let entries) = content { entries } else { nil }
  }

  public var isNull: Bool { scalar?.isNull ?? false }

  /// The value of a mapping's key; nil also when this is no mapping. Looks at entries one by one.
  public subscript(key: String) -> Node? { mapping?.first { $0.key == key }?.value }

  /// What a person calls this kind of value.
  public var kindName: String {
    switch content {
    case .scalar(let scalar): scalar.isNull ? "nothing" : "a single value"
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }
}
