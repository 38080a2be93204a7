// All resources of one type: a persistent, sorted sequence in content-defined chunks.
//
// A change copies only the chunks it touches; equal content gives equal chunks whatever its history,
// so two collections are compared chunk by chunk and their version is a hash over chunk digests, the
// same on every replica (docs/decisions/003-content-defined-chunks.md). The encoded bytes of all
// chunks are the body every client of this collection is sent, built once.

public import Primitives

/// An immutable set of resources of one type, sorted by wire name. Copying it copies one reference.
public struct Collection: Sendable {
  private let storage: Storage

  private final class Storage: Sendable {
    let chunks: [Chunk]
    let count: Int
    let version: Version
    let versionText: String
    let bodies: Bodies
    /// How this collection came from its predecessor, when it did: shared by all clients that follow.
    let step: Step?

    init(_ chunks: [Chunk], step: Step?) {
      self.chunks = chunks
      self.step = step
      count = chunks.reduce(0) { $0 + $1.resources.count }
      var content = HashedContent()
      for chunk in chunks { content.append(chunk.digest) }
      version = content.version
      versionText = version.description
      bodies = Bodies(chunks.map(\.segments))
    }
  }

  /// The encoded elements in each dialect.
  private struct Bodies: Sendable {
    let delta: SharedBody
    let stateOfTheWorld: SharedBody
    let classic: SharedBody
    let classicStream: SharedBody

    init(_ lists: [SegmentList]) {
      delta = SharedBody(lists, depth: .whole)
      stateOfTheWorld = SharedBody(lists, depth: .inner)
      classic = SharedBody(lists, depth: .core)
      classicStream = SharedBody(lists, depth: .core, leadingByte: Collection.classicStreamTag)
    }
  }

  private struct Step: Sendable {
    let from: Version
    let difference: Difference
  }

  public static let empty = Collection(chunks: [], step: nil)

  private init(chunks: [Chunk], step: Step?) { storage = Storage(chunks, step: step) }

  /// A collection of these resources. Of two with one name the later stands.
  public init(_ resources: [Resource]) {
    let byName = Collection.latestByName(resources)
    var builder = ChunkBuilder()
    for resource in byName { builder.append(resource) }
    self.init(chunks: builder.finish(), step: nil)
  }

  /// Resources in it.
  public var count: Int { storage.count }
  public var isEmpty: Bool { count == 0 }

  /// Hash of the set of (name, version): the `version_info` of this collection.
  public var version: Version { storage.version }

  /// The same as it is written: one text for all who are told it.
  public var versionText: String { storage.versionText }

  /// The encoded elements, ready to follow the head of a response. Shared by all who ask.
  public func body(_ depth: SegmentDepth) -> SharedBody {
    switch depth {
    case .whole: storage.bodies.delta
    case .inner: storage.bodies.stateOfTheWorld
    case .core: storage.bodies.classic
    }
  }

  /// Begins an element of the classic `Resources`: field 3, length-delimited. In every other message
  /// elements are field 2.
  public static let classicStreamTag: UInt8 = 3 << 3 | 2

  /// `body(.core)` with the tag of that message.
  public var classicStreamBody: SharedBody { storage.bodies.classicStream }

  /// The resource of this wire name.
  public subscript(name: String) -> Resource? {
    guard let index = chunkIndex(of: name) else { return nil }
    return storage.chunks[index].find(name)
  }

  public func contains(_ name: String) -> Bool { self[name] != nil }

  /// Whether some wire name begins so. Costs a search, not a pass.
  public func hasName(beginning prefix: String) -> Bool {
    // Such names follow each other: the first is in the chunk where the prefix itself would be, or begins the next.
    let first = chunkIndex(of: prefix) ?? 0
    return storage.chunks[first...].prefix(2).contains { chunk in
      chunk.resources.contains { $0.wireName.utf8.starts(with: prefix.utf8) }
    }
  }

  /// Calls `body` for every resource in order of wire names.
  public func forEach(_ body: (Resource) -> Void) {
    for chunk in storage.chunks { chunk.resources.forEach(body) }
  }

  /// All resources in order of wire names.
  public var resources: [Resource] {
    var all: [Resource] = []
    all.reserveCapacity(count)
    for chunk in storage.chunks { all.append(contentsOf: chunk.resources) }
    return all
  }

  /// The wire names in order.
  public var names: [String] { resources.map(\.wireName) }

