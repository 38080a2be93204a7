// One rule of a cluster: which objects it speaks of. Whether it allows or denies is where it stands.

public import Documents
public import SPIFFE
public import Snapshots

/// What policy may know of an object. Bodies are opaque to it.
public struct ResourceFacts: Sendable {
  public let type: TypeName
  /// Empty for objects without a namespace.
  public let namespace: String
  public let name: String
  public let labels: [(key: String, value: String)]
  /// Name of the source it came from on this tier.
  public let source: String

  public init(
    type: TypeName, namespace: String, name: String, labels: [(key: String, value: String)], source: String
  ) {
    self.type = type
    self.namespace = namespace
    self.name = name
    self.labels = labels
    self.source = source
  }

  public init(_ resource: Resource) {
    self.init(
      type: resource.type, namespace: resource.namespace, name: resource.name, labels: resource.labels,
      source: resource.source)
  }
}

/// Keys are all-of, the items of one key any-of, a missing key means any.
public struct Rule: Sendable {
  /// Where it stands in its file.
  public let position: SourcePosition
  public let namespaces: GlobList?
  public let types: GlobList?
  public let names: GlobList?
  public let labels: LabelSelector?
  /// Sorted, each once.
  public let sources: [String]?

  public func matches(_ facts: ResourceFacts) -> Bool {
    (types?.matches(facts.type) ?? true)
      && (namespaces?.matches(facts.namespace) ?? true)
      && (names?.matches(facts.name) ?? true)
      && (sources?.contains(facts.source) ?? true)
      && (labels?.matches(facts.labels) ?? true)
  }

  /// Equal for two rules exactly when they say the same, wherever and in whatever order they are written.
  var canonicalText: String {
    func list(_ items: [String]?) -> String {
      items.map { "[" + $0.map { "\($0.utf8.count):\($0)" }.joined(separator: ",") + "]" } ?? "any"
    }
    return [
      list(namespaces?.patterns.map(\.text)), list(types?.patterns.map(\.text)),
      list(names?.patterns.map(\.text)),
      list(labels.map { [$0.description] }), list(sources),
    ].joined(separator: " ")
  }
}

extension GlobList {
  /// A list of types. Asked about every object there is, and most lists say "all of them".
  public func matches(_ type: TypeName) -> Bool { isEveryType || matches(type.description) }
}

/// A named set of SPIFFE IDs and what it may see.
public struct ClusterRules: Sendable {
  public let name: String
  public let position: SourcePosition
  /// Its place in `PolicyRules.clusters`.
  public let index: Int
  /// Its place in `PolicyRules.classes`.
  public let classIndex: Int
  public let identities: [SPIFFEPattern]
  public let allow: [Rule]
  public let deny: [Rule]
  /// Keys that it is not shown; nil: it is shown all.
  public let redaction: Redaction?
}

/// Clusters whose rules say the same, and so see the same.
public struct PolicyClass: Sendable {
  public let index: Int
  /// Indices of its clusters, at least one.
  public let clusters: [Int]
  public let allow: [Rule]
  public let deny: [Rule]
  public let redaction: Redaction?
  /// Equal for classes that say the same in any order.
  let canonicalRules: String

  /// Whether both let their clusters see the same, and hide the same of it.
  public func says(theSameAs other: PolicyClass) -> Bool { canonicalRules == other.canonicalRules }

  /// Deny wins over allow; nothing allowed means nothing seen.
  public func isVisible(_ facts: ResourceFacts) -> Bool {
    allow.contains { $0.matches(facts) } && !deny.contains { $0.matches(facts) }
  }
}
