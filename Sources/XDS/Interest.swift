// What a client wants of one type: everything, some names, or both. Two dialects speak of it in
// different words: state of the world repeats the whole list, delta adds and removes.
// Source: xDS, "How the client specifies what resources to return".

internal import Snapshots

/// The wanted part of a collection.
struct Interest: Equatable {
  /// Everything of the type.
  private(set) var isWildcard = false
  /// Named in addition; without the wildcard, only these.
  private(set) var names: Set<String> = []
  /// Names (or `*`) were sent before: from then on an empty list means nothing, not everything.
  private var isExplicit = false

  static let wildcardName = "*"

  var isEmpty: Bool { !isWildcard && names.isEmpty }

  func covers(_ name: String) -> Bool { isWildcard || names.contains(name) }

  /// The wanted part of `collection`.
  func select(_ collection: Collection) -> Collection {
    isWildcard ? collection : collection.restricted(to: names)
  }

  /// How a state of the world request changed the interest.
  enum Change {
    case none
    /// Only more names: answered at once, for every name is asked for the first time.
    case grown
    case other
  }

  /// State of the world: `list` is all that is wanted now.
  mutating func replace(with list: [String]) -> Change {
    let before = self
    if !list.isEmpty { isExplicit = true }
    isWildcard = isExplicit ? list.contains(Interest.wildcardName) : true
    names = Set(list).subtracting([Interest.wildcardName])
    if isWildcard == before.isWildcard, names == before.names { return .none }
    return !isWildcard && !before.isWildcard && names.isSuperset(of: before.names) ? .grown : .other
  }

  /// Delta: the first request of a type without any name asks for everything.
  mutating func subscribeToEverything() { isWildcard = true }

  /// Delta: returns whether the name was wanted before.
  mutating func subscribe(_ name: String) -> Bool {
    if name == Interest.wildcardName {
      defer { isWildcard = true }
      return isWildcard
    }
    return !names.insert(name).inserted
  }

  /// Delta: returns whether the name was wanted by itself before.
  mutating func unsubscribe(_ name: String) -> Bool {
    if name == Interest.wildcardName {
      defer { isWildcard = false }
      return isWildcard
    }
    return names.remove(name) != nil
  }
}
