// The one encoding that equal messages share, for content hashes: fields in number order, maps sorted by
// key, numbers packed and minimal, zeros left out, the last of several values kept, unknown fields kept
// in number order. Needed because foreign encoders write maps in random order (WIRE: versions prove
// nothing). Pure; takes bytes of any peer; what is malformed or too deep has no canonical form.
// Source: protobuf.dev, "Encoding" (last one wins, merging, packed fields).

/// Brings message bodies to canonical form by descriptor.
public struct CanonicalForm: Sendable {
  /// Levels of messages within messages. Reason: each costs stack; the field's own decoders stop at 100.
  static let depthMax = 100

  let schema: Schema

  public init(schema: Schema = .istio) { self.schema = schema }

  /// The canonical form of `bytes` read as `message` (full name, no leading dot); nil when no descriptor
  /// of that name is known, or when the bytes are malformed, nested too deeply, or hold text that is not UTF-8.
  public func canonicalBody(_ bytes: [UInt8], message: String) -> [UInt8]? {
    guard let index = schema.index(ofMessage: message) else { return nil }
    return canonical(bytes[...], schema.messages[index], depth: Self.depthMax)
  }

  private typealias Field = WireReader.Field

  private func canonical(_ bytes: ArraySlice<UInt8>, _ message: MessageShape, depth: Int) -> [UInt8]? {
    guard depth > 0, let fields = collect(bytes, message, depth: depth) else { return nil }
    // Stable by number: occurrences of one field keep their order.
    let ordered = fields.enumerated().sorted {
      ($0.element.number, $0.offset) < ($1.element.number, $1.offset)
    }
    var writer = WireWriter()
    var start = 0
    while start < ordered.count {
      let number = ordered[start].element.number
      var end = start
      while end < ordered.count, ordered[end].element.number == number { end += 1 }
      let occurrences = ordered[start..<end].map(\.element)
      start = end
      guard let index = message.fieldByNumber[number] else {
        for unknown in occurrences { writer.raw(unknown.raw) }
        continue
      }
      let field = message.fields[index]
      let known = occurrences.filter { fits($0, field) }
      if !known.isEmpty {
        guard write(known, as: field, to: &writer, depth: depth) else { return nil }
      }
      // A known number with another wire type is an unknown field to every decoder.
      for unknown in occurrences where !fits(unknown, field) { writer.raw(unknown.raw) }
    }
    return writer.bytes
  }

  /// All fields in order of appearance, without oneof members that a later member replaced.
  private func collect(_ bytes: ArraySlice<UInt8>, _ message: MessageShape, depth: Int) -> [Field]? {
    var reader = WireReader(bytes)
    var fields: [Field] = []
    /// By oneof: the member chosen last, and the position since which no other was chosen.
    var chosen = [(number: UInt32, since: Int)](repeating: (0, 0), count: message.oneofs.count)
    while !reader.isAtEnd {
      guard let field = reader.next(depth: depth) else { return nil }
      if let oneof = oneof(of: field, message), chosen[oneof].number != field.number {
        chosen[oneof] = (field.number, fields.count)
      }
      fields.append(field)
    }
    if message.oneofs.isEmpty { return fields }
    return fields.enumerated().filter { position, field in
      guard let oneof = oneof(of: field, message) else { return true }
      return chosen[oneof].number == field.number && position >= chosen[oneof].since
    }.map(\.element)
  }

  private func oneof(of occurrence: Field, _ message: MessageShape) -> Int? {
    guard let index = message.fieldByNumber[occurrence.number], fits(occurrence, message.fields[index]) else {
      return nil
    }
    return message.fields[index].oneof
  }

  private func fits(_ occurrence: Field, _ field: FieldShape) -> Bool {
    if case .map = field.cardinality { return occurrence.type == .delimited }
    let expected: WireType =
      switch field.type {
      case .scalar(let scalar): scalar.wireType
      case .enumeration: .varint
      case .message: .delimited
      }
    return occurrence.type == expected || (field.cardinality == .repeated && occurrence.type == .delimited)
  }

