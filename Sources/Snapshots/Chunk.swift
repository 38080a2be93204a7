// Chunks of a collection, cut where the content says so.
//
// A name whose hash ends in seven zero bits begins a chunk, so chunks hold 128 resources on average
// and their borders depend on the names alone, never on the order of edits. The hash and the mask are
// part of what makes versions equal between releases: changing either changes every version.

internal import Primitives

/// A run of resources between two borders, with its digest and encoded bytes.
final class Chunk: Sendable {
  /// Sorted by wire name; never empty.
  let resources: [Resource]
  /// Hash over the names and versions in order.
  let digest: Version
  let segments: SegmentList

  init(_ resources: [Resource]) {
    precondition(!resources.isEmpty, "a chunk holds at least one resource")
    self.resources = resources
    var content = HashedContent()
    for resource in resources {
      content.append(resource.wireName)
      content.append(resource.version)
    }
    digest = content.version
    segments = SegmentList(resources.map(\.segment), owners: resources.map(\.slab))
  }

  var firstName: String { resources[0].wireName }

  func find(_ name: String) -> Resource? {
    var low = 0
    var high = resources.count
    while low < high {
      let middle = (low + high) / 2
      if resources[middle].wireName < name { low = middle + 1 } else { high = middle }
    }
    return low < resources.count && resources[low].wireName == name ? resources[low] : nil
  }

  /// Appends this chunk's resources with `edits` applied.
  func merge(_ edits: ArraySlice<Edit>, into builder: inout ChunkBuilder) {
    var edit = edits.startIndex
    for resource in resources {
      while edit < edits.endIndex, edits[edit].name < resource.wireName {
        if let added = edits[edit].resource { builder.append(added) }
        edit += 1
      }
      if edit < edits.endIndex, edits[edit].name == resource.wireName {
        if let replacement = edits[edit].resource { builder.append(replacement) }
        edit += 1
      } else {
        builder.append(resource)
      }
    }
    for left in edits[edit...] {
      if let added = left.resource { builder.append(added) }
    }
  }

  /// Whether a chunk begins with this name: the low seven bits of its hash are zero. FNV-1a (64 bit)
  /// with a final mix, since FNV's low bits alone follow the last characters too closely.
  static func isBorder(_ name: String) -> Bool {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    hash = (hash ^ (hash >> 33)) &* 0xFF51_AFD7_ED55_8CCD
    return (hash ^ (hash >> 33)) & 127 == 0
  }
}

/// Collects resources in order and cuts them into chunks; takes over whole chunks where it can.
struct ChunkBuilder {
  private var done: [Chunk] = []
  private var open: [Resource] = []

  mutating func append(_ resource: Resource) {
    if Chunk.isBorder(resource.wireName) {
      close()
    } else if open.isEmpty, let last = done.popLast() {
      // The border that stood here is gone: the resource belongs to the chunk before.
      open = last.resources
    }
    open.append(resource)
  }

  /// An untouched chunk of the predecessor. All but the first of a collection begin at a border.
  mutating func append(_ chunk: Chunk) {
    close()
    done.append(chunk)
  }

  mutating func finish() -> [Chunk] {
    close()
    return done
  }

  private mutating func close() {
    guard !open.isEmpty else { return }
    done.append(Chunk(open))
    open = []
  }
}
