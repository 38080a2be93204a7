// The versions that a relay without a `state` folder can go back to: in memory, bounded, gone with the process.
//
// Versions share the chunks of what they have in common, so one costs about what changed. What a source may no
// longer let us have leaves all of them. Pure.

public import Primitives
public import Snapshots

/// One kept version in a few words.
public struct KeptVersion: Sendable, Equatable {
  public var version: Version
  public var position: Position
  public var savedAt: Timestamp
  public var resources: Int
  /// Something was taken out of it since, because the right to have it ended.
  public var isCut: Bool

  public init(version: Version, position: Position, savedAt: Timestamp, resources: Int, isCut: Bool) {
    self.version = version
    self.position = position
    self.savedAt = savedAt
    self.resources = resources
    self.isCut = isCut
  }
}

public struct KeptVersions: Sendable {
  private struct Entry: Sendable {
    var kept: KeptVersion
    var collections: [TypeName: Collection]
    /// Bytes that came with it.
    let bytes: Int
  }

  private var versionsMost: Int
  private var age: Duration
  /// Reason: a hundred versions of a snapshot whose every object changes take a hundred times its size.
  private let bytesMost: Int
  /// Oldest first. The last is what is served.
  private var entries: [Entry] = []

  public init(versions: Int, age: Duration, bytesMost: Int = 64 << 20) {
    versionsMost = max(versions, 1)
    self.age = age
    self.bytesMost = bytesMost
  }

  /// Keeps more or fewer from now on.
  public mutating func follow(versions: Int, age: Duration, now: Timestamp) {
    (versionsMost, self.age) = (max(versions, 1), age)
    trim(now: now)
  }

  /// Newest first.
  public var all: [KeptVersion] { entries.reversed().map(\.kept) }

  /// Keeps what a step led to. What is not complete yet is nothing to go back to: what it lacks would be gone.
  public mutating func note(_ snapshot: Snapshot, _ change: Merge.Change, now: Timestamp) {
    let version = snapshot.version
    guard snapshot.isComplete, !snapshot.collections.isEmpty, entries.last?.kept.version != version else {
      return
    }
    let bytes = change.types.reduce(0) { $0 + $1.upserts.reduce(0) { $0 + $1.byteCount } }
    entries.append(
      Entry(
        kept: KeptVersion(
          version: version, position: snapshot.position, savedAt: now, resources: snapshot.count, isCut: false
        ),
        collections: snapshot.collections, bytes: bytes))
    trim(now: now)
  }

  private mutating func trim(now: Timestamp) {
    let oldest = now.milliseconds &- age.inNanoseconds / 1_000_000
    while entries.count > 1, isTooMuch || entries[0].kept.savedAt.milliseconds < oldest {
      entries.removeFirst()
    }
  }

  /// The first entry's bytes are there in any case.
  private var isTooMuch: Bool {
    entries.count > versionsMost || entries.dropFirst().reduce(0) { $0 + $1.bytes } > bytesMost
  }

  public mutating func erase(_ revoked: [Merge.Revocation]) {
    guard !revoked.isEmpty else { return }
    for index in entries.indices {
      let names = entries[index].collections.names(of: revoked)
      guard !names.isEmpty else { continue }
      entries[index].collections = entries[index].collections.without(names)
      entries[index].kept.isCut = true
    }
  }

  /// Takes out of every version what may not be kept any more. Costs the oldest version and what the others changed.
  public mutating func restrict(to admits: (Resource) -> Bool) {
    var suspects: [TypeName: Set<String>] = [:]
    var previous: [TypeName: Collection] = [:]
    for index in entries.indices {
      let collections = entries[index].collections
      for (type, collection) in collections {
        let fresh =
          previous[type].map { Collection.difference(from: $0, to: collection).changed }
          ?? collection.resources
        let bad = fresh.filter { !admits($0) }.map(\.wireName)
        if !bad.isEmpty { suspects[type, default: []].formUnion(bad) }
      }
      previous = collections
      let gone = suspects.reduce(into: [TypeName: Set<String>]()) { gone, suspect in
        let names = suspect.value.filter { collections[suspect.key]?[$0].map { !admits($0) } ?? false }
        if !names.isEmpty { gone[suspect.key] = names }
      }
      guard !gone.isEmpty else { continue }
      entries[index].collections = collections.without(gone)
      entries[index].kept.isCut = true
    }
  }

  /// The newest of the versions that begin with these digits. Fails when they do not name one content.
  public func find(_ prefix: String) -> Result<KeptContent, VersionError> {
    let found = entries.filter { $0.kept.version.description.hasPrefix(prefix) }
    guard let newest = found.last else { return .failure(.unknown(prefix)) }
    guard found.allSatisfy({ $0.kept.version == newest.kept.version }) else {
      return .failure(.ambiguous(prefix))
    }
    return .success(KeptContent(version: newest.kept.version, collections: newest.collections))
  }
}

/// Why a version is none.
public enum VersionError: Explained, Equatable {
  case malformed(String)
  case unknown(String)
  case ambiguous(String)

  /// Fewest digits of a prefix. Reason: what a person can copy, and unlikely to be typed by accident.
  public static let digitsLeast = 8

  /// Nil when the text can be the beginning of a version.
  public init?(checking prefix: String) {
    let digits = prefix.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    guard digits, (VersionError.digitsLeast...2 * Version.byteCount).contains(prefix.utf8.count) else {
      self = .malformed(prefix)
      return
    }
    return nil
  }

  public var what: String {
    switch self {
    case .malformed(let text): "'\(ForeignText.line(text))' is no version"
    case .unknown(let prefix): "No kept version begins with \(prefix)"
    case .ambiguous(let prefix): "Several kept versions begin with \(prefix)"
    }
  }

  public var howToFix: String {
    switch self {
    case .malformed:
      "Give the hash of a snapshot, or its first \(VersionError.digitsLeast) or more digits (0-9, a-f)"
    case .unknown: "`meshrelay history` lists the versions"
    case .ambiguous: "Give more digits"
    }
  }

  public var blame: Blame { .operator }
}
