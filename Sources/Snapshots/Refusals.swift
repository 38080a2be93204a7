// What a client refused on one stream. The contract is that it never gets the same content again there,
// so this is asked before every difference is sent. Bounded: who refuses more than can be remembered
// loses its stream.

/// Contents a client has refused.
public struct Refusals: Sendable {
  private struct Entry: Hashable {
    let name: String
    let version: Version
  }

  private var entries: Set<Entry> = []
  /// Whole collections that were refused; kept as they are, since listing them would copy them.
  private var sets: [Collection] = []

  /// Whole collections remembered. Reason: only first answers are whole.
  private static let setsMax = 16

  public init() {}

  public var isEmpty: Bool { entries.isEmpty && sets.isEmpty }

  /// False when there is no room for more.
  public mutating func insert(_ content: Deliveries.Content, limit: Int) -> Bool {
    switch content {
    case .set(let collection):
      if !collection.isEmpty { sets.append(collection) }
    case .changes(let changes):
      for resource in changes { entries.insert(Entry(name: resource.wireName, version: resource.version)) }
    }
    return entries.count <= limit && sets.count <= Refusals.setsMax
  }

  public func contains(_ resource: Resource) -> Bool {
    entries.contains(Entry(name: resource.wireName, version: resource.version))
      || sets.contains { $0[resource.wireName]?.version == resource.version }
  }
}