  /// This collection without `removals` and then with `upserts`. Copies the chunks they touch and
  /// shares the rest.
  public func applying(upserts: [Resource], removals: [String] = []) -> Collection {
    let edits = Collection.edits(upserts: upserts, removals: removals)
    guard !edits.isEmpty else { return self }
    var builder = ChunkBuilder()
    var edit = 0
    for (index, chunk) in storage.chunks.enumerated() {
      let next = index + 1 < storage.chunks.count ? storage.chunks[index + 1].firstName : nil
      let from = edit
      while edit < edits.count, next.map({ edits[edit].name < $0 }) ?? true { edit += 1 }
      if from == edit {
        builder.append(chunk)
      } else {
        chunk.merge(edits[from..<edit], into: &builder)
      }
    }
    for left in edits[edit...] where storage.chunks.isEmpty {
      if let resource = left.resource { builder.append(resource) }
    }
    return Collection(chunks: builder.finish(), step: step(to: edits))
  }

  /// Only the resources with these names.
  public func restricted(to names: Set<String>) -> Collection {
    Collection(names.sorted().compactMap { self[$0] })
  }

  /// What leads from `old` to `new`: skips equal chunks, so the cost is that of the change.
  public static func difference(from old: Collection, to new: Collection) -> Difference {
    if old.version == new.version { return .none }
    if let step = new.storage.step, step.from == old.version { return step.difference }
    return Difference(from: old.storage.chunks, to: new.storage.chunks)
  }

  /// The same collection for those who come from `old`: what leads here is worked out once, and not by each of them.
  public func following(_ old: Collection) -> Collection {
    guard old.version != version, storage.step?.from != old.version else { return self }
    return Collection(
      chunks: storage.chunks,
      step: Step(from: old.version, difference: Collection.difference(from: old, to: self)))
  }

  /// The chunks, for tests of the chunking itself.
  var chunks: [Chunk] { storage.chunks }

  private func chunkIndex(of name: String) -> Int? {
    var low = 0
    var high = storage.chunks.count
    while low < high {
      let middle = (low + high) / 2
      if storage.chunks[middle].firstName <= name { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : low - 1
  }

  /// The difference to the successor, kept with it: thousands of clients take the same step, and none
  /// of them computes it.
  private func step(to edits: [Edit]) -> Step {
    var changed: [Resource] = []
    var removed: [String] = []
    for edit in edits {
      let held = self[edit.name]
      if let resource = edit.resource {
        if held?.version != resource.version { changed.append(resource) }
      } else if held != nil {
        removed.append(edit.name)
      }
    }
    return Step(from: version, difference: Difference(changed: changed, removed: removed))
  }

  private static func edits(upserts: [Resource], removals: [String]) -> [Edit] {
    var edits: [Edit] = []
    edits.reserveCapacity(upserts.count + removals.count)
    let kept = latestByName(upserts)
    let gone = Set(removals).subtracting(kept.map(\.wireName)).sorted()
    var next = 0
    for resource in kept {
      while next < gone.count, gone[next] < resource.wireName {
        edits.append(Edit(name: gone[next], resource: nil))
        next += 1
      }
      edits.append(Edit(name: resource.wireName, resource: resource))
    }
    edits.append(contentsOf: gone[next...].map { Edit(name: $0, resource: nil) })
    return edits
  }

  private static func latestByName(_ resources: [Resource]) -> [Resource] {
    // Most come from something that is sorted.
    if isAscending(resources) { return resources }
    let sorted = resources.enumerated().sorted {
      ($0.element.wireName, $0.offset) < ($1.element.wireName, $1.offset)
    }
    var result: [Resource] = []
    result.reserveCapacity(sorted.count)
    for (_, resource) in sorted {
      if result.last?.wireName == resource.wireName { result.removeLast() }
      result.append(resource)
    }
    return result
  }
}

extension Collection {
  fileprivate static func isAscending(_ resources: [Resource]) -> Bool {
    var last: Resource?
    for resource in resources {
      if let last, last.wireName >= resource.wireName { return false }
      last = resource
    }
    return true
  }

  /// Those that come from one source; this collection itself when all do.
  public func part(of source: String) -> Collection {
    var own: [Resource] = []
    var others = 0
    forEach { if $0.source == source { own.append($0) } else { others += 1 } }
    return others == 0 ? self : Collection(own)
  }
}

/// Sets a resource, or removes what has this name.
struct Edit {
  let name: String
  let resource: Resource?
}
