// What a source yields: complete states of a type, changes to them, and the word that it has said all.

/// One step of one source.
public struct SourceUpdate: Sendable {
  public enum Kind: Sendable {
    /// All resources of a type.
    case replace(TypeName, [Resource])
    /// Resources to set and wire names to remove.
    case change(TypeName, upserts: [Resource], removals: [String])
    /// The source has delivered once. For one that lists what it has (a directory, a store), types it
    /// did not mention are empty there; for one that is asked type by type, those stay unanswered.
    case complete
  }

  public var source: String
  public var kind: Kind
  /// Objects set aside on the way.
  public var rejected: [Rejection]
  /// The source said everything of the type: `rejected` is all that is set aside of it.
  public var isWhole: Bool
  /// Where the upstream's snapshot stands; nil for sources that are themselves the truth.
  public var position: Position?
  /// Where the type stands once this step is done; nil also when more steps are needed to get there.
  public var content: Position?
  /// Why things are removed, as the upstream says.
  public var removals: RemovalCause

  public init(
    source: String, kind: Kind, rejected: [Rejection] = [], isWhole: Bool = false,
    position: Position? = nil, content: Position? = nil, removals: RemovalCause = .source
  ) {
    self.source = source
    self.kind = kind
    self.rejected = rejected
    self.isWhole = isWhole
    self.position = position
    self.content = content
    self.removals = removals
  }

  /// The type it speaks of.
  public var type: TypeName? {
    switch kind {
    case .replace(let type, _), .change(let type, _, _): type
    case .complete: nil
    }
  }
}

/// A source as merging sees it.
public struct MergeSource: Sendable {
  public var name: String
  /// True: once complete, what it never mentioned it does not have. False: it answers type by type.
  public var listsEverything: Bool
  /// Whether it can supply a type at all (what is asked of it, and what it may supply).
  public var supplies: @Sendable (TypeName) -> Bool
  /// Whether it may supply this object; what it may not is set aside.
  public var admits: @Sendable (Resource) -> Bool

  public init(
    name: String, listsEverything: Bool, supplies: @escaping @Sendable (TypeName) -> Bool = { _ in true },
    admits: @escaping @Sendable (Resource) -> Bool = { _ in true }
  ) {
    self.name = name
    self.listsEverything = listsEverything
    self.supplies = supplies
    self.admits = admits
  }
}
