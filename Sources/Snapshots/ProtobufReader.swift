// Reading protobuf's wire format strictly and without generated types.
//
// The outer messages of discovery are a handful of fields around opaque bodies. Reading them by hand
// copies nothing that is only passed on, bounds everything, and lets a field that may occur once be
// refused when it occurs twice (two decoders that resolve it differently would see two contents).
// Source: protobuf encoding, wire types 0, 1, 2 and 5. Must never trap on any input.

public import Primitives

/// What is wrong with bytes that should be a protobuf message. Offsets are bytes into the whole message.
public enum ProtobufError: Explained, Equatable {
  /// The message ends inside a field.
  case truncated(offset: Int)
  /// A variable-length integer above 64 bits.
  case malformedInteger(offset: Int)
  /// Field number 0, one above 2^29 − 1, or a wire type that is not in use (groups among them).
  case badTag(offset: Int)
  /// A known field in another wire type than its own.
  case wrongWireType(field: Int)
  /// A string that is not UTF-8.
  case notUTF8(field: Int)
  /// A field that may occur once occurs again.
  case repeatedField(Int)
  /// More elements than allowed.
  case tooMany(field: Int, limit: Int)

  public var what: String {
    switch self {
    case .truncated(let offset): "The message ends inside a field (byte \(offset))"
    case .malformedInteger(let offset): "An integer has more than 64 bits (byte \(offset))"
    case .badTag(let offset): "No valid protobuf field begins at byte \(offset)"
    case .wrongWireType(let field): "Field \(field) has another wire type than its definition"
    case .notUTF8(let field): "The text in field \(field) is not UTF-8"
    case .repeatedField(let field): "Field \(field) occurs twice and may occur once"
    case .tooMany(let field, let limit): "Field \(field) occurs more than \(limit) times"
    }
  }

  public var blame: Blame { .peer }
}

/// A cursor over one message, or one nested message, of a shared byte array.
public struct ProtobufReader {
  private let bytes: [UInt8]
  /// 0 ≤ position ≤ end ≤ bytes.count.
  private var position: Int
  private let end: Int
  private var seen: UInt64 = 0

  public init(_ bytes: [UInt8]) {
    self.bytes = bytes
    position = 0
    end = bytes.count
  }

  private init(_ bytes: [UInt8], _ range: Range<Int>) {
    self.bytes = bytes
    position = range.lowerBound
    end = range.upperBound
  }

  /// One field as it stands on the wire.
  public struct Field {
    /// 1 … 2^29 − 1.
    public let number: Int
    let content: Content
  }

  enum Content {
    case integer(UInt64)
    case fixed
    case run(Range<Int>)
  }

  /// The next field, or nil at the end of the message.
  public mutating func next() throws(ProtobufError) -> Field? {
    guard position < end else { return nil }
    let start = position
    let tag = try integer()
    let number = tag >> 3
    guard number >= 1, number <= 0x1FFF_FFFF else { throw .badTag(offset: start) }
    let content: Content
    switch tag & 7 {
    case 0: content = .integer(try integer())
    case 1: content = try fixed(8)
    case 2:
      let length = try integer()
      guard length <= UInt64(end - position) else { throw .truncated(offset: position) }
      let from = position
      position += Int(length)
      content = .run(from..<position)
    case 5: content = try fixed(4)
    default: throw .badTag(offset: start)
    }
    return Field(number: Int(number), content: content)
  }

  /// Throws when a field of this number was passed to `once` before. Numbers 1 … 63 only.
  public mutating func once(_ field: Field) throws(ProtobufError) {
    precondition(field.number < 64, "only fields below 64 are tracked")
    let bit = UInt64(1) << UInt64(field.number)
    guard seen & bit == 0 else { throw .repeatedField(field.number) }
    seen |= bit
  }

  public func string(_ field: Field) throws(ProtobufError) -> String {
    let range = try run(field)
    guard let text = String(validating: bytes[range], as: UTF8.self) else {
      throw .notUTF8(field: field.number)
    }
    return text
  }

  public func bytes(_ field: Field) throws(ProtobufError) -> [UInt8] {
    Array(bytes[try run(field)])
  }

  /// A reader of the nested message in this field.
  public func message(_ field: Field) throws(ProtobufError) -> ProtobufReader {
    ProtobufReader(bytes, try run(field))
  }

  /// A variable-length integer, as its 64 bits.
  public func integer(_ field: Field) throws(ProtobufError) -> UInt64 {
    guard case .integer(let value) = field.content else { throw .wrongWireType(field: field.number) }
    return value
  }

  /// Where the cursor stands, for `raw`.
  var offset: Int { position }

  /// Bytes that the cursor has passed, as they are.
  func raw(since start: Int) -> [UInt8] { Array(bytes[start..<position]) }

  /// Bytes between the cursor and the end.
  public var remaining: Int { end - position }

  /// The bytes between the cursor and the end, copied.
  public var rest: [UInt8] { Array(bytes[position..<end]) }

  private func run(_ field: Field) throws(ProtobufError) -> Range<Int> {
    guard case .run(let range) = field.content else { throw .wrongWireType(field: field.number) }
    return range
  }

  private mutating func integer() throws(ProtobufError) -> UInt64 {
    var value: UInt64 = 0
    let start = position
    for shift in stride(from: UInt64(0), through: 63, by: 7) {
      guard position < end else { throw .truncated(offset: start) }
      let byte = bytes[position]
      position += 1
      if shift == 63, byte > 1 { throw .malformedInteger(offset: start) }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw .malformedInteger(offset: start)
  }

  private mutating func fixed(_ count: Int) throws(ProtobufError) -> Content {
    guard end - position >= count else { throw .truncated(offset: position) }
    position += count
    return .fixed
  }
}
