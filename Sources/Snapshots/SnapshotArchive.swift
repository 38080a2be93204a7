// A snapshot as a file, to be carried to a host without a network. This file: what the format is, and why a file
// is none. Writing is in ArchiveWriter.swift, reading in ArchiveReader.swift.
//
//   magic    8 bytes   89 4d 53 48 0d 0a 1a 0a
//   format   4 bytes   big-endian, 1
//   block    kind (1 byte), length (4 bytes, big-endian), that many bytes, chain (32 bytes); repeated:
//     H      the header, JSON                                   once, first
//     T      a type, JSON: how many objects, where they stand   in order of types
//     R      one object as `Resource.encoded`                   after its type, in order of names
//     E      nothing: the end                                   once, last
//
// `chain` is the SHA-256 over the chain before it and the block: of the first over magic and format. So each
// object proves itself and everything before it, and the last chain is the checksum of the whole file. The magic is
// made to break under whoever takes the file for text. Checksums are against damage and not against forgery:
// who may write the file may say what it holds (docs/decisions/101-carried-snapshots.md).

internal import Digest
public import Primitives

enum SnapshotArchive {
  static let magic: [UInt8] = [0x89, 0x4D, 0x53, 0x48, 0x0D, 0x0A, 0x1A, 0x0A]
  /// Grows when an older release could not read the file.
  static let format: UInt32 = 1

  enum BlockKind: UInt8 {
    case header = 0x48
    case type = 0x54
    case resource = 0x52
    case end = 0x45
  }

  /// Kind and length.
  static let blockHeadBytes = 5
  /// Longest header or type. Reason: an identifier has at most 16 KiB, and escaping may double that.
  static let textBytesMost = 64 * 1024

  static func bigEndian(_ value: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
  }

  static func bigEndian(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    bytes.reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// The chain before the first block.
  static var root: [UInt8] { SHA256.hash(magic + bigEndian(format)) }
}

/// What a file says of the snapshot in it.
public struct ArchiveHeader: Sendable, Equatable {
  /// The relay that wrote it.
  public var node: String
  /// Version of its program.
  public var program: String
  public var exportedAt: Timestamp
  /// Whose view it is; nil: everything the relay had.
  public var identity: String?
  /// Hash of the content.
  public var version: Version
  /// As the relay served it: it is the last element of the path.
  public var position: Position
  public var types: Int
  public var resources: Int

  public init(
    node: String, program: String, exportedAt: Timestamp, identity: String?, version: Version,
    position: Position, types: Int, resources: Int
  ) {
    self.node = node
    self.program = program
    self.exportedAt = exportedAt
    self.identity = identity
    self.version = version
    self.position = position
    self.types = types
    self.resources = resources
  }

  var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field("node", node)
      writer.field("program", program)
      writer.field("exportedAt", exportedAt.rfc3339)
      writer.field("identity", identity)
      writer.field("version", version.description)
      writer.field("identifier", ArchiveType.text(of: position))
      writer.field("types", types)
      writer.field("resources", resources)
    }
    return writer.bytes
  }

  init?(json bytes: [UInt8]) {
    guard case .object(let fields)? = JSONReader.read(String(decoding: bytes, as: UTF8.self)),
      case .string(let node)? = fields["node"], case .string(let program)? = fields["program"],
      case .string(let date)? = fields["exportedAt"], let exportedAt = Timestamp(rfc3339: date),
      case .string(let digits)? = fields["version"], let version = Version(parsing: digits),
      case .string(let text)? = fields["identifier"], let position = ControlPlane(json: text)?.position,
      let types = ArchiveType.count(fields["types"]), let resources = ArchiveType.count(fields["resources"])
    else { return nil }
    var identity: String?
    if case .string(let text)? = fields["identity"] { identity = text }
    self.init(
      node: node, program: program, exportedAt: exportedAt, identity: identity, version: version,
      position: position, types: types, resources: resources)
  }
}

/// One type of a file, before its objects.
public struct ArchiveType: Sendable, Equatable {
  public var type: TypeName
  public var resources: Int
  /// Where its content stands.
  public var position: Position

  var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field("type", type.description)
      writer.field("resources", resources)
      writer.field("identifier", ArchiveType.text(of: position))
    }
    return writer.bytes
  }

  init(type: TypeName, resources: Int, position: Position) {
    self.type = type
    self.resources = resources
    self.position = position
  }

  init?(json bytes: [UInt8]) {
    guard case .object(let fields)? = JSONReader.read(String(decoding: bytes, as: UTF8.self)),
      case .string(let name)? = fields["type"], let type = TypeName(parsing: name),
      let resources = ArchiveType.count(fields["resources"]),
      case .string(let text)? = fields["identifier"], let position = ControlPlane(json: text)?.position
    else { return nil }
    self.init(type: type, resources: resources, position: position)
  }

  /// As the identifier of a control plane is written.
  fileprivate static func text(of position: Position) -> String {
    ControlPlane(node: "", position: position, removals: nil).json
  }

  fileprivate static func count(_ value: JSONValue?) -> Int? {
    guard case .number(let digits)? = value, let count = Int(digits), count >= 0 else { return nil }
    return count
  }
}

/// Why a file is not taken. `offset`: bytes from its beginning.
public enum ArchiveError: Explained, Equatable {
  case empty
  /// Something else than a snapshot.
  case foreign
  /// Written by a later release, with this format number.
  case newerFormat(UInt32)
  /// What begins at `offset` is not what was written.
  case damaged(offset: Int)
  /// It ends within what begins at `offset`.
  case truncated(offset: Int)
  /// Something follows the end.
  case trailing(offset: Int)
  /// One object is larger than this relay takes.
  case tooLarge(offset: Int, bytes: Int, limit: Int)
  /// The blocks are whole and make no sense together.
  case inconsistent(offset: Int, String)

  public var what: String {
    switch self {
    case .empty: "The file is empty"
    case .foreign: "The file is no snapshot of meshrelay"
    case .newerFormat(let number):
      "The file has format \(number), and this release reads up to \(SnapshotArchive.format)"
    case .damaged(let offset): "The file is damaged: the block at byte \(offset) is not what was written"
    case .truncated(let offset): "The file is cut short: the block at byte \(offset) is not all there"
    case .trailing(let offset): "The file goes on after its end, at byte \(offset)"
    case .tooLarge(let offset, let bytes, let limit):
      "The block at byte \(offset) takes \(bytes) bytes, the limit is \(limit)"
    case .inconsistent(let offset, let reason): "The file makes no sense at byte \(offset): \(reason)"
    }
  }

  public var why: String {
    switch self {
    case .foreign: "`meshrelay snapshot export` did not write it, or something took it for text on the way"
    case .newerFormat: "A later release wrote it"
    case .damaged: "The medium or the way changed it"
    case .truncated, .empty: "The copy was not finished"
    case .trailing: "Something was appended to it"
    case .tooLarge: "The relay that wrote it has a larger limits.resourceBytes, or a length is damaged"
    case .inconsistent: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .foreign, .inconsistent: "Give a file that `meshrelay snapshot export` wrote"
    case .newerFormat: "Upgrade this host, or export with an older release"
    case .damaged, .truncated, .empty, .trailing:
      "Copy it again, and compare the copies (sha256sum); nothing was taken over"
    case .tooLarge: "Raise limits.resourceBytes here; if that is no answer, copy the file again"
    }
  }

  public var blame: Blame { .operator }
}
