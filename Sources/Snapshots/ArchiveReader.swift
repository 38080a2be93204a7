// Reading a snapshot's file, piece by piece as it comes: every block is proven before it is given on. Pure.
//
// The bytes come from a medium that may have changed them, or from anybody: no length is believed beyond its limit,
// no conversion traps, and what is buffered is one block and one piece at most.

internal import Digest

/// What a file holds, in order.
public enum ArchiveItem: Sendable, Equatable {
  case header(ArchiveHeader)
  case type(ArchiveType)
  /// One object of the type before it, as `Resource.encoded`. Not admitted yet.
  case resource([UInt8])
}

/// Reads one file.
public struct ArchiveReader: Sendable {
  private enum Expected: Sendable {
    case magic
    case header
    /// What may follow: an object of the last type while some are `missing`, else a type or the end.
    case content(missing: Int)
    case nothing
  }

  /// Bytes that belong to no finished block yet.
  private var rest: [UInt8] = []
  /// Of the first byte of `rest`, from the beginning of the file.
  public private(set) var offset = 0
  private var chain = SnapshotArchive.root
  private var expected = Expected.magic
  private var header: ArchiveHeader?
  private var types = 0
  private var resources = 0
  private var lastType: TypeName?
  private let resourceBytesMost: Int

  public init(resourceBytesMost: Int) { self.resourceBytesMost = resourceBytesMost }

  /// Takes the next bytes; returns what they complete. After an error nothing more is read.
  public mutating func receive(_ bytes: [UInt8]) throws(ArchiveError) -> [ArchiveItem] {
    rest += bytes
    var items: [ArchiveItem] = []
    var at = 0
    defer {
      rest.removeFirst(at)
      offset += at
    }
    if case .magic = expected {
      guard try readMagic() else { return [] }
      at = SnapshotArchive.magic.count + 4
      expected = .header
    }
    while let block = try nextBlock(at) {
      if let item = try take(block, at: offset + at) { items.append(item) }
      at = block.end
    }
    return items
  }

  /// The file ends here: whole, or an error says where it stops.
  public func finish() throws(ArchiveError) {
    if case .nothing = expected, rest.isEmpty { return }
    if offset == 0, rest.isEmpty { throw .empty }
    throw .truncated(offset: offset)
  }

  private struct Block {
    let kind: SnapshotArchive.BlockKind
    let payload: [UInt8]
    /// Index in `rest` of what follows it.
    let end: Int
  }

  /// False when more bytes are needed to tell.
  private func readMagic() throws(ArchiveError) -> Bool {
    let magic = SnapshotArchive.magic
    guard rest.starts(with: magic.prefix(rest.count)) else { throw .foreign }
    guard rest.count >= magic.count + 4 else { return false }
    let format = SnapshotArchive.bigEndian(rest[magic.count..<magic.count + 4])
    if format > SnapshotArchive.format { throw .newerFormat(format) }
    guard format == SnapshotArchive.format else { throw .damaged(offset: 0) }
    return true
  }

  /// The block at this index of `rest`, proven; nil while it is not all there.
  private mutating func nextBlock(_ start: Int) throws(ArchiveError) -> Block? {
    guard start < rest.count else { return nil }
    if case .nothing = expected { throw .trailing(offset: offset + start) }
    guard let kind = SnapshotArchive.BlockKind(rawValue: rest[start]) else {
      throw .damaged(offset: offset + start)
    }
    let head = start + SnapshotArchive.blockHeadBytes
    guard head <= rest.count else { return nil }
    let length = Int(SnapshotArchive.bigEndian(rest[start + 1..<head]))
    let limit =
      switch kind {
      case .header, .type: SnapshotArchive.textBytesMost
      case .resource: resourceBytesMost
      case .end: 0
      }
    guard length <= limit else {
      throw kind == .resource
        ? .tooLarge(offset: offset + start, bytes: length, limit: limit) : .damaged(offset: offset + start)
    }
    let end = head + length + SHA256.byteCount
    guard end <= rest.count else { return nil }
    let next = SHA256.hash(chain + rest[start..<head + length])
    guard rest[head + length..<end].elementsEqual(next) else { throw .damaged(offset: offset + start) }
    chain = next
    return Block(kind: kind, payload: Array(rest[head..<head + length]), end: end)
  }

  private mutating func take(_ block: Block, at place: Int) throws(ArchiveError) -> ArchiveItem? {
    switch (block.kind, expected) {
    case (.header, .header):
      guard let found = ArchiveHeader(json: block.payload) else {
        throw .inconsistent(offset: place, "its header cannot be read")
      }
      header = found
      expected = .content(missing: 0)
      return .header(found)
    case (.type, .content(missing: 0)):
      guard let found = ArchiveType(json: block.payload) else {
        throw .inconsistent(offset: place, "a type cannot be read")
      }
      if let lastType, found.type <= lastType {
        throw .inconsistent(offset: place, "the types are not in order")
      }
      lastType = found.type
      types += 1
      expected = .content(missing: found.resources)
      return .type(found)
    case (.resource, .content(let missing)) where missing > 0:
      resources += 1
      expected = .content(missing: missing - 1)
      return .resource(block.payload)
    case (.end, .content(missing: 0)):
      guard let header, header.types == types, header.resources == resources else {
        throw .inconsistent(offset: place, "it does not have what its header says")
      }
      expected = .nothing
      return nil
    case (.header, _), (.type, _), (.resource, _), (.end, _):
      throw .inconsistent(offset: place, "a block stands where another one should")
    }
  }
}
