// The shape of protobuf messages as one immutable value: what the encoder and the canonical form are
// driven by. Made once from the embedded descriptors (IstioDescriptors.swift) by SchemaReader.swift.
//
// Messages and enums refer to each other by index, so following a field costs no name lookup.
// Source: Protocol Buffers language guide (proto3); descriptor.proto. Knows no YAML and no resource.

/// Messages and enums by full name (`istio.networking.v1alpha3.VirtualService`).
public struct Schema: Sendable {
  /// Everything under Protos/istio with the well-known types it uses.
  public static let istio: Schema = .embedded()

  let messages: [MessageShape]
  let enumerations: [EnumerationShape]
  private let messageIndexes: [String: Int]

  init(messages: [MessageShape], enumerations: [EnumerationShape]) {
    self.messages = messages
    self.enumerations = enumerations
    var indexes: [String: Int] = [:]
    for (index, message) in messages.enumerated() { indexes[message.fullName] = index }
    messageIndexes = indexes
  }

  /// Whether `message` (a full name without leading dot) can be encoded and brought to canonical form.
  public func contains(message: String) -> Bool { messageIndexes[message] != nil }

  func index(ofMessage fullName: String) -> Int? { messageIndexes[fullName] }
}

/// One message type.
struct MessageShape: Sendable {
  let fullName: String
  /// In number order.
  let fields: [FieldShape]
  /// Index into `fields` by proto name and by JSON name.
  let fieldBySpelling: [String: Int]
  /// Index into `fields` by number.
  let fieldByNumber: [UInt32: Int]
  let oneofs: [String]
  /// Set for messages that JSON writes in a form of their own.
  let wellKnown: WellKnownType?

  init(fullName: String, fields: [FieldShape], oneofs: [String]) {
    let ordered = fields.sorted { $0.number < $1.number }
    var spellings: [String: Int] = [:]
    var numbers: [UInt32: Int] = [:]
    for (index, field) in ordered.enumerated() {
      spellings[field.name] = index
      spellings[field.jsonName] = index
      numbers[field.number] = index
    }
    self.fullName = fullName
    self.fields = ordered
    self.oneofs = oneofs
    fieldBySpelling = spellings
    fieldByNumber = numbers
    wellKnown = WellKnownType(fullName: fullName)
  }

  /// The name without its package: what an operator knows the message by.
  var shortName: String { String(fullName.split(separator: ".").last ?? "") }
}

/// One field of a message.
struct FieldShape: Sendable {
  /// As in the .proto file: `export_to`.
  let name: String
  /// As manifests usually write it: `exportTo`.
  let jsonName: String
  /// 1 ≤ number < 2^29.
  let number: UInt32
  let type: FieldType
  let cardinality: Cardinality
  /// Index into the message's `oneofs`; nil outside a oneof.
  let oneof: Int?

  /// Whether a value of zero is written: a oneof member shows by its presence that it was chosen.
  var writesZero: Bool { oneof != nil }
}

enum Cardinality: Sendable, Equatable {
  case singular
  case repeated
  /// Keys are of this type, values of the field's `type`.
  case map(key: ScalarType)
}

enum FieldType: Sendable, Equatable {
  case scalar(ScalarType)
  /// Index into `Schema.enumerations`.
  case enumeration(Int)
  /// Index into `Schema.messages`.
  case message(Int)
}

enum ScalarType: Sendable, Equatable {
  case double
  case float
  case int32
  case int64
  case uint32
  case uint64
  case sint32
  case sint64
  case fixed32
  case fixed64
  case sfixed32
  case sfixed64
  case bool
  case string
  case bytes
}

/// One enum type.
struct EnumerationShape: Sendable {
  let fullName: String
  /// In order of declaration.
  let values: [(name: String, number: Int32)]
  private let numbers: [String: Int32]

  init(fullName: String, values: [(name: String, number: Int32)]) {
    self.fullName = fullName
    self.values = values
    var numbers: [String: Int32] = [:]
    for value in values { numbers[value.name] = value.number }
    self.numbers = numbers
  }

  /// Case matters, and there is no prefix to leave out.
  func number(named name: String) -> Int32? { numbers[name] }
}

/// Messages of google.protobuf that JSON does not write as an object of their fields.
enum WellKnownType: Sendable, Equatable {
  case duration
  case timestamp
  case structure
  case value
  case list
  case wrapper

  init?(fullName: String) {
    switch fullName {
    case "google.protobuf.Duration": self = .duration
    case "google.protobuf.Timestamp": self = .timestamp
    case "google.protobuf.Struct": self = .structure
    case "google.protobuf.Value": self = .value
    case "google.protobuf.ListValue": self = .list
    case "google.protobuf.DoubleValue", "google.protobuf.FloatValue", "google.protobuf.Int64Value",
      "google.protobuf.UInt64Value", "google.protobuf.Int32Value", "google.protobuf.UInt32Value",
      "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
      self = .wrapper
    default: return nil
    }
  }
}
