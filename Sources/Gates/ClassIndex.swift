// Which policy classes could see something of a type in a namespace at all. With thousands of clusters
// that each see a few namespaces, an object is put to those few classes and not to thousands.

internal import Policy
internal import Snapshots

/// (type, namespace) → classes with an allow rule for both. Worked out when first asked for: there are
/// few pairs beside the number of objects.
struct ClassIndex: Sendable {
  private let classes: [PolicyClass]
  private var known: [TypeName: [String: [Int]]] = [:]
  private var count = 0

  /// Pairs remembered. Reason: 100 bytes each and more; when full it starts anew.
  private static let countMax = 65_536

  /// `only`: the classes that are asked for; nil: all.
  init(_ rules: PolicyRules, only: Set<Int>? = nil) {
    classes = only.map { only in rules.classes.filter { only.contains($0.index) } } ?? rules.classes
  }

  /// The classes that may see such resources, by index, ascending. Any other class never saw one of
  /// them, for type and namespace are part of what names a resource.
  mutating func candidates(type: TypeName, namespace: String) -> [Int] {
    if let found = known[type]?[namespace] { return found }
    let found = classes.filter { policy in
      policy.allow.contains { ClassIndex.concerns($0, type, namespace) }
    }.map(\.index)
    if count >= ClassIndex.countMax {
      known = [:]
      count = 0
    }
    known[type, default: [:]][namespace] = found
    count += 1
    return found
  }

  private static func concerns(_ rule: Rule, _ type: TypeName, _ namespace: String) -> Bool {
    (rule.types?.matches(type.description) ?? true) && (rule.namespaces?.matches(namespace) ?? true)
  }
}
