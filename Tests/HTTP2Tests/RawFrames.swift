// HTTP/2 frames written by hand (RFC 9113 §4.1, §6; HPACK literals RFC 7541 §6.2.2): what no honest
// session would send.

import HTTP2

enum Raw {
  static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
  static let settings = frame(4)
  static let settingsAcknowledgement = frame(4, flags: 1)
  /// A client's first bytes.
  static let greeting = preface + settings

  static func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
    let length = UInt32(payload.count)
    return [
      UInt8(truncatingIfNeeded: length >> 16), UInt8(truncatingIfNeeded: length >> 8),
      UInt8(truncatingIfNeeded: length), type, flags,
    ] + number(stream) + payload
  }

  static func number(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
  }

  /// flags: 1 END_STREAM, 4 END_HEADERS.
  static func headers(_ stream: UInt32, _ fields: HeaderList, flags: UInt8 = 4) -> [UInt8] {
    frame(1, flags: flags, stream: stream, block(fields))
  }

  static func data(_ stream: UInt32, _ bytes: [UInt8], flags: UInt8 = 0) -> [UInt8] {
    frame(0, flags: flags, stream: stream, bytes)
  }

  static func reset(_ stream: UInt32, _ code: UInt32) -> [UInt8] { frame(3, stream: stream, number(code)) }

  static func ping(_ payload: UInt8) -> [UInt8] { frame(6, [UInt8](repeating: payload, count: 8)) }

  static func windowUpdate(_ stream: UInt32, _ bytes: UInt32) -> [UInt8] {
    frame(8, stream: stream, number(bytes))
  }

  /// Literals that are never put into the table; names and values up to 2^14 bytes.
  static func block(_ fields: HeaderList) -> [UInt8] {
    fields.flatMap { [0] + literal($0.name) + literal($0.value) }
  }

  private static func literal(_ text: String) -> [UInt8] {
    let bytes = Array(text.utf8)
    guard bytes.count >= 127 else { return [UInt8(bytes.count)] + bytes }
    let rest = bytes.count - 127
    return [127, UInt8(rest & 0x7f) | 0x80, UInt8(rest >> 7)] + bytes
  }
}

/// The types of the frames in `bytes`, in order.
func frameTypes(_ bytes: [UInt8]) -> [UInt8] {
  var types: [UInt8] = []
  var position = 0
  while position + 9 <= bytes.count {
    types.append(bytes[position + 3])
    position += 9 + Int(bytes[position]) << 16 + Int(bytes[position + 1]) << 8 + Int(bytes[position + 2])
  }
  return types
}
