// The requests of both dialects, read and written by hand: a handful of fields, all bounded.
// Source: envoy.service.discovery.v3 DiscoveryRequest and DeltaDiscoveryRequest.

internal import Snapshots

/// State of the world.
struct DiscoveryRequest: Equatable {
  var versionInfo = ""
  var nodeID: String?
  /// What else the client says of itself, as it stands on the wire; empty when it is too long to be kept.
  var nodeMetadata: [UInt8] = []
  var names: [String] = []
  var typeURL = ""
  var nonce = ""
  var fault: RequestFault?

  init() {}

  init(_ bytes: [UInt8], namesMax: Int) throws(ProtobufError) {
    var reader = ProtobufReader(bytes)
    while let field = try reader.next() {
      if (1...6).contains(field.number), field.number != 3 { try reader.once(field) }
      switch field.number {
      case 1: versionInfo = try reader.string(field)
      case 2: (nodeID, nodeMetadata) = try Node.label(reader.message(field))
      case 3:
        guard names.count < namesMax else { throw .tooMany(field: 3, limit: namesMax) }
        names.append(try reader.string(field))
      case 4: typeURL = try reader.string(field)
      case 5: nonce = try reader.string(field)
      case 6: fault = try RequestFault(reader.message(field))
      default: break
      }
    }
  }

  func encoded(node: Node?) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.string(1, versionInfo)
    if let node { writer.message(2, node.encoded) }
    for name in names { writer.presentString(3, name) }
    writer.string(4, typeURL)
    writer.string(5, nonce)
    if let fault { fault.write(6, to: &writer) }
    return writer.bytes
  }
}

/// Delta.
struct DeltaDiscoveryRequest: Equatable {
  var nodeID: String?
  /// As in `DiscoveryRequest`.
  var nodeMetadata: [UInt8] = []
  var typeURL = ""
  var subscribe: [String] = []
  var unsubscribe: [String] = []
  /// Name → version the client holds.
  var initialVersions: [String: String] = [:]
  var nonce = ""
  var fault: RequestFault?

  init() {}

  init(_ bytes: [UInt8], namesMax: Int) throws(ProtobufError) {
    var reader = ProtobufReader(bytes)
    while let field = try reader.next() {
      if [1, 2, 6, 7].contains(field.number) { try reader.once(field) }
      switch field.number {
      case 1: (nodeID, nodeMetadata) = try Node.label(reader.message(field))
      case 2: typeURL = try reader.string(field)
      case 3:
        guard subscribe.count < namesMax else { throw .tooMany(field: 3, limit: namesMax) }
        subscribe.append(try reader.string(field))
      case 4:
        guard unsubscribe.count < namesMax else { throw .tooMany(field: 4, limit: namesMax) }
        unsubscribe.append(try reader.string(field))
      case 5:
        guard initialVersions.count < namesMax else { throw .tooMany(field: 5, limit: namesMax) }
        let (name, version) = try ProtobufReader.mapEntry(reader.message(field))
        initialVersions[name] = version
      case 6: nonce = try reader.string(field)
      case 7: fault = try RequestFault(reader.message(field))
      default: break
      }
    }
  }

  func encoded(node: Node?) -> [UInt8] {
    var writer = ProtobufWriter()
    if let node { writer.message(1, node.encoded) }
    writer.string(2, typeURL)
    for name in subscribe { writer.presentString(3, name) }
    for name in unsubscribe { writer.presentString(4, name) }
    writer.map(5, initialVersions.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) })
    writer.string(6, nonce)
    if let fault { fault.write(7, to: &writer) }
    return writer.bytes
  }
}

/// What we say of ourselves in the first request of a stream: envoy.config.core.v3.Node. A label, never
/// proof: identity comes from the SVID alone.
public struct Node: Sendable, Equatable {
  public var id: String
  /// String members of the metadata Struct, sorted by key when written.
  public var metadata: [String: String]
  public var userAgentName: String
  public var userAgentVersion: String

  public init(
    id: String, metadata: [String: String] = [:], userAgentName: String = "meshrelay",
    userAgentVersion: String = ""
  ) {
    self.id = id
    self.metadata = metadata
    self.userAgentName = userAgentName
    self.userAgentVersion = userAgentVersion
  }

  var encoded: [UInt8] {
    var writer = ProtobufWriter()
    writer.string(1, id)
    if !metadata.isEmpty {
      writer.message(3) { structure in
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
          structure.message(1) { entry in
            entry.presentString(1, key)
            entry.message(2) { $0.presentString(3, value) }
          }
        }
      }
    }
    writer.string(6, userAgentName)
    writer.string(7, userAgentVersion)
    return writer.bytes
  }

  /// Metadata kept of a client. Reason: istiod says 100 bytes; it is kept for each stream, and read to tell
  /// streams apart.
  static let metadataBytesMax = 1024

  /// The id and the Struct beside it, unread: nothing else of a client's node is used.
  static func label(_ reader: ProtobufReader) throws(ProtobufError) -> (id: String, metadata: [UInt8]) {
    var reader = reader
    var id = ""
    var metadata: [UInt8] = []
    while let field = try reader.next() {
      switch field.number {
      case 1: id = try reader.string(field)
      case 3: metadata = try reader.bytes(field)
      default: break
      }
    }
    return (id, metadata.count > metadataBytesMax ? [] : metadata)
  }
}
