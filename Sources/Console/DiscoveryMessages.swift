// The four discovery messages as the `subscribe` command reads and writes them.
// Source: envoy.service.discovery.v3 DiscoveryRequest/Response and their delta forms.

import Primitives
import Snapshots
import XDS

/// One response, of either dialect, as it was said.
struct DiscoveryReply {
  var typeURL = ""
  var version = ""
  var nonce = ""
  var controlPlane = ""
  var resources: [Element] = []
  var removed: [String] = []

  struct Element {
    /// What the delta dialect says outside the payload.
    var wrapper: DeltaElement?
    var payload: EncodedAny
  }

  /// `{type, version, nonce, resources, removed}` on one line.
  var json: String {
    var writer = JSONWriter()
    writer.object { object in
      object.field("type", typeURL)
      object.field("version", version)
      object.field("nonce", nonce)
      object.field(
        "resources",
        array: { array in
          for element in resources { DiscoveryReply.write(element, to: &array) }
        })
      object.field("removed", strings: removed)
      if !controlPlane.isEmpty { object.field("controlPlane", controlPlane) }
    }
    return writer.text
  }

  private static func write(_ element: Element, to writer: inout JSONWriter) {
    let type = element.payload.messageName
    writer.object { object in
      guard type == "istio.mcp.v1alpha1.Resource",
        let described = try? DescribedResource(ProtobufReader(element.payload.value))
      else {
        object.field("name", element.wrapper?.name ?? "")
        object.field("version", element.wrapper?.version ?? "")
        object.field("body", type)
        object.field("bytes", element.payload.value.count)
        return
      }
      object.field("name", described.name)
      object.field("version", described.version)
      object.field("createTime", described.createTime?.rfc3339)
      object.field("labels", object: { DiscoveryReply.write(described.labels, to: &$0) })
      object.field("annotations", object: { DiscoveryReply.write(described.annotations, to: &$0) })
      object.field("body", described.body.messageName)
      object.field("bytes", described.body.value.count)
    }
  }

  private static func write(_ pairs: [(key: String, value: String)], to writer: inout JSONWriter) {
    for pair in pairs.sorted(by: { $0.key < $1.key }) { writer.field(pair.key, pair.value) }
  }
}

/// What an istio.mcp.v1alpha1.Resource says of itself.
private struct DescribedResource {
  var name = ""
  var version = ""
  var createTime: Timestamp?
  var labels: [(key: String, value: String)] = []
  var annotations: [(key: String, value: String)] = []
  var body = EncodedAny(typeURL: "", value: [])

  init(_ reader: ProtobufReader) throws(ProtobufError) {
    var reader = reader
    while let field = try reader.next() {
      switch field.number {
      case 1: try readMetadata(reader.message(field))
      case 2: body = try EncodedAny(reader.message(field))
      default: break
      }
    }
  }

  private mutating func readMetadata(_ reader: ProtobufReader) throws(ProtobufError) {
    var reader = reader
    while let field = try reader.next() {
      switch field.number {
      case 1: name = try reader.string(field)
      case 2: createTime = try DescribedResource.time(reader.message(field))
      case 3: version = try reader.string(field)
      case 4: labels.append(try ProtobufReader.mapEntry(reader.message(field)))
      case 5: annotations.append(try ProtobufReader.mapEntry(reader.message(field)))
      default: break
      }
    }
  }

  private static func time(_ reader: ProtobufReader) throws(ProtobufError) -> Timestamp {
    var reader = reader
    var time = Timestamp(seconds: 0)
    while let field = try reader.next() {
      let value = Int64(bitPattern: try reader.integer(field))
      if field.number == 1 { time.seconds = value }
      if field.number == 2 { time.nanoseconds = Int32(clamping: value) }
    }
    return time
  }
}

enum DiscoveryMessages {
  /// The first request for a type; wildcard, because no names are given.
  static func request(_ dialect: ADSDialect, _ typeURL: String, node: String?) -> [UInt8] {
    var writer = ProtobufWriter()
    let isDelta = dialect == .delta
    if let node { writer.message(isDelta ? 1 : 2) { $0.string(1, node) } }
    writer.string(isDelta ? 2 : 4, typeURL)
    return writer.bytes
  }

  static func acknowledgement(_ dialect: ADSDialect, _ reply: DiscoveryReply) -> [UInt8] {
    var writer = ProtobufWriter()
    switch dialect {
    case .stateOfTheWorld:
      writer.string(1, reply.version)
      writer.string(4, reply.typeURL)
      writer.string(5, reply.nonce)
    case .delta:
      writer.string(2, reply.typeURL)
      writer.string(6, reply.nonce)
    }
    return writer.bytes
  }

  static func response(_ dialect: ADSDialect, _ message: [UInt8]) throws(ProtobufError) -> DiscoveryReply {
    var reply = DiscoveryReply()
    var reader = ProtobufReader(message)
    while let field = try reader.next() {
      switch field.number {
      case 1: reply.version = try reader.string(field)
      case 2: reply.resources.append(try element(dialect, reader.message(field)))
      case 4: reply.typeURL = try reader.string(field)
      case 5: reply.nonce = try reader.string(field)
      case 6: try readSixth(field, of: reader, dialect, &reply)
      case 7 where dialect == .delta: reply.controlPlane = try identifier(reader.message(field))
      default: break
      }
    }
    return reply
  }

  /// Field 6 is the control plane in one dialect and a removed name in the other.
  private static func readSixth(
    _ field: ProtobufReader.Field, of reader: ProtobufReader, _ dialect: ADSDialect,
    _ reply: inout DiscoveryReply
  ) throws(ProtobufError) {
    switch dialect {
    case .stateOfTheWorld: reply.controlPlane = try identifier(reader.message(field))
    case .delta: reply.removed.append(try reader.string(field))
    }
  }

  private static func element(
    _ dialect: ADSDialect, _ reader: ProtobufReader
  ) throws(ProtobufError) -> DiscoveryReply.Element {
    switch dialect {
    case .stateOfTheWorld:
      return DiscoveryReply.Element(wrapper: nil, payload: try EncodedAny(reader))
    case .delta:
      let wrapper = try DeltaElement(reader)
      return DiscoveryReply.Element(
        wrapper: wrapper, payload: wrapper.payload ?? EncodedAny(typeURL: "", value: []))
    }
  }

  private static func identifier(_ reader: ProtobufReader) throws(ProtobufError) -> String {
    var reader = reader
    while let field = try reader.next() {
      if field.number == 1 { return try reader.string(field) }
    }
    return ""
  }
}
