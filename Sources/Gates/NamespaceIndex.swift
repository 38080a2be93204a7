// Which policy classes could see something of a namespace at all. With thousands of clusters that each
// see a few namespaces, a change is put to those few classes and not to thousands.

internal import Policy
internal import Snapshots

/// Exact namespaces → classes whose allow rules name them; and the classes that need asking every time.
struct NamespaceIndex: Sendable {
  private var byNamespace: [String: [Int]] = [:]
  private var always: [Int] = []

  init(_ rules: PolicyRules) {
    for policy in rules.classes {
      if let namespaces = NamespaceIndex.exactNamespaces(policy.allow) {
        for namespace in namespaces { byNamespace[namespace, default: []].append(policy.index) }
      } else {
        always.append(policy.index)
      }
    }
  }

  /// The classes that may see resources of this namespace, in order of their index. Any other class
  /// never saw one of them, since the namespace is part of the name.
  func classes(for namespace: String) -> [Int] {
    guard let named = byNamespace[namespace] else { return always }
    return always.isEmpty ? named : (named + always).sorted()
  }

  /// The namespaces all allow rules name exactly, sorted; nil when some rule matches by pattern or
  /// leaves the namespace open.
  private static func exactNamespaces(_ allow: [Rule]) -> [String]? {
    var names: Set<String> = []
    for rule in allow {
      guard let list = rule.namespaces, list.patterns.allSatisfy(\.isExact) else { return nil }
      names.formUnion(list.patterns.map(\.text))
    }
    return names.sorted()
  }
}
