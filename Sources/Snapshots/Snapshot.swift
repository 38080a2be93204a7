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
  /// Where the content of types stands, of those that do not stand where the whole does.
  public let positions: [TypeName: Position]
  /// Why recent removals happened, where a source told more than that they are gone.
  public let removalCauses: RemovalCauses
  private let identifiers: Identifiers

  public init(
    collections: [TypeName: Collection], pending: Set<TypeName>, isComplete: Bool, position: Position,
    positions: [TypeName: Position] = [:], removalCauses: RemovalCauses = RemovalCauses()
  ) {
    self.collections = collections
    self.pending = pending
    self.isComplete = isComplete
    self.position = position
    self.positions = positions.filter { $0.value != position }
    self.removalCauses = removalCauses
    identifiers = Identifiers(whole: position, self.positions)
  }

  /// The `control_plane.identifier` of a response for a type (nil: one nobody knows) that removes things for
  /// this cause, or removes nothing. `isPartial`: more follows before the client has what the snapshot has.
  public func controlPlane(of type: TypeName?, _ cause: RemovalCause?, isPartial: Bool) -> String {
    isPartial
      ? ControlPlane(
        node: position.path.last?.node ?? "", position: position,
        content: type.flatMap { positions[$0] }, isPartial: true, removals: cause
      ).json
      : identifiers[type, cause]
  }

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
  /// Its own among all views of this process; grows with the generations.
  public let number: UInt64
  /// What the class may see, by type. A type of the snapshot that is not here is empty for it.
  public let collections: [TypeName: Collection]
  /// What it was cut from: the newest snapshot, or an older one where a gate keeps that.
  public let snapshot: Snapshot
  /// Why names are gone that this class once saw, where that is known here alone: what an operator let pass.
  private let causes: RemovalCauses
  /// What the class is granted, for a relay that asks (`GrantNotice`); nil: nobody is told.
  private let grant: Collection?
  /// What the class is served instead of an object of the snapshot, where that is another one.
  private let form: (@Sendable (Resource) -> Resource)?

  public init(
    number: UInt64, collections: [TypeName: Collection], snapshot: Snapshot,
    causes: RemovalCauses = RemovalCauses(), grant: Collection? = nil,
    form: (@Sendable (Resource) -> Resource)? = nil
  ) {
    self.form = form
    self.number = number
    self.collections = collections
    self.snapshot = snapshot
    self.causes = causes
    self.grant = grant
  }

  /// Of the view at `place` of a generation.
  public static func number(_ generation: UInt64, _ place: Int) -> UInt64 {
    precondition(place < 1 << placeBits, "a generation has fewer views than that")
    return generation &<< placeBits | UInt64(place)
  }

  /// Reason: more clusters than any policy has, and more generations than a process can make.
  private static let placeBits = 24

  /// Before anything is known: every type is pending.
  public static let nothing = View(number: 0, collections: [:], snapshot: .nothing)

  public var position: Position { snapshot.position }

  /// From one content of a type to another.
  public struct Passage: Hashable {
    let from: Version
    let to: Version
  }

  /// The same view for those who have `old` (`Collection.following`). `known`: what was worked out for other views.
  public func following(_ old: View, _ known: inout [Passage: Collection]) -> View {
    var collections = collections
    for (type, collection) in collections {
      guard let before = old.collections[type], !before.isEmpty, before.version != collection.version else {
        continue
      }
      let passage = Passage(from: before.version, to: collection.version)
      let following = known[passage] ?? collection.following(before)
      known[passage] = following
      collections[type] = following
    }
    return View(
      number: number, collections: collections, snapshot: snapshot, causes: causes, grant: grant, form: form)
  }

  public func state(of type: TypeName) -> TypeState {
    if let grant, type == GrantNotice.typeURL.type { return .ready(grant) }
    return switch snapshot.state(of: type) {
    case .pending: .pending
    case .ready: .ready(collections[type] ?? .empty)
    }
  }

  /// All of a type that may be served; empty also where nothing can be said yet.
  public func content(of type: TypeName) -> Collection {
    if case .ready(let collection) = state(of: type) { collection } else { .empty }
  }

  /// The state behind a type URL; one that names nothing we know is an unknown type.
  public func state(of url: TypeURL?) -> TypeState {
    guard let url, !url.isUnknownVersion else { return snapshot.isComplete ? .ready(.empty) : .pending }
    return state(of: url.type)
  }

  /// The `control_plane.identifier` of a response, as `Snapshot.controlPlane` has it.
  public func controlPlane(
    of type: TypeName?, _ cause: RemovalCause? = nil, isPartial: Bool = false
  ) -> String {
    snapshot.controlPlane(of: type, cause, isPartial: isPartial)
  }

  /// Why a resource that a client holds is not in this view: what its source said, or policy when the
  /// snapshot still has it, or else its source, the cause that brakes look at.
  public func removalCause(of name: String, type: TypeName) -> RemovalCause {
    if snapshot.collections[type]?.contains(name) == true { return .policy }
    return causes[type, name] ?? snapshot.removalCauses[type, name] ?? .source
  }

  /// Whether the right to something ended since `old` that was not shown there any more: who is slow to answer may have
  /// it still.
  public func endsMoreGrants(than old: View) -> Bool {
    guard !causes.isEmpty, causes.edition != old.causes.edition else { return false }
    return causes.names(because: .policy).contains { type, names in
      names.contains { old.causes[type, $0] != .policy }
    }
  }

  /// The cause for a client that only claims to hold something: the true one would tell whether a hidden object
  /// of that name exists, and its very version proves that the client was once allowed to know.
  public func removalCause(of name: String, type: TypeName, claimedVersion: String) -> RemovalCause {
    if let resource = snapshot.collections[type]?[name],
      resource.version.description == claimedVersion
        || form?(resource).version.description == claimedVersion
    {
      return .policy
    }
    // Our own causes tell nothing new: the class saw each of these names once.
    return causes[type, name] == .released ? .released : .source
  }
}

