// What leads from one collection to another: what a delta client is sent.

public import Primitives

/// Resources to set and names to remove. Immutable; all clients that make the same step share it.
public struct Difference: Sendable {
  /// New or with another version, sorted by wire name.
  public let changed: [Resource]
  /// Wire names that are gone, sorted.
  public let removed: [String]
  /// The encoded elements of `changed`.
  public let segments: SegmentList

  public static let none = Difference(changed: [], removed: [])

  public var isEmpty: Bool { changed.isEmpty && removed.isEmpty }

  /// `changed` and `removed` must be sorted by wire name.
  public init(changed: [Resource], removed: [String]) {
    self.changed = changed
    self.removed = removed
    segments = SegmentList(changed.map(\.segment), owners: changed.map(\.slab))
  }

  /// Walks both lists side by side. Where both stand at the beginning of equal chunks, both chunks are
  /// passed over; since borders depend on names alone, the walks meet again at every common border.
  init(from old: [Chunk], to new: [Chunk]) {
    var changed: [Resource] = []
    var removed: [String] = []
    var left = ChunkCursor(old)
    var right = ChunkCursor(new)
    while true {
      if left.skipEqual(&right) || left.skipSame(&right) { continue }
      switch (left.current, right.current) {
      case (nil, nil):
        self.init(changed: changed, removed: removed)
        return
      case (let gone?, nil):
        removed.append(gone.wireName)
        left.advance()
      case (nil, let added?):
        changed.append(added)
        right.advance()
      case (let before?, let after?):
        if before.wireName < after.wireName {
          removed.append(before.wireName)
          left.advance()
        } else if after.wireName < before.wireName {
          changed.append(after)
          right.advance()
        } else {
          if before.version != after.version { changed.append(after) }
          left.advance()
          right.advance()
        }
      }
    }
  }
}

/// A position in a list of chunks. 0 ≤ chunk ≤ chunks.count; 0 ≤ offset < resources of that chunk.
private struct ChunkCursor {
  private let chunks: [Chunk]
  private var chunk = 0
  private var offset = 0

  init(_ chunks: [Chunk]) { self.chunks = chunks }

  var current: Resource? { chunk < chunks.count ? chunks[chunk].resources[offset] : nil }

  mutating func advance() { advance(1, of: chunks[chunk].resources.count) }

  /// Passes over objects that are the very same in both: the neighbours of a change in its chunk.
  mutating func skipSame(_ other: inout ChunkCursor) -> Bool {
    guard chunk < chunks.count, other.chunk < other.chunks.count else { return false }
    let (ours, theirs) = (chunks[chunk].resources, other.chunks[other.chunk].resources)
    let count = min(ours.count - offset, theirs.count - other.offset)
    var same = 0
    while same < count, ours[offset + same] === theirs[other.offset + same] { same += 1 }
    advance(same, of: ours.count)
    other.advance(same, of: theirs.count)
    return same > 0
  }

  private mutating func advance(_ steps: Int, of count: Int) {
    offset += steps
    if offset == count {
      chunk += 1
      offset = 0
    }
  }

  mutating func skipEqual(_ other: inout ChunkCursor) -> Bool {
    guard offset == 0, other.offset == 0, chunk < chunks.count, other.chunk < other.chunks.count,
      chunks[chunk].digest == other.chunks[other.chunk].digest
    else { return false }
    chunk += 1
    other.chunk += 1
    return true
  }
}
