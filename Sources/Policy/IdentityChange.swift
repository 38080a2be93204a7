// Who would be another cluster, or none, under another policy: by the patterns that either of them writes.

public import SPIFFE

/// A pattern of identities that two policies place differently.
public struct IdentityChange: Equatable, Sendable, CustomStringConvertible {
  /// What a policy makes of a pattern.
  enum Place: Hashable, Comparable {
    case nobody
    case cluster(String)
    case blocked

    var text: String {
      switch self {
      case .nobody: "nobody"
      case .cluster(let name): name
      case .blocked: "blocked"
      }
    }
  }

  public let pattern: SPIFFEPattern
  let before: Place
  let after: Place

  /// `spiffe://td/a: shop → nobody`.
  public var description: String { "\(pattern): \(before.text) → \(after.text)" }

  /// By pattern. Patterns that one policy writes wider or narrower stand as a loss and a gain.
  public static func all(from old: PolicyRules, to new: PolicyRules) -> [IdentityChange] {
    let (before, after) = (places(old), places(new))
    return Set(before.keys).union(after.keys).sorted().compactMap { pattern in
      let (was, will) = (before[pattern] ?? .nobody, after[pattern] ?? .nobody)
      return was == will ? nil : IdentityChange(pattern: pattern, before: was, after: will)
    }
  }

  private static func places(_ rules: PolicyRules) -> [SPIFFEPattern: Place] {
    var places: [SPIFFEPattern: Place] = [:]
    for cluster in rules.clusters {
      for pattern in cluster.identities { places[pattern] = .cluster(cluster.name) }
    }
    for pattern in rules.blocked { places[pattern] = .blocked }
    return places
  }
}
