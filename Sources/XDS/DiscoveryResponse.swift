// The responses of both dialects. Writing gives a small head; the resources follow as shared bytes,
// for protobuf lets fields come in any order. Reading is strict about what may occur once.
// Source: envoy.service.discovery.v3 DiscoveryResponse and DeltaDiscoveryResponse.

internal import Snapshots

enum ResponseHead {
  static func stateOfTheWorld(
    version: String, typeURL: String, nonce: String, controlPlane: String
  ) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.string(1, version)
    writer.string(4, typeURL)
    writer.string(5, nonce)
    writer.message(6) { $0.string(1, controlPlane) }
    return writer.bytes
  }

  static func delta(
    version: String, typeURL: String, nonce: String, removed: [String], controlPlane: String
  ) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.string(1, version)
    writer.string(4, typeURL)
    writer.string(5, nonce)
    for name in removed { writer.presentString(6, name) }
    writer.message(7) { $0.string(1, controlPlane) }
    return writer.bytes
  }
}

/// A response as an upstream sent it, its elements still encoded.
struct ReceivedResponse {
  var version = ""
  var typeURL = ""
  var nonce = ""
  var identifier: String?
  var elements: [ProtobufReader] = []
  /// Delta only.
  var removed: [String] = []

  /// Throws when the outer message cannot be read: then not even its nonce is certain.
  init(_ bytes: [UInt8], dialect: ADSDialect) throws(ProtobufError) {
    var reader = ProtobufReader(bytes)
    while let field = try reader.next() {
      switch (field.number, dialect) {
      case (1, _):
        try reader.once(field)
        version = try reader.string(field)
      case (2, _): elements.append(try reader.message(field))
      case (4, _):
        try reader.once(field)
        typeURL = try reader.string(field)
      case (5, _):
        try reader.once(field)
        nonce = try reader.string(field)
      case (6, .delta): removed.append(try reader.string(field))
      case (6, .stateOfTheWorld), (7, .delta):
        try reader.once(field)
        identifier = try ReceivedResponse.identifier(reader.message(field))
      default: break
      }
    }
  }

  private static func identifier(_ reader: ProtobufReader) throws(ProtobufError) -> String {
    var reader = reader
    var text = ""
    while let field = try reader.next() {
      guard field.number == 1 else { continue }
      try reader.once(field)
      text = try reader.string(field)
    }
    return text
  }
}
