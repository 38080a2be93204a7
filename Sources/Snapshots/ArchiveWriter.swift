// Writing a snapshot as a file, a piece at a time: what is held beside the snapshot is one piece. Pure.

internal import Digest

/// Gives the bytes of one file, in order.
public struct ArchiveWriter: Sendable {
  public let header: ArchiveHeader
  private let content: [(type: ArchiveType, collection: Collection)]
  private var chain = SnapshotArchive.root
  private var step = Step.start

  private enum Step: Sendable {
    case start
    /// Index of a type, and of the next of its objects.
    case resources([Resource], next: Int, type: Int)
    case type(Int)
    case finished
  }

  /// `content` as it is served at `positions`; a type without one stands where the header says.
  public init(
    _ header: ArchiveHeader, _ content: [TypeName: Collection], positions: [TypeName: Position] = [:]
  ) {
    var header = header
    header.types = content.count
    header.resources = content.values.reduce(0) { $0 + $1.count }
    self.header = header
    self.content = content.sorted { $0.key < $1.key }.map { type, collection in
      let position = positions[type] ?? header.position
      return (ArchiveType(type: type, resources: collection.count, position: position), collection)
    }
  }

  /// The next bytes: at least `count` of them while there are, none after the end.
  public mutating func next(_ count: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count {
      switch step {
      case .start:
        bytes += SnapshotArchive.magic + SnapshotArchive.bigEndian(SnapshotArchive.format)
        append(.header, header.json, to: &bytes)
        step = .type(0)
      case .type(let index) where index < content.count:
        append(.type, content[index].type.json, to: &bytes)
        step = .resources(content[index].collection.resources, next: 0, type: index)
      case .type:
        append(.end, [], to: &bytes)
        step = .finished
      case .resources(let resources, let next, let type) where next < resources.count:
        append(.resource, resources[next].encoded, to: &bytes)
        step = .resources(resources, next: next + 1, type: type)
      case .resources(_, _, let type): step = .type(type + 1)
      case .finished: return bytes
      }
    }
    return bytes
  }

  private mutating func append(_ kind: SnapshotArchive.BlockKind, _ payload: [UInt8], to bytes: inout [UInt8])
  {
    let length = UInt32(exactly: payload.count)
    guard let length else { preconditionFailure("an admitted object is far below 4 GiB") }
    let block = [kind.rawValue] + SnapshotArchive.bigEndian(length) + payload
    chain = SHA256.hash(chain + block)
    bytes += block + chain
  }
}
