// The other way round: a body's bytes as the JSON that a manifest's spec would be, for people who ask what
// is served (`dump`, `diff`). Reading it back gives the same message. Takes bytes of any peer: what is
// malformed or too deep has no JSON. Source: JSON mapping of protobuf; durations as seconds, which both
// Go's syntax and protojson read.

import Primitives

public struct BodyJSON: Sendable {
  private let schema: Schema
  private let form: CanonicalForm

  public init(schema: Schema = .istio) {
    self.schema = schema
    form = CanonicalForm(schema: schema)
  }

  /// One JSON value; nil when no descriptor of `message` is known or the bytes are not that message. Unknown fields
  /// have no name and are left out.
  public func text(of body: [UInt8], message: String) -> String? {
    // The canonical form is checked, bounded, free of duplicates and sorted: what follows only walks it.
    guard let index = schema.index(ofMessage: message),
      let canonical = form.canonicalBody(body, message: message)
    else { return nil }
    var writer = JSONWriter()
    write(canonical[...], schema.messages[index], to: &writer)
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  private typealias Field = WireReader.Field

  private func fields(_ bytes: ArraySlice<UInt8>) -> [Field] {
    var reader = WireReader(bytes)
    var fields: [Field] = []
    while !reader.isAtEnd, let field = reader.next(depth: CanonicalForm.depthMax) { fields.append(field) }
    return fields
  }

  private func write(_ bytes: ArraySlice<UInt8>, _ message: MessageShape, to writer: inout JSONWriter) {
    if let wellKnown = message.wellKnown { return write(bytes, wellKnown, message, to: &writer) }
    let occurrences = Dictionary(grouping: fields(bytes), by: \.number)
    writer.object { writer in
      for field in message.fields {
        guard let found = occurrences[field.number]?.filter({ field.accepts($0.type) }), let last = found.last
        else {
          continue
        }
        writer.key(field.jsonName)
        switch field.cardinality {
        case .singular: write(last, field.type, to: &writer)
        case .repeated: writeList(found, field.type, to: &writer)
        case .map(let key): writeMap(found, key, field.type, to: &writer)
        }
      }
    }
  }

  private func writeList(_ found: [Field], _ type: FieldType, to writer: inout JSONWriter) {
    writer.array { writer in
      for element in found {
        guard type.isPackable, element.type == .delimited else {
          write(element, type, to: &writer)
          continue
        }
        var reader = WireReader(element.content)
        while let value = reader.packed(type) { writeNumber(value, type, to: &writer) }
      }
    }
  }

  private func writeMap(_ found: [Field], _ key: ScalarType, _ type: FieldType, to writer: inout JSONWriter) {
    writer.object { writer in
      for entry in found {
        let parts = fields(entry.content)
        guard let keyPart = parts.first(where: { $0.number == 1 }),
          let value = parts.first(where: { $0.number == 2 })
        else { continue }
        writer.key(keyText(keyPart, key))
        write(value, type, to: &writer)
      }
    }
  }

  private func keyText(_ part: Field, _ type: ScalarType) -> String {
    switch type {
    case .string: String(decoding: part.content, as: UTF8.self)
    case .bool: part.value == 0 ? "false" : "true"
    case .int32, .int64, .sfixed64: String(Int64(bitPattern: part.value))
    case .sfixed32: String(Int32(truncatingIfNeeded: part.value))
    case .sint32, .sint64: String(part.value.zigZagDecoded)
    default: String(part.value)
    }
  }

  private func write(_ field: Field, _ type: FieldType, to writer: inout JSONWriter) {
    switch type {
    case .message(let index): write(field.content, schema.messages[index], to: &writer)
    case .scalar(.string): writer.string(String(decoding: field.content, as: UTF8.self))
    case .scalar(.bytes): writer.string(Base64.encode(field.content))
    case .scalar, .enumeration: writeNumber(field.value, type, to: &writer)
    }
  }

  private func writeNumber(_ raw: UInt64, _ type: FieldType, to writer: inout JSONWriter) {
    switch type {
    case .message: break
    case .enumeration(let index):
      let number = Int32(truncatingIfNeeded: raw)
      if let value = schema.enumerations[index].values.first(where: { $0.number == number }) {
        writer.string(value.name)
      } else {
        writer.raw(String(number))
      }
    case .scalar(let scalar):
      switch scalar {
      case .bool: writer.raw(raw == 0 ? "false" : "true")
      case .double: writer.write(Double(bitPattern: raw))
      case .float: writer.write(Double(Float(bitPattern: UInt32(truncatingIfNeeded: raw))))
      case .int32, .sfixed32: writer.raw(String(Int32(truncatingIfNeeded: raw)))
      case .uint32, .fixed32: writer.raw(String(UInt32(truncatingIfNeeded: raw)))
      case .sint32: writer.raw(String(raw.zigZagDecoded))
      // In quotes, because JavaScript loses digits above 2^53.
      case .int64, .sfixed64: writer.string(String(Int64(bitPattern: raw)))
      case .uint64, .fixed64: writer.string(String(raw))
      case .sint64: writer.string(String(raw.zigZagDecoded))
      case .string, .bytes: break
      }
    }
  }

  // MARK: Well-known types

  private func write(
    _ bytes: ArraySlice<UInt8>, _ wellKnown: WellKnownType, _ message: MessageShape,
    to writer: inout JSONWriter
  ) {
    let fields = fields(bytes)
    switch wellKnown {
    case .duration: writer.string(durationText(fields))
    case .timestamp:
      let (seconds, nanos) = secondsAndNanos(fields)
      writer.string(Timestamp(seconds: seconds, nanoseconds: nanos).rfc3339)
    case .wrapper:
      guard let inner = message.fields.first, case .scalar(let type) = inner.type else { return }
      if let value = fields.first(where: { $0.number == inner.number }) {
        write(value, inner.type, to: &writer)
      } else if type.wireType == .delimited {
        writer.string("")
      } else {
        writeNumber(0, inner.type, to: &writer)
      }
    case .structure:
      guard let map = message.fields.first else { return }
      writeMap(
        fields.filter { $0.number == map.number && $0.type == .delimited }, .string, map.type, to: &writer)
    case .list:
      guard let values = message.fields.first else { return }
      writeList(
        fields.filter { $0.number == values.number && $0.type == .delimited }, values.type, to: &writer)
    case .value:
      guard let kind = fields.first(where: { message.fieldByNumber[$0.number] != nil }), kind.number != 1,
        let index = message.fieldByNumber[kind.number]
      else { return writer.raw("null") }
      write(kind, message.fields[index].type, to: &writer)
    }
  }

  private func secondsAndNanos(_ fields: [Field]) -> (Int64, Int32) {
    let seconds = fields.first { $0.number == 1 }.map { Int64(bitPattern: $0.value) } ?? 0
    let nanos = fields.first { $0.number == 2 }.map { Int32(truncatingIfNeeded: $0.value) } ?? 0
    return (seconds, nanos)
  }

  private func durationText(_ fields: [Field]) -> String {
    let (seconds, nanos) = secondsAndNanos(fields)
    var text = (seconds < 0 || nanos < 0 ? "-" : "") + String(seconds.magnitude)
    if nanos != 0 {
      let digits = String(nanos.magnitude)
      var fraction = String(repeating: "0", count: max(0, 9 - digits.utf8.count)) + digits
      while fraction.hasSuffix("0") { fraction.removeLast() }
      text += "." + fraction
    }
    return text + "s"
  }
}

extension FieldShape {
  /// Whether a payload of this wire type is a value of this field.
  fileprivate func accepts(_ wireType: WireType) -> Bool {
    if case .map = cardinality { return wireType == .delimited }
    if cardinality == .repeated, wireType == .delimited { return true }
    return switch type {
    case .scalar(let scalar): scalar.wireType == wireType
    case .enumeration: wireType == .varint
    case .message: wireType == .delimited
    }
  }
}

extension WireReader {
  /// The next number of a packed field; nil at the end.
  fileprivate mutating func packed(_ type: FieldType) -> UInt64? {
    if isAtEnd { return nil }
    guard case .scalar(let scalar) = type else { return varint() }
    return switch scalar.wireType {
    case .fixed32: littleEndian(count: 4)
    case .fixed64: littleEndian(count: 8)
    case .varint, .delimited, .startGroup, .endGroup: varint()
    }
  }
}

extension UInt64 {
  fileprivate var zigZagDecoded: Int64 { Int64(bitPattern: self >> 1) ^ -Int64(self & 1) }
}

extension JSONWriter {
  /// JSON has no NaN and no infinity: they are words.
  fileprivate mutating func write(_ number: Double) {
    if number.isNaN { return string("NaN") }
    if number.isInfinite { return string(number < 0 ? "-Infinity" : "Infinity") }
    if let whole = Int64(exactly: number), whole.magnitude < 1 << 53, !(whole == 0 && number.sign == .minus) {
      raw(String(whole))
    } else {
      raw("\(number)")
    }
  }
}
