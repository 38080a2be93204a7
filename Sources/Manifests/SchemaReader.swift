// From a google.protobuf.FileDescriptorSet to a `Schema`. Two passes: every type gets its index first,
// because messages may refer to types of files that come later and to themselves.
// Source: descriptor.proto (swift-protobuf's Google_Protobuf_FileDescriptorSet).

import Primitives
import SwiftProtobuf

/// Why a descriptor set cannot be used.
enum SchemaError: Explained {
  case unreadable(String)
  case unknownType(name: String, field: String)
  case unsupportedType(field: String)

  var what: String {
    switch self {
    case .unreadable(let reason): "The descriptor set cannot be decoded (\(reason))"
    case .unknownType(let name, let field):
      "Field \(field) has type \(name), which no file of the set defines"
    case .unsupportedType(let field): "Field \(field) is a group, which proto3 does not have"
    }
  }

  var why: String { "The set was made without its imports, by an incompatible compiler, or was damaged" }
  var howToFix: String { "Run scripts/make-descriptors and build again" }
  var blame: Blame { .us }
}

extension Schema {
  /// The schema of `IstioDescriptors`: part of the program, so a failure is a broken build.
  static func embedded() -> Schema {
    let text = IstioDescriptors.base64.withUTF8Buffer { unsafe Array($0) }
    guard let bytes = Base64.decode(text) else {
      preconditionFailure("the embedded descriptors are not base64: run scripts/make-descriptors")
    }
    do {
      return try Schema(descriptorSet: bytes)
    } catch {
      preconditionFailure("the embedded descriptors are unusable: \(error)")
    }
  }

  /// Reads a serialized `google.protobuf.FileDescriptorSet` that includes its imports.
  init(descriptorSet bytes: [UInt8]) throws(SchemaError) {
    let set: Google_Protobuf_FileDescriptorSet
    do {
      set = try Google_Protobuf_FileDescriptorSet(serializedBytes: bytes)
    } catch {
      throw .unreadable("\(error)")
    }
    var reader = SchemaReader()
    for file in set.file { reader.name(file) }
    var messages: [MessageShape] = []
    for declared in reader.messages { messages.append(try reader.shape(of: declared)) }
    self.init(messages: messages, enumerations: reader.enumerations)
  }
}

private struct SchemaReader {
  struct DeclaredMessage {
    let fullName: String
    let descriptor: Google_Protobuf_DescriptorProto
  }

  private(set) var messages: [DeclaredMessage] = []
  private(set) var enumerations: [EnumerationShape] = []
  private var messageIndexes: [String: Int] = [:]
  private var enumerationIndexes: [String: Int] = [:]
  /// Entry types of map fields, by full name: fields refer to them, nobody else does.
  private var mapEntries: [String: Google_Protobuf_DescriptorProto] = [:]

  mutating func name(_ file: Google_Protobuf_FileDescriptorProto) {
    let scope = file.package.isEmpty ? "" : file.package + "."
    for enumeration in file.enumType { name(enumeration, in: scope) }
    for message in file.messageType { name(message, in: scope) }
  }

  private mutating func name(_ message: Google_Protobuf_DescriptorProto, in scope: String) {
    let fullName = scope + message.name
    if message.options.mapEntry {
      mapEntries[fullName] = message
      return
    }
    messageIndexes[fullName] = messages.count
    messages.append(DeclaredMessage(fullName: fullName, descriptor: message))
    for enumeration in message.enumType { name(enumeration, in: fullName + ".") }
    for nested in message.nestedType { name(nested, in: fullName + ".") }
  }

  private mutating func name(_ enumeration: Google_Protobuf_EnumDescriptorProto, in scope: String) {
    let fullName = scope + enumeration.name
    enumerationIndexes[fullName] = enumerations.count
    enumerations.append(
      EnumerationShape(
        fullName: fullName, values: enumeration.value.map { (name: $0.name, number: $0.number) }))
  }

  func shape(of declared: DeclaredMessage) throws(SchemaError) -> MessageShape {
    var fields: [FieldShape] = []
    for field in declared.descriptor.field {
      fields.append(try shape(of: field, in: declared.fullName))
    }
    return MessageShape(
      fullName: declared.fullName, fields: fields, oneofs: declared.descriptor.oneofDecl.map(\.name))
  }

  private func shape(
    of field: Google_Protobuf_FieldDescriptorProto, in message: String
  ) throws(SchemaError) -> FieldShape {
    let place = message + "." + field.name
    guard let number = UInt32(exactly: field.number), number > 0 else { throw .unsupportedType(field: place) }
    var cardinality: Cardinality = field.label == .repeated ? .repeated : .singular
    var carrier = field
    if field.type == .message, let entry = mapEntries[String(field.typeName.dropFirst())] {
      guard let key = entry.field.first(where: { $0.number == 1 }),
        let value = entry.field.first(where: { $0.number == 2 }),
        case .scalar(let keyType) = try type(of: key, place: place)
      else { throw .unsupportedType(field: place) }
      cardinality = .map(key: keyType)
      carrier = value
    }
    return FieldShape(
      name: field.name, jsonName: field.jsonName, number: number,
      type: try type(of: carrier, place: place), cardinality: cardinality,
      oneof: field.hasOneofIndex ? Int(field.oneofIndex) : nil)
  }

  private func type(
    of field: Google_Protobuf_FieldDescriptorProto, place: String
  ) throws(SchemaError) -> FieldType {
    let name = String(field.typeName.dropFirst())
    switch field.type {
    case .message:
      guard let index = messageIndexes[name] else { throw .unknownType(name: name, field: place) }
      return .message(index)
    case .enum:
      guard let index = enumerationIndexes[name] else { throw .unknownType(name: name, field: place) }
      return .enumeration(index)
    default:
      guard let scalar = ScalarType(field.type) else { throw .unsupportedType(field: place) }
      return .scalar(scalar)
    }
  }
}

extension ScalarType {
  fileprivate init?(_ type: Google_Protobuf_FieldDescriptorProto.TypeEnum) {
    switch type {
    case .double: self = .double
    case .float: self = .float
    case .int32: self = .int32
    case .int64: self = .int64
    case .uint32: self = .uint32
    case .uint64: self = .uint64
    case .sint32: self = .sint32
    case .sint64: self = .sint64
    case .fixed32: self = .fixed32
    case .fixed64: self = .fixed64
    case .sfixed32: self = .sfixed32
    case .sfixed64: self = .sfixed64
    case .bool: self = .bool
    case .string: self = .string
    case .bytes: self = .bytes
    case .group, .message, .enum: return nil
    }
  }
}
