// Writing protobuf's wire format: the few envelope messages around opaque bodies.
//
// Fields appear in the order they are written; zero values are left out as proto3 does, so equal
// content always gives equal bytes.

/// Appends fields to a byte array.
public struct ProtobufWriter {
  public private(set) var bytes: [UInt8] = []

  public init() {}

  public init(reserving count: Int) { bytes.reserveCapacity(count) }

  /// Text; left out when empty.
  public mutating func string(_ field: Int, _ value: String) {
    guard !value.isEmpty else { return }
    header(field, byteCount: value.utf8.count)
    bytes.append(contentsOf: value.utf8)
  }

  /// Bytes; left out when empty.
  public mutating func data(_ field: Int, _ value: [UInt8]) {
    guard !value.isEmpty else { return }
    message(field, value)
  }

  /// A nested message that is already encoded; written even when empty, for presence counts.
  public mutating func message(_ field: Int, _ encoded: [UInt8]) {
    header(field, byteCount: encoded.count)
    bytes.append(contentsOf: encoded)
  }

  /// A nested message written in place.
  public mutating func message(_ field: Int, _ body: (inout ProtobufWriter) -> Void) {
    var nested = ProtobufWriter()
    body(&nested)
    message(field, nested.bytes)
  }

  /// An integer in variable length; left out when zero. Negative ones take ten bytes.
  public mutating func integer(_ field: Int, _ value: Int64) {
    guard value != 0 else { return }
    append(integer: UInt64(field) << 3)
    append(integer: UInt64(bitPattern: value))
  }

  /// A map of strings, in the order given. Key and value are always written, as a map entry demands.
  public mutating func map(_ field: Int, _ pairs: [(key: String, value: String)]) {
    for pair in pairs {
      message(field) { entry in
        entry.presentString(1, pair.key)
        entry.presentString(2, pair.value)
      }
    }
  }

  /// Text that is written even when empty: names in a list.
  public mutating func presentString(_ field: Int, _ value: String) {
    header(field, byteCount: value.utf8.count)
    bytes.append(contentsOf: value.utf8)
  }

  /// Tag and length of a length-delimited field whose `byteCount` bytes the caller appends next.
  public mutating func header(_ field: Int, byteCount: Int) {
    append(integer: UInt64(field) << 3 | 2)
    append(integer: UInt64(byteCount))
  }

  /// Bytes as they are: the content announced by `header`.
  public mutating func raw(_ encoded: [UInt8]) { bytes.append(contentsOf: encoded) }

  private mutating func append(integer value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  /// Bytes of a variable-length integer.
  static func integerBytes(_ value: Int) -> Int {
    value < 0x80 ? 1 : (64 - UInt64(value).leadingZeroBitCount + 6) / 7
  }

  /// Bytes of a length-delimited field with a number below 16: tag, length, content.
  static func fieldBytes(_ contentBytes: Int) -> Int {
    1 + integerBytes(contentBytes) + contentBytes
  }
}