  private func write(_ known: [Field], as field: FieldShape, to writer: inout WireWriter, depth: Int) -> Bool
  {
    switch field.cardinality {
    case .map(let key): return writeMap(known, as: field, key: key, to: &writer, depth: depth)
    case .repeated: return writeRepeated(known, as: field, to: &writer, depth: depth)
    case .singular: break
    }
    switch field.type {
    case .message(let index):
      // Several occurrences of one message merge: that is what their concatenation means.
      guard let body = canonical(merged(known), schema.messages[index], depth: depth - 1) else {
        return false
      }
      writer.field(field.number, delimited: body)
    case .scalar, .enumeration:
      guard let last = known.last, let value = scalar(last, field.type) else { return false }
      if !value.isZero || field.writesZero { writer.field(field.number, value) }
    }
    return true
  }

  private func merged(_ occurrences: [Field]) -> ArraySlice<UInt8> {
    if occurrences.count == 1 { return occurrences[0].content }
    var bytes: [UInt8] = []
    for occurrence in occurrences { bytes.append(contentsOf: occurrence.content) }
    return bytes[...]
  }

  private func writeRepeated(
    _ known: [Field], as field: FieldShape, to writer: inout WireWriter, depth: Int
  ) -> Bool {
    if case .message(let index) = field.type {
      for element in known {
        guard let body = canonical(element.content, schema.messages[index], depth: depth - 1) else {
          return false
        }
        writer.field(field.number, delimited: body)
      }
      return true
    }
    guard field.type.isPackable else {
      for element in known {
        guard let value = scalar(element, field.type) else { return false }
        writer.field(field.number, value)
      }
      return true
    }
    var packed = WireWriter()
    for element in known {
      if element.type == .delimited {
        guard unpack(element.content, field.type, into: &packed) else { return false }
      } else {
        guard let value = scalar(element, field.type) else { return false }
        packed.value(value)
      }
    }
    if !packed.bytes.isEmpty { writer.field(field.number, delimited: packed.bytes) }
    return true
  }

  private func unpack(_ content: ArraySlice<UInt8>, _ type: FieldType, into packed: inout WireWriter) -> Bool
  {
    var reader = WireReader(content)
    while !reader.isAtEnd {
      let raw: UInt64? =
        switch type.packedWireType {
        case .fixed32: reader.littleEndian(count: 4)
        case .fixed64: reader.littleEndian(count: 8)
        case .varint, .delimited, .startGroup, .endGroup: reader.varint()
        }
      guard let raw else { return false }
      packed.value(number(raw, type))
    }
    return true
  }

  private func writeMap(
    _ known: [Field], as field: FieldShape, key keyType: ScalarType, to writer: inout WireWriter, depth: Int
  ) -> Bool {
    var entries: [MapKey: [UInt8]] = [:]
    for entry in known {
      guard let (key, value) = mapEntry(entry.content, field: field, key: keyType, depth: depth) else {
        return false
      }
      entries[key] = value
    }
    for (_, entry) in entries.sorted(by: { $0.key < $1.key }) { writer.field(field.number, delimited: entry) }
    return true
  }

