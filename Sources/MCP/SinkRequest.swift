// What a sink says: which collection it wants, what it holds of it, and what it thinks of a response. One
// value for the three messages that carry it, read and written by hand.
// Source: istio.mcp.v1alpha1 RequestResources, MeshConfigRequest, IncrementalMeshConfigRequest.

internal import Snapshots

/// Who asks: SinkNode. A label, never proof: identity comes from the SVID alone.
public struct SinkNode: Sendable, Equatable {
  public var id: String
  public var annotations: [String: String]

  public init(id: String, annotations: [String: String] = [:]) {
    self.id = id
    self.annotations = annotations
  }

  var encoded: [UInt8] {
    var writer = ProtobufWriter()
    writer.string(1, id)
    writer.map(2, annotations.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) })
    return writer.bytes
  }

  /// The id alone. The field beside it is a map of strings or, in Istio 1.0, a Struct: nothing of it is
  /// used, and a node that cannot be read is no reason to refuse the request around it.
  static func id(_ reader: ProtobufReader) -> String? {
    var reader = reader
    var id: String?
    do {
      while let field = try reader.next() {
        if field.number == 1 { id = try reader.string(field) }
      }
    } catch {
      return nil
    }
    return id
  }
}

struct SinkRequest: Equatable {
  var collection = ""
  /// Nil when the request has no node, or none that can be read.
  var nodeID: String?
  /// Name → version the sink holds.
  var initialVersions: [String: String] = [:]
  var nonce = ""
  var fault: RequestFault?
  /// The sink takes changes.
  var isIncremental = false
  /// Of the last good message; not read.
  var version = ""

  init() {}

  init(_ bytes: [UInt8], method: MCPMethod, namesMax: Int) throws(ProtobufError) {
    let layout = method.request
    isIncremental = method == .incrementalAggregated
    var reader = ProtobufReader(bytes)
    while let field = try reader.next() {
      switch field.number {
      case layout.node:
        try reader.once(field)
        nodeID = SinkNode.id(try reader.message(field))
      case layout.collection:
        try reader.once(field)
        collection = try reader.string(field)
      case layout.initialVersions:
        guard initialVersions.count < namesMax else { throw .tooMany(field: field.number, limit: namesMax) }
        let (name, version) = try ProtobufReader.mapEntry(reader.message(field))
        initialVersions[name] = version
      case layout.nonce:
        try reader.once(field)
        nonce = try reader.string(field)
      case layout.fault:
        try reader.once(field)
        fault = try RequestFault(reader.message(field))
      case layout.incremental:
        try reader.once(field)
        isIncremental = try reader.integer(field) != 0
      default: break
      }
    }
  }

  func encoded(method: MCPMethod, node: SinkNode) -> [UInt8] {
    let layout = method.request
    var writer = ProtobufWriter()
    if layout.version > 0 { writer.string(layout.version, version) }
    // Said in every request; Galley takes it from whichever comes first.
    writer.message(layout.node, node.encoded)
    writer.string(layout.collection, collection)
    if layout.initialVersions > 0 {
      writer.map(
        layout.initialVersions,
        initialVersions.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) })
    }
    writer.string(layout.nonce, nonce)
    if let fault { fault.write(layout.fault, to: &writer) }
    if layout.incremental > 0, isIncremental { writer.integer(layout.incremental, 1) }
    return writer.bytes
  }
}
