// What a source says: a set or a change of one collection. Writing gives a small head; the resources
// follow as shared bytes, for protobuf lets fields come in any order. Reading is strict about what may
// occur once.
// Source: istio.mcp.v1alpha1 Resources, MeshConfigResponse, IncrementalMeshConfigResponse.

internal import Primitives
internal import Snapshots

/// The part of a message before its resources.
struct SourceHead {
  var version = ""
  var collection = ""
  var nonce = ""
  var removed: [String] = []
  var isIncremental = false

  func encoded(method: MCPMethod) -> [UInt8] {
    let layout = method.response
    var writer = ProtobufWriter()
    writer.string(layout.version, version)
    if layout.collection > 0 { writer.string(layout.collection, collection) }
    writer.string(layout.nonce, nonce)
    if layout.removed > 0 {
      for name in removed { writer.presentString(layout.removed, name) }
    }
    if layout.incremental > 0, isIncremental { writer.integer(layout.incremental, 1) }
    return writer.bytes
  }
}

/// The resources of a message, as bytes of their own layout.
enum SourceBody {
  /// A whole collection: the bytes all sinks of it share. Nil when there are none.
  static func whole(_ content: Collection, of collection: MCPCollection, method: MCPMethod) -> SharedBody? {
    guard !content.isEmpty else { return nil }
    if collection.isBare { return bare(content.resources, method) }
    return method.tag == nil ? content.body(.core) : content.classicStreamBody
  }

  /// The new content of a change.
  static func changes(_ change: Difference, of collection: MCPCollection, method: MCPMethod) -> SharedBody? {
    guard !change.changed.isEmpty else { return nil }
    if collection.isBare { return bare(change.changed, method) }
    return SharedBody([change.segments], depth: .core, leadingByte: method.tag)
  }

  /// MeshConfig has no envelope in the encoding that is shared: it gets one here, for the few who ask.
  private static func bare(_ resources: [Resource], _ method: MCPMethod) -> SharedBody {
    var writer = ProtobufWriter()
    for resource in resources {
      writer.message(method.response.resources) { envelope in
        envelope.message(1) { metadata in
          metadata.string(1, MCPCollection.bareName)
          metadata.string(3, resource.version.description)
        }
        envelope.message(2) { body in
          body.string(1, "type.googleapis.com/" + resource.bodyMessage)
          body.data(2, resource.body)
        }
      }
    }
    return SharedBody([SegmentList(bytes: writer.bytes)], depth: .whole)
  }
}

extension MCPMethod {
  /// The byte before an element where it is another than in the shared encoding.
  fileprivate var tag: UInt8? {
    switch self {
    case .resourceSource, .resourceSink: Collection.classicStreamTag
    case .aggregated, .incrementalAggregated: nil
    }
  }
}

/// A message as an upstream sent it, its elements still encoded.
struct ReceivedResources {
  var head = SourceHead()
  var elements: [ProtobufReader] = []

  /// Throws when the outer message cannot be read: then not even its nonce is certain.
  init(_ bytes: [UInt8], method: MCPMethod) throws(ProtobufError) {
    let layout = method.response
    head.isIncremental = method == .incrementalAggregated
    var reader = ProtobufReader(bytes)
    while let field = try reader.next() {
      switch field.number {
      case layout.version:
        try reader.once(field)
        head.version = try reader.string(field)
      case layout.collection:
        try reader.once(field)
        head.collection = try reader.string(field)
      case layout.resources: elements.append(try reader.message(field))
      case layout.removed: head.removed.append(try reader.string(field))
      case layout.nonce:
        try reader.once(field)
        head.nonce = try reader.string(field)
      case layout.incremental:
        try reader.once(field)
        head.isIncremental = try reader.integer(field) != 0
      default: break
      }
    }
  }
}