  /// One entry as its key and its canonical bytes; a missing key or value is that type's zero.
  private func mapEntry(
    _ content: ArraySlice<UInt8>, field: FieldShape, key keyType: ScalarType, depth: Int
  ) -> (MapKey, [UInt8])? {
    let keyShape = FieldShape(
      name: "key", jsonName: "key", number: 1, type: .scalar(keyType), cardinality: .singular, oneof: nil)
    let valueShape = FieldShape(
      name: "value", jsonName: "value", number: 2, type: field.type, cardinality: .singular, oneof: nil)
    var key = keyType.zero
    var values: [Field] = []
    var reader = WireReader(content)
    while !reader.isAtEnd {
      guard let part = reader.next(depth: depth) else { return nil }
      if part.number == 1, fits(part, keyShape) {
        guard let found = scalar(part, keyShape.type) else { return nil }
        key = found
      } else if part.number == 2, fits(part, valueShape) {
        values.append(part)
      }
    }
    var writer = WireWriter()
    writer.field(1, key)
    switch field.type {
    case .message(let index):
      guard let body = canonical(merged(values), schema.messages[index], depth: depth - 1) else { return nil }
      writer.field(2, delimited: body)
    case .scalar(let type):
      guard let last = values.last else {
        writer.field(2, type.zero)
        break
      }
      guard let value = scalar(last, field.type) else { return nil }
      writer.field(2, value)
    case .enumeration:
      writer.field(2, values.last.map { number($0.value, field.type) } ?? .varint(0))
    }
    return (MapKey(key, type: keyType), writer.bytes)
  }

  /// The value of one occurrence in its minimal form; nil for text that is not UTF-8.
  private func scalar(_ occurrence: Field, _ type: FieldType) -> ScalarValue? {
    guard case .scalar(let scalar) = type, scalar.wireType == .delimited else {
      return number(occurrence.value, type)
    }
    if scalar == .string, String(validating: occurrence.content, as: UTF8.self) == nil { return nil }
    return .delimited(Array(occurrence.content))
  }

  /// A number cut to the width of its type, as every decoder cuts it.
  private func number(_ raw: UInt64, _ type: FieldType) -> ScalarValue {
    guard case .scalar(let scalar) = type else {
      return .varint(UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: raw))))
    }
    return switch scalar {
    case .int32: .varint(UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: raw))))
    case .uint32, .sint32: .varint(UInt64(UInt32(truncatingIfNeeded: raw)))
    case .bool: .varint(raw == 0 ? 0 : 1)
    case .int64, .uint64, .sint64: .varint(raw)
    case .fixed32, .sfixed32, .float: .fixed32(UInt32(truncatingIfNeeded: raw))
    case .fixed64, .sfixed64, .double: .fixed64(raw)
    case .string, .bytes: .delimited([])
    }
  }
}

extension FieldType {
  /// Whether repeated values share one length-delimited field.
  var isPackable: Bool {
    switch self {
    case .scalar(let scalar): scalar.wireType != .delimited
    case .enumeration: true
    case .message: false
    }
  }

  fileprivate var packedWireType: WireType {
    if case .scalar(let scalar) = self { scalar.wireType } else { .varint }
  }
}

/// A map key in the order canonical maps have: numbers by value, text by its UTF-8 bytes.
enum MapKey: Hashable, Comparable {
  case signed(Int64)
  case unsigned(UInt64)
  case text([UInt8])

  init(_ value: ScalarValue, type: ScalarType) {
    switch (value, type) {
    case (.delimited(let bytes), _): self = .text(bytes)
    case (.varint(let raw), .sint32), (.varint(let raw), .sint64):
      self = .signed(Int64(bitPattern: raw >> 1) ^ -Int64(raw & 1))
    case (.varint(let raw), .int32), (.varint(let raw), .int64), (.fixed64(let raw), .sfixed64):
      self = .signed(Int64(bitPattern: raw))
    case (.fixed32(let raw), .sfixed32): self = .signed(Int64(Int32(bitPattern: raw)))
    case (.varint(let raw), _), (.fixed64(let raw), _): self = .unsigned(raw)
    case (.fixed32(let raw), _): self = .unsigned(UInt64(raw))
    }
  }

  static func < (left: MapKey, right: MapKey) -> Bool {
    switch (left, right) {
    case (.signed(let left), .signed(let right)): left < right
    case (.unsigned(let left), .unsigned(let right)): left < right
    case (.text(let left), .text(let right)): left.lexicographicallyPrecedes(right)
    // Keys of one map have one type; the order of different ones only has to be total.
    case (.signed, _), (.unsigned, .text): true
    default: false
    }
  }
}
