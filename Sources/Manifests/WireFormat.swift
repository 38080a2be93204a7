// Protobuf bytes, written and read: varints, tags, lengths. The reader takes bytes of any peer: every
// step is bounds-checked and answers nil for what is malformed; it never traps and never allocates by
// a length it was told. Source: protobuf.dev, "Encoding".

/// The part of a tag that says how long the payload is.
enum WireType: UInt8, Sendable {
  case varint = 0
  case fixed64 = 1
  case delimited = 2
  case startGroup = 3
  case endGroup = 4
  case fixed32 = 5
}

/// Appends fields to a growing message.
struct WireWriter {
  private(set) var bytes: [UInt8] = []

  mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  mutating func tag(_ number: UInt32, _ type: WireType) {
    varint(UInt64(number) << 3 | UInt64(type.rawValue))
  }

  /// A length-delimited field: string, bytes, message, packed scalars or a map entry.
  mutating func field(_ number: UInt32, delimited content: [UInt8]) {
    tag(number, .delimited)
    varint(UInt64(content.count))
    bytes.append(contentsOf: content)
  }

  mutating func field(_ number: UInt32, _ value: ScalarValue) {
    tag(number, value.wireType)
    self.value(value)
  }

  /// The payload without a tag, as packed fields hold it.
  mutating func value(_ value: ScalarValue) {
    switch value {
    case .varint(let number): varint(number)
    case .fixed32(let number): littleEndian(UInt64(number), count: 4)
    case .fixed64(let number): littleEndian(number, count: 8)
    case .delimited(let content):
      varint(UInt64(content.count))
      bytes.append(contentsOf: content)
    }
  }

  mutating func raw(_ content: ArraySlice<UInt8>) { bytes.append(contentsOf: content) }

  private mutating func littleEndian(_ value: UInt64, count: UInt64) {
    for shift in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> (shift * 8))) }
  }
}

/// One scalar in the form its wire type has.
enum ScalarValue: Sendable, Equatable {
  case varint(UInt64)
  case fixed32(UInt32)
  case fixed64(UInt64)
  case delimited([UInt8])

  var wireType: WireType {
    switch self {
    case .varint: .varint
    case .fixed32: .fixed32
    case .fixed64: .fixed64
    case .delimited: .delimited
    }
  }

  /// Zero, false or empty: what proto3 leaves out. Negative zero is not: its sign bit is content.
  var isZero: Bool {
    switch self {
    case .varint(let value): value == 0
    case .fixed32(let value): value == 0
    case .fixed64(let value): value == 0
    case .delimited(let content): content.isEmpty
    }
  }
}

extension ScalarType {
  var wireType: WireType {
    switch self {
    case .int32, .int64, .uint32, .uint64, .sint32, .sint64, .bool: .varint
    case .fixed32, .sfixed32, .float: .fixed32
    case .fixed64, .sfixed64, .double: .fixed64
    case .string, .bytes: .delimited
    }
  }

  /// Zero as this type's wire form.
  var zero: ScalarValue {
    switch wireType {
    case .fixed32: .fixed32(0)
    case .fixed64: .fixed64(0)
    case .delimited: .delimited([])
    case .varint, .startGroup, .endGroup: .varint(0)
    }
  }
}

/// Walks the fields of one message.
struct WireReader {
  /// One field as it stands in the bytes.
  struct Field {
    let number: UInt32
    let type: WireType
    /// Value of a varint or fixed field; 0 for others.
    let value: UInt64
    /// Content of a delimited field; empty for others.
    let content: ArraySlice<UInt8>
    /// Tag and payload.
    let raw: ArraySlice<UInt8>
  }

  private let bytes: ArraySlice<UInt8>
  /// bytes.startIndex ≤ position ≤ bytes.endIndex.
  private var position: Int

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    position = bytes.startIndex
  }

  var isAtEnd: Bool { position == bytes.endIndex }

  /// The next field; nil when the bytes are malformed. Call only when not at the end.
  /// `depth`: how many more levels of groups may be skipped.
  mutating func next(depth: Int) -> Field? {
    let start = position
    guard let tag = varint(), let type = WireType(rawValue: UInt8(truncatingIfNeeded: tag & 7)),
      let number = UInt32(exactly: tag >> 3), number > 0, number < 1 << 29
    else { return nil }
    var value: UInt64 = 0
    var content: ArraySlice<UInt8> = []
    switch type {
    case .varint:
      guard let number = varint() else { return nil }
      value = number
    case .fixed64:
      guard let number = littleEndian(count: 8) else { return nil }
      value = number
    case .fixed32:
      guard let number = littleEndian(count: 4) else { return nil }
      value = number
    case .delimited:
      guard let found = delimited() else { return nil }
      content = found
    case .startGroup:
      guard skipGroup(number, depth: depth) else { return nil }
    case .endGroup:
      return nil
    }
    return Field(number: number, type: type, value: value, content: content, raw: bytes[start..<position])
  }

  /// At most ten bytes; bits beyond 64 are malformed.
  mutating func varint() -> UInt64? {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while position < bytes.endIndex, shift < 70 {
      let byte = bytes[position]
      position += 1
      if shift == 63, byte > 1 { return nil }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
      shift += 7
    }
    return nil
  }

  mutating func littleEndian(count: Int) -> UInt64? {
    guard count <= bytes.endIndex - position else { return nil }
    var value: UInt64 = 0
    for offset in 0..<count { value |= UInt64(bytes[position + offset]) << UInt64(offset * 8) }
    position += count
    return value
  }

  private mutating func delimited() -> ArraySlice<UInt8>? {
    guard let told = varint(), let count = Int(exactly: told), count <= bytes.endIndex - position else {
      return nil
    }
    let content = bytes[position..<position + count]
    position += count
    return content
  }

  private mutating func skipGroup(_ number: UInt32, depth: Int) -> Bool {
    guard depth > 0 else { return false }
    while !isAtEnd {
      let start = position
      guard let tag = varint() else { return false }
      if tag & 7 == UInt64(WireType.endGroup.rawValue) { return tag >> 3 == UInt64(number) }
      position = start
      guard next(depth: depth - 1) != nil else { return false }
    }
    return false
  }
}
