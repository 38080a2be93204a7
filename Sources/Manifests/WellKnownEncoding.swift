// The messages of google.protobuf that manifests write in a form of their own: durations in Go's
// syntax ("1m30s"), timestamps in RFC 3339, wrappers as the bare value, Struct as any object.

import Documents
import Primitives

extension SpecEncoder {
  mutating func encode(
    _ value: ManifestValue, as wellKnown: WellKnownType, _ message: MessageShape, in place: String
  ) -> [UInt8] {
    switch wellKnown {
    case .duration: return duration(value, in: place)
    case .timestamp: return timestamp(value, in: place)
    case .wrapper: return wrapper(value, message, in: place)
    case .structure: return structure(value, in: place)
    case .list: return list(value, in: place)
    case .value: return self.value(value)
    }
  }

  private mutating func duration(_ value: ManifestValue, in place: String) -> [UInt8] {
    let fix = "write digits with a unit, such as 10s, 100ms or 1m30s"
    guard case .string(let text) = value.content else {
      wrongKind(value, expected: "a duration", in: place, fix: fix)
      return []
    }
    guard let duration = GoDuration.parse(text) else {
      wrongKind(value, expected: "a duration", in: place, fix: fix)
      return []
    }
    let nanoseconds = duration.inNanoseconds
    return secondsAndNanos(seconds: nanoseconds / 1_000_000_000, nanos: nanoseconds % 1_000_000_000)
  }

  private mutating func timestamp(_ value: ManifestValue, in place: String) -> [UInt8] {
    guard case .string(let text) = value.content, let time = Timestamp(rfc3339: text) else {
      wrongKind(
        value, expected: "a time", in: place, fix: "write it as RFC 3339: 2026-01-31T12:00:00Z")
      return []
    }
    return secondsAndNanos(seconds: time.seconds, nanos: Int64(time.nanoseconds))
  }

  private func secondsAndNanos(seconds: Int64, nanos: Int64) -> [UInt8] {
    var writer = WireWriter()
    if seconds != 0 { writer.field(1, .varint(UInt64(bitPattern: seconds))) }
    if nanos != 0 { writer.field(2, .varint(UInt64(bitPattern: nanos))) }
    return writer.bytes
  }

  /// Zero inside: the wrapper itself says that a value was given.
  private mutating func wrapper(_ value: ManifestValue, _ message: MessageShape, in place: String) -> [UInt8]
  {
    guard let field = message.fields.first, case .scalar(let type) = field.type,
      let encoded = scalar(value, as: type, in: place), !encoded.isZero
    else { return [] }
    var writer = WireWriter()
    writer.field(field.number, encoded)
    return writer.bytes
  }

  private mutating func structure(_ value: ManifestValue, in place: String) -> [UInt8] {
    guard let entries = value.entries else {
      wrongKind(value, expected: "an object", in: place)
      return []
    }
    let ordered = entries.map { (key: Array($0.key.utf8), value: $0.value) }
      .sorted { $0.key.lexicographicallyPrecedes($1.key) }
    var writer = WireWriter()
    for entry in ordered {
      var content = WireWriter()
      content.field(1, delimited: entry.key)
      content.field(2, delimited: self.value(entry.value))
      writer.field(1, delimited: content.bytes)
    }
    return writer.bytes
  }

  private mutating func list(_ value: ManifestValue, in place: String) -> [UInt8] {
    guard case .sequence(let elements) = value.content else {
      wrongKind(value, expected: "a list", in: place)
      return []
    }
    var writer = WireWriter()
    for element in elements { writer.field(1, delimited: self.value(element)) }
    return writer.bytes
  }

  /// Any JSON value. Members of a oneof: zeros are written.
  private mutating func value(_ value: ManifestValue) -> [UInt8] {
    var writer = WireWriter()
    switch value.content {
    case .null: writer.field(1, .varint(0))
    case .number(let number, _):
      if !number.double.isFinite {
        wrongKind(value, expected: "a number that JSON has", in: "this value", fix: "put it in quotes")
      }
      writer.field(2, .fixed64(number.double.bitPattern))
    case .string(let text): writer.field(3, delimited: Array(text.utf8))
    case .bool(let flag, _): writer.field(4, .varint(flag ? 1 : 0))
    case .mapping: writer.field(5, delimited: structure(value, in: "this value"))
    case .sequence: writer.field(6, delimited: list(value, in: "this value"))
    }
    return writer.bytes
  }
}
