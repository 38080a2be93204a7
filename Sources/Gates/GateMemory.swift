// What gates must remember beside what they keep, so that a restart is no amnesty: what sources removed within the
// brake's window, what an operator let pass, and how objects were when they went.
//
// A value that a store can hold: it shares its parts with the publisher's state, and whoever keeps it finds out itself
// what differs from what it wrote last. Names and labels only, never bodies.

public import Primitives
public import Snapshots

/// What policy asks of an object, without the object.
public struct ObjectFacts: Sendable, Hashable {
  public struct Label: Sendable, Hashable {
    public var key: String
    public var value: String

    public init(key: String, value: String) {
      self.key = key
      self.value = value
    }
  }

  public var type: TypeName
  public var wireName: String
  public var labels: [Label]
  public var source: String

  public init(type: TypeName, wireName: String, labels: [Label], source: String) {
    self.type = type
    self.wireName = wireName
    self.labels = labels
    self.source = source
  }
}

/// An object that a source removed.
public struct Removal: Sendable, Equatable {
  public var at: Timestamp
  public var object: ObjectFacts
  /// It does not count: the object exists again, or nobody may know of it any more.
  public var isVoid: Bool

  public init(at: Timestamp, object: ObjectFacts, isVoid: Bool = false) {
    self.at = at
    self.object = object
    self.isVoid = isVoid
  }
}

public struct GateMemory: Sendable {
  /// Number of the first of `removals`; they are numbered in order, through restarts.
  public var first: UInt64 = 0
  /// Within the window, oldest first.
  public var removals: [Removal] = []
  /// By cluster: the first removal that counts for it.
  public var marks: [String: UInt64] = [:]
  /// Names that clusters lost because an operator let that pass, here or above: by the first of each policy class.
  public var released: [String: [TypeName: Set<String>]] = [:]
  /// Of objects that are gone, while there are gates.
  public var lastForms: [TypeName: [String: ObjectFacts]] = [:]
  /// What sources said last that they grant us, by their names.
  public var grants: [String: String] = [:]
  /// Another one whenever `released` or `lastForms` changes, within one process.
  public var edition: UInt64 = 0

  public init() {}

  /// Number of the removal that comes next.
  public var next: UInt64 { first &+ UInt64(removals.count) }

  /// Most numbers that lie between the first and the last removal that counts. Reason: what the publisher keeps,
  /// and one step beyond; more is no memory of ours.
  public static let spanMost: UInt64 = 1 << 20
}
