// From a manifest's spec to protobuf bytes, by descriptor. The bytes are canonical by construction:
// fields in number order, maps sorted, numbers packed, zeros left out unless they carry presence.
//
// Every problem of a spec is collected, each at its own place; a spec with problems has no bytes.
// Unknown fields are problems: dropping one would distribute something else than what was written.
// Source: JSON mapping of Istio's own readers (Go jsonpb rules), which differs from protojson in
// durations and names.

import Documents

struct SpecEncoder {
  let schema: Schema
  private(set) var problems: [Problem] = []

  init(schema: Schema) { self.schema = schema }

  /// The bytes of `spec` as `message` (full name); nil when it has problems or the name is unknown.
  mutating func encode(spec: ManifestValue, message: String) -> [UInt8]? {
    guard let index = schema.index(ofMessage: message) else { return nil }
    let before = problems.count
    let bytes = encode(spec, as: schema.messages[index], in: schema.messages[index].shortName)
    return problems.count == before ? bytes : nil
  }

  mutating func report(at position: SourcePosition, what: String, why: String = "", fix: String) {
    problems.append(Problem(position, what, why: why, howToFix: fix))
  }

  /// `place` names the field for messages: `HTTPRoute.timeout`.
  mutating func encode(_ value: ManifestValue, as message: MessageShape, in place: String) -> [UInt8] {
    if let wellKnown = message.wellKnown { return encode(value, as: wellKnown, message, in: place) }
    guard let entries = value.entries else {
      wrongKind(value, expected: "an object", in: place)
      return []
    }
    var written: [(number: UInt32, bytes: [UInt8])] = []
    for (field, entry) in chosenFields(entries, message) {
      let bytes = encode(entry.value, as: field, in: message.shortName + "." + field.jsonName)
      if !bytes.isEmpty { written.append((field.number, bytes)) }
    }
    written.sort { $0.number < $1.number }
    return written.flatMap(\.bytes)
  }

  /// The fields that are set: known, not null, each once, at most one of a oneof.
  private mutating func chosenFields(
    _ entries: [ManifestEntry], _ message: MessageShape
  ) -> [(FieldShape, ManifestEntry)] {
    var chosen: [Int: ManifestEntry] = [:]
    var order: [Int] = []
    for entry in entries {
      guard let index = message.fieldBySpelling[entry.key] else {
        unknownField(entry, message)
        continue
      }
      if entry.value.isNull, !acceptsNull(message.fields[index]) { continue }
      if let other = chosen[index] {
        // Both spellings of one field: the camel-case one wins, wherever it stands.
        if other.key == message.fields[index].jsonName { continue }
      } else {
        order.append(index)
      }
      chosen[index] = entry
    }
    var members: [Int: String] = [:]
    var result: [(FieldShape, ManifestEntry)] = []
    for index in order {
      guard let entry = chosen[index] else { continue }
      let field = message.fields[index]
      if let oneof = field.oneof, let other = members.updateValue(entry.key, forKey: oneof) {
        report(
          at: entry.position,
          what: "\"\(other)\" and \"\(entry.key)\" are both given in \(message.shortName)",
          why: "only one of them can hold (they are choices of \"\(message.oneofs[oneof])\")",
          fix: "remove one of the two")
      }
      result.append((field, entry))
    }
    return result
  }

  private func acceptsNull(_ field: FieldShape) -> Bool {
    guard case .message(let index) = field.type, field.cardinality == .singular else { return false }
    return schema.messages[index].wellKnown == .value
  }

  private mutating func unknownField(_ entry: ManifestEntry, _ message: MessageShape) {
    let names = message.fields.map(\.jsonName)
    let fix =
      Suggestion.nearest(to: entry.key, among: names).map { "write \"\($0)\" if that is what is meant" }
      ?? (names.isEmpty
        ? "remove it: \(message.shortName) has no fields" : "use one of: \(names.joined(separator: ", "))")
    report(
      at: entry.position, what: "\(message.shortName) has no field \"\(excerpt(entry.key))\"",
      why: "what is not in the schema cannot reach a control plane", fix: fix)
  }

  /// Tag and payload of one field; empty when nothing has to be written.
  private mutating func encode(_ value: ManifestValue, as field: FieldShape, in place: String) -> [UInt8] {
    var writer = WireWriter()
    switch field.cardinality {
    case .singular:
      guard let encoded = encode(value, as: field.type, in: place) else { return [] }
      if field.isMessage || field.writesZero || !encoded.isZero { writer.field(field.number, encoded) }
    case .repeated:
      encodeList(value, as: field, in: place, to: &writer)
    case .map(let key):
      encodeMap(value, as: field, key: key, in: place, to: &writer)
    }
    return writer.bytes
  }

  private mutating func encodeList(
    _ value: ManifestValue, as field: FieldShape, in place: String, to writer: inout WireWriter
  ) {
    guard case .sequence(let elements) = value.content else {
      wrongKind(
        value, expected: "a list", in: place, fix: "put the value behind \"- \", also when it is the only one"
      )
      return
    }
    var packed = WireWriter()
    for element in elements {
      guard let encoded = encode(element, as: field.type, in: place) else { continue }
      if field.type.isPackable {
        packed.value(encoded)
      } else {
        writer.field(field.number, encoded)
      }
    }
    if !packed.bytes.isEmpty { writer.field(field.number, delimited: packed.bytes) }
  }

  private mutating func encodeMap(
    _ value: ManifestValue, as field: FieldShape, key keyType: ScalarType, in place: String,
    to writer: inout WireWriter
  ) {
    guard let entries = value.entries else {
      wrongKind(value, expected: "an object of names and values", in: place)
      return
    }
    var encoded: [MapKey: [UInt8]] = [:]
    for entry in entries {
      let keyValue = ManifestValue(position: entry.position, content: .string(entry.key))
      guard let key = scalar(keyValue, as: keyType, in: "a key of " + place),
        let value = encode(entry.value, as: field.type, in: place)
      else { continue }
      var content = WireWriter()
      content.field(1, key)
      content.field(2, value)
      if encoded.updateValue(content.bytes, forKey: MapKey(key, type: keyType)) != nil {
        report(
          at: entry.position, what: "the key \"\(excerpt(entry.key))\" is given twice in \(place)",
          fix: "remove one of the two")
      }
    }
    for (_, content) in encoded.sorted(by: { $0.key < $1.key }) {
      writer.field(field.number, delimited: content)
    }
  }

  /// One value as its wire form, nil after a problem. Messages come as their bytes.
  private mutating func encode(_ value: ManifestValue, as type: FieldType, in place: String) -> ScalarValue? {
    switch type {
    case .message(let index):
      return .delimited(encode(value, as: schema.messages[index], in: place))
    case .scalar(let scalarType):
      return scalar(value, as: scalarType, in: place)
    case .enumeration(let index):
      return enumeration(value, as: schema.enumerations[index], in: place)
    }
  }

  mutating func wrongKind(_ value: ManifestValue, expected: String, in place: String, fix: String = "") {
    let written = value.isNull && fix.isEmpty ? "give it a value or remove it" : fix
    report(
      at: value.position, what: "\(place) is \(value.described)", why: "it must be \(expected)",
      fix: written.isEmpty ? "write \(expected)" : written)
  }
}

extension FieldShape {
  fileprivate var isMessage: Bool {
    if case .message = type { true } else { false }
  }
}
