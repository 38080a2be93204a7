// What goes into the store and what comes out of it, as values.

public import Gates
public import Primitives
public import Snapshots

/// What is known of one source beside its objects.
public struct SourceMark: Sendable, Equatable {
  public var name: String
  /// It has delivered once.
  public var isComplete: Bool
  /// Where its snapshot stands; nil for a source that is itself the truth.
  public var position: Position?
  /// Where the content of its types stands.
  public var positions: [TypeName: Position]

  public init(
    name: String, isComplete: Bool, position: Position? = nil, positions: [TypeName: Position] = [:]
  ) {
    self.name = name
    self.isComplete = isComplete
    self.position = position
    self.positions = positions
  }
}

/// The last good snapshot, proven to be what was saved.
public struct Restored: Sendable {
  /// Of its row among the kept versions.
  let number: Int64
  /// By type; a type that was ready and empty is here and empty. What `Merge.restore` takes.
  public let collections: [TypeName: Collection]
  /// As it was served: the last element of its path is this relay under its former instance.
  public let position: Position
  /// Every source had delivered once.
  public let isComplete: Bool
  /// Hash of the content, equal to what was reported when it was served.
  public let version: Version
  /// When it was saved.
  public let savedAt: Timestamp
  /// Sorted by name.
  public let sources: [SourceMark]
  /// When objects were created that are gone, or were first seen: they keep their time when they return.
  public let departed: [TypeName: [String: Timestamp]]
  /// Those that were in force, each with what it keeps.
  public internal(set) var gates = GateBook()
  /// What they must remember beside that.
  public internal(set) var memory = GateMemory()

  /// Since when an object exists as far as is known, gone or not.
  public func createTime(of name: String, type: TypeName) -> Timestamp? {
    collections[type]?[name]?.createTime ?? departed[type]?[name]
  }
}

/// One kept version.
public struct StoredVersion: Sendable, Equatable {
  public let version: Version
  public let position: Position
  public let savedAt: Timestamp
  public let resources: Int
  /// Something was taken out of it since, because the right to have it ended.
  public let isCut: Bool
}

/// The content of one kept version. Before it is served it must be cut by the policy of now.
public struct StoredSnapshot: Sendable {
  public let entry: StoredVersion
  public let collections: [TypeName: Collection]
}

/// How much of the past is kept. The last good snapshot is kept in any case.
public struct HistoryLimits: Sendable, Equatable {
  /// Versions at most, the current one included. At least 1.
  public var versions: Int
  /// How long a version is kept after it was saved.
  public var age: Duration
  /// Bytes the file may take before the past is given up. Reason: a hundred versions of a snapshot whose every
  /// object changes take a hundred times its size.
  public var bytes: Int64

  public init(versions: Int = 100, age: Duration = .seconds(7 * 86_400), bytes: Int64 = 1 << 30) {
    self.versions = max(versions, 1)
    self.age = age
    self.bytes = bytes
  }
}

/// A file as it was read when it was good.
public struct KeptFile: Sendable, Equatable {
  public var path: String
  public var content: [UInt8]

  public init(path: String, content: [UInt8]) {
    self.path = path
    self.content = content
  }
}

/// What kept files are.
public enum KeptRole: String, Sendable, CaseIterable {
  case configuration
  case policy
  /// No file: the name of the source that refused this host last and has not answered since.
  case refusal
}
