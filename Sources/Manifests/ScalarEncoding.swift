// One YAML value to one protobuf scalar. Strict where the field is strict: a number is no text and
// `"true"` no boolean, because guessing would give one file two meanings. Integers may be quoted, as
// JSON writes 64-bit ones; durations and enums have forms of their own.

import Documents
import Primitives

extension SpecEncoder {
  mutating func scalar(_ value: ManifestValue, as type: ScalarType, in place: String) -> ScalarValue? {
    switch type {
    case .string: return string(value, in: place).map { .delimited(Array($0.utf8)) }
    case .bytes: return base64(value, in: place)
    case .bool: return bool(value, in: place)
    case .double:
      return double(value, in: place).map { .fixed64($0.bitPattern) }
    case .float:
      return double(value, in: place).map { .fixed32(Float($0).bitPattern) }
    case .int32, .sint32, .sfixed32:
      return signed(value, Int64(Int32.min)...Int64(Int32.max), type, in: place)
    case .int64, .sint64, .sfixed64: return signed(value, Int64.min...Int64.max, type, in: place)
    case .uint32, .fixed32: return unsigned(value, max: UInt64(UInt32.max), type, in: place)
    case .uint64, .fixed64: return unsigned(value, max: UInt64.max, type, in: place)
    }
  }

  /// A value's name, or its number as an integer.
  mutating func enumeration(
    _ value: ManifestValue, as shape: EnumerationShape, in place: String
  ) -> ScalarValue? {
    switch value.content {
    case .number(let number, _):
      guard let exact = number.signed, let number = Int32(exactly: exact) else { break }
      return .varint(UInt64(bitPattern: Int64(number)))
    case .string(let name):
      if let number = shape.number(named: name) { return .varint(UInt64(bitPattern: Int64(number))) }
      let names = shape.values.map(\.name)
      let suggestion =
        names.first { $0.lowercased() == name.lowercased() } ?? Suggestion.nearest(to: name, among: names)
      report(
        at: value.position, what: "\(place) has no value \"\(excerpt(name))\"",
        why: "names are exact, in capitals as listed",
        fix: (suggestion.map { "write \($0); " } ?? "") + "known: \(names.joined(separator: ", "))")
      return nil
    case .bool(_, let written) where shape.number(named: written) != nil:
      wrongKind(value, expected: "a name", in: place, fix: "put it in quotes: \"\(written)\"")
      return nil
    case .bool, .null, .sequence, .mapping: break
    }
    wrongKind(
      value, expected: "one of \(shape.values.map(\.name).joined(separator: ", "))", in: place)
    return nil
  }

  mutating func string(_ value: ManifestValue, in place: String) -> String? {
    switch value.content {
    case .string(let text): return text
    case .bool(_, let written), .number(_, let written):
      wrongKind(value, expected: "text", in: place, fix: "put it in quotes: \"\(excerpt(written))\"")
    case .null, .sequence, .mapping: wrongKind(value, expected: "text", in: place)
    }
    return nil
  }

  private mutating func bool(_ value: ManifestValue, in place: String) -> ScalarValue? {
    if case .bool(let flag, _) = value.content { return .varint(flag ? 1 : 0) }
    wrongKind(value, expected: "true or false", in: place, fix: "write true or false without quotes")
    return nil
  }

  private mutating func base64(_ value: ManifestValue, in place: String) -> ScalarValue? {
    guard let text = string(value, in: place) else { return nil }
    if let bytes = Base64.decode(Array(text.utf8)) { return .delimited(bytes) }
    report(
      at: value.position, what: "\(place) is not base64",
      why: "bytes are written in standard base64 with padding",
      fix: "encode the content with `base64 -w0`")
    return nil
  }

  private mutating func double(_ value: ManifestValue, in place: String) -> Double? {
    switch value.content {
    case .number(let number, _):
      if number.double.isFinite { return number.double }
      wrongKind(
        value, expected: "a number that JSON has", in: place, fix: "write \"Infinity\" or \"NaN\" in quotes")
    case .string("NaN"): return .nan
    case .string("Infinity"): return .infinity
    case .string("-Infinity"): return -.infinity
    case .string(let text):
      if let number = PlainScalar.decimalFraction(text), !text.hasPrefix("+") { return number }
      wrongKind(value, expected: "a number", in: place)
    case .null, .bool, .sequence, .mapping: wrongKind(value, expected: "a number", in: place)
    }
    return nil
  }

  private mutating func signed(
    _ value: ManifestValue, _ range: ClosedRange<Int64>, _ type: ScalarType, in place: String
  ) -> ScalarValue? {
    guard let number = integer(value)?.signed, range.contains(number) else {
      wrongKind(value, expected: "an integer from \(range.lowerBound) to \(range.upperBound)", in: place)
      return nil
    }
    return switch type {
    case .sint32, .sint64: .varint(UInt64(bitPattern: number << 1 ^ number >> 63))
    case .sfixed32: .fixed32(UInt32(truncatingIfNeeded: number))
    case .sfixed64: .fixed64(UInt64(bitPattern: number))
    default: .varint(UInt64(bitPattern: number))
    }
  }

  private mutating func unsigned(
    _ value: ManifestValue, max: UInt64, _ type: ScalarType, in place: String
  ) -> ScalarValue? {
    guard let number = integer(value)?.unsigned, number <= max else {
      wrongKind(value, expected: "an integer from 0 to \(max)", in: place)
      return nil
    }
    return switch type {
    case .fixed32: .fixed32(UInt32(truncatingIfNeeded: number))
    case .fixed64: .fixed64(number)
    default: .varint(number)
    }
  }

  /// A bare number, or digits in quotes written as JSON writes integers.
  private func integer(_ value: ManifestValue) -> ManifestNumber? {
    switch value.content {
    case .number(let number, _): return number
    case .string(let text):
      let digits = text.utf8.first == UInt8(ascii: "-") ? Substring(text).dropFirst() : Substring(text)
      guard let first = digits.utf8.first, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first),
        first != UInt8(ascii: "0") || digits.utf8.count == 1
      else { return nil }
      if let number = Int64(text) { return .signed(number) }
      return UInt64(text).map { .unsigned($0) }
    case .null, .bool, .sequence, .mapping: return nil
    }
  }
}

extension ManifestNumber {
  /// As a whole number, when it is one and fits.
  fileprivate var signed: Int64? {
    switch self {
    case .signed(let value): value
    case .unsigned: nil
    case .real(let value): Int64(exactly: value)
    }
  }

  fileprivate var unsigned: UInt64? {
    switch self {
    case .signed(let value): UInt64(exactly: value)
    case .unsigned(let value): value
    case .real(let value): UInt64(exactly: value)
    }
  }
}
