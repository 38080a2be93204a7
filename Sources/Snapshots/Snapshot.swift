// A snapshot: everything the sources say together at one moment. And a view: what one policy class may
// see of it, which is what clients are served.

internal import Primitives

/// What can be said about a type.
public enum TypeState: Sendable {
  /// Not everything that can supply it has answered: nothing may be said, not even "empty".
  case pending
  case ready(Collection)
}

/// The merged content of all sources. Immutable.
public struct Snapshot: Sendable {
  /// The collections of all types that are ready and known by name.
  public let collections: [TypeName: Collection]
  /// Types that wait for a source that can supply them.
  public let pending: Set<TypeName>
  /// Every source has delivered once.
  public let isComplete: Bool
  /// As we serve it: our own relay is the last element of its path.
  public let position: Position
  /// Why recent removals happened, where a source told more than that they are gone.
  public let removalCauses: RemovalCauses
  /// What responses say of us, for no removal and for each cause; written once for all views.
  private let identifiers: [RemovalCause?: String]

  public init(
    collections: [TypeName: Collection], pending: Set<TypeName>, isComplete: Bool, position: Position,
    removalCauses: RemovalCauses = RemovalCauses()
  ) {
    self.collections = collections
    self.pending = pending
    self.isComplete = isComplete
    self.position = position
    self.removalCauses = removalCauses
    let causes: [RemovalCause?] = [nil] + RemovalCause.allCases
    identifiers = Dictionary(
      uniqueKeysWithValues: causes.map { cause in
        let node = position.path.last?.node ?? ""
        return (cause, ControlPlane(node: node, position: position, removals: cause).json)
      })
  }

  /// The `control_plane.identifier` of a response that removes things for this cause, or removes nothing.
  public func controlPlane(_ cause: RemovalCause?) -> String { identifiers[cause] ?? "" }

  /// Before any source has said anything.
  public static let nothing = Snapshot(
    collections: [:], pending: [], isComplete: false,
    position: Position(origin: "", sequence: 0, published: Timestamp(seconds: 0), path: []))

  /// Unknown types are empty once everybody who could have supplied them has spoken.
  public func state(of type: TypeName) -> TypeState {
    if let collection = collections[type] { return .ready(collection) }
    return isComplete && !pending.contains(type) ? .ready(.empty) : .pending
  }

  /// Resources in all collections.
  public var count: Int { collections.values.reduce(0) { $0 + $1.count } }

  /// Hash of the content: equal on all replicas with equal content. Empty collections do not count,
  /// so an answer of "none" changes nothing.
  public var version: Version {
    var content = HashedContent()
    for (type, collection) in collections.sorted(by: { $0.key < $1.key }) where !collection.isEmpty {
      content.append(type.description)
      content.append(collection.version)
    }
    return content.version
  }
}

/// What one policy class may see of a snapshot. Immutable.
public struct View: Sendable {
  /// Number of the generation it belongs to; grows.
  public let number: UInt64
  /// What the class may see, by type. A type of the snapshot that is not here is empty for it.
  public let collections: [TypeName: Collection]
  /// What it was cut from.
  public let snapshot: Snapshot

  public init(number: UInt64, collections: [TypeName: Collection], snapshot: Snapshot) {
    self.number = number
    self.collections = collections
    self.snapshot = snapshot
  }

  /// Before anything is known: every type is pending.
  public static let nothing = View(number: 0, collections: [:], snapshot: .nothing)

  public var position: Position { snapshot.position }

  public func state(of type: TypeName) -> TypeState {
    switch snapshot.state(of: type) {
    case .pending: .pending
    case .ready: .ready(collections[type] ?? .empty)
    }
  }

  /// The state behind a type URL; one that names nothing we know is an unknown type.
  public func state(of url: TypeURL?) -> TypeState {
    guard let url, !url.isUnknownVersion else { return snapshot.isComplete ? .ready(.empty) : .pending }
    return state(of: url.type)
  }

  /// The `control_plane.identifier` of a response that removes things for this cause, or removes nothing.
  public func controlPlane(_ cause: RemovalCause? = nil) -> String { snapshot.controlPlane(cause) }

  /// Why a resource that a client holds is not in this view: what its source said, or policy when the
  /// snapshot still has it, or else its source, the cause that brakes look at.
  public func removalCause(of name: String, type: TypeName) -> RemovalCause {
    if snapshot.collections[type]?.contains(name) == true { return .policy }
    return snapshot.removalCauses[type, name] ?? .source
  }

  /// The same for a client that only claims to hold it: the true cause would tell whether a hidden object
  /// of that name exists, and its very version proves that the client was once allowed to know.
  public func removalCause(of name: String, type: TypeName, claimedVersion: String) -> RemovalCause {
    snapshot.collections[type]?[name]?.version.description == claimedVersion ? .policy : .source
  }
}

/// Why names were removed, for those not simply removed by their source. Bounded: when full it forgets
/// all, and forgotten names count as removed by their source, the careful reading.
public struct RemovalCauses: Sendable {
  private var causes: [TypeName: [String: RemovalCause]] = [:]
  private var count = 0

  /// Most names remembered. Reason: about 100 bytes each, and only the last removals matter.
  public static let countMax = 65_536

  public init() {}

  public subscript(type: TypeName, name: String) -> RemovalCause? { causes[type]?[name] }

  public mutating func record(_ cause: RemovalCause, type: TypeName, names: [String]) {
    guard cause != .source else { return forget(type: type, names: names) }
    for name in names {
      if count >= RemovalCauses.countMax {
        causes = [:]
        count = 0
      }
      if causes[type, default: [:]].updateValue(cause, forKey: name) == nil { count += 1 }
    }
  }

  /// For names that exist again, or were removed again for another reason.
  public mutating func forget(type: TypeName, names: [String]) {
    guard causes[type] != nil else { return }
    for name in names where causes[type]?.removeValue(forKey: name) != nil { count -= 1 }
  }
}