/// What responses say of us, written once for all views. Types that stand at one place share their texts.
private struct Identifiers: Sendable {
  private let whole: [RemovalCause?: String]
  private let byType: [TypeName: [RemovalCause?: String]]

  init(whole position: Position, _ positions: [TypeName: Position]) {
    whole = Identifiers.texts(position, content: nil)
    var written: [(place: Position, texts: [RemovalCause?: String])] = []
    byType = positions.mapValues { content in
      if let same = written.first(where: { $0.place == content }) { return same.texts }
      let texts = Identifiers.texts(position, content: content)
      written.append((content, texts))
      return texts
    }
  }

  subscript(type: TypeName?, cause: RemovalCause?) -> String {
    (type.flatMap { byType[$0] } ?? whole)[cause] ?? ""
  }

  private static func texts(_ position: Position, content: Position?) -> [RemovalCause?: String] {
    let causes: [RemovalCause?] = [nil] + RemovalCause.allCases
    let node = position.path.last?.node ?? ""
    return Dictionary(
      uniqueKeysWithValues: causes.map { cause in
        (cause, ControlPlane(node: node, position: position, content: content, removals: cause).json)
      })
  }
}

/// Why names were removed, for those not simply removed by their source. Bounded: when full it forgets
/// all, and forgotten names count as removed by their source, the careful reading.
public struct RemovalCauses: Sendable {
  private var causes: [TypeName: [String: RemovalCause]] = [:]
  private var count = 0
  /// Grows when something changes.
  public private(set) var edition: UInt64 = 0

  /// Most names remembered. Reason: about 100 bytes each, and only the last removals matter.
  public static let countMax = 65_536

  public init() {}

  public var isEmpty: Bool { count == 0 }

  public subscript(type: TypeName, name: String) -> RemovalCause? { causes[type]?[name] }

  /// Names by type that are gone for this cause.
  public func names(because cause: RemovalCause) -> [TypeName: [String]] {
    causes.mapValues { names in names.filter { $0.value == cause }.map(\.key) }.filter { !$0.value.isEmpty }
  }

  public mutating func record(_ cause: RemovalCause, type: TypeName, names: [String]) {
    guard cause != .source else { return forget(type: type, names: names) }
    for name in names {
      if count >= RemovalCauses.countMax {
        causes = [:]
        count = 0
      }
      let known = causes[type, default: [:]].updateValue(cause, forKey: name)
      if known == nil { count += 1 }
      if known != cause { edition &+= 1 }
    }
  }

  /// For names that exist again, or were removed again for another reason.
  public mutating func forget(type: TypeName, names: [String]) {
    guard causes[type] != nil else { return }
    for name in names where causes[type]?.removeValue(forKey: name) != nil {
      count -= 1
      edition &+= 1
    }
  }
}
