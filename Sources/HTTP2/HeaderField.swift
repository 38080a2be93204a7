// Header fields, stream numbers and error codes: the words in which HTTP2 and its users talk.
//
// Floor 1 of the house (engines). Source: RFC 9113 §5.1.1 (streams), §7 (error codes), §8.3 (fields).
// Nothing here validates: fields from a peer were checked by nghttp2, fields to a peer are ours.

/// One header field; pseudo-header fields (`:path`) come before the others in a list.
public struct HeaderField: Sendable, Hashable {
  /// Lower case, as HTTP/2 requires.
  public var name: String
  /// Bytes that are not UTF-8 have become U+FFFD in values received.
  public var value: String

  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }

  /// What the field counts towards a header list limit. RFC 9113 §6.5.2: 32 bytes on top of its text.
  static func listBytes(nameBytes: Int, valueBytes: Int) -> Int {
    let (sum, overflow) = nameBytes.addingReportingOverflow(valueBytes)
    return overflow ? Int.max / 2 : min(sum, Int.max / 2) + 32
  }
}

/// Fields in the order of the wire; a name may occur more than once.
public typealias HeaderList = [HeaderField]

extension [HeaderField] {
  /// The first value of `name`; nil when the list has none.
  public subscript(name: String) -> String? {
    first { $0.name == name }?.value
  }
}

/// Number of a stream within one connection: odd, ascending, never reused. Range: 1 … 2^31 − 1.
public struct StreamID: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let rawValue: Int32

  public init(rawValue: Int32) { self.rawValue = rawValue }

  public static func < (left: StreamID, right: StreamID) -> Bool { left.rawValue < right.rawValue }

  public var description: String { String(rawValue) }
}

/// Error codes of RST_STREAM and GOAWAY. RFC 9113 §7. Peers may send others: they stay plain numbers.
public enum HTTP2ErrorCode {
  public static let noError: UInt32 = 0x0
  public static let protocolError: UInt32 = 0x1
  public static let internalError: UInt32 = 0x2
  public static let flowControlError: UInt32 = 0x3
  public static let settingsTimeout: UInt32 = 0x4
  public static let streamClosed: UInt32 = 0x5
  public static let frameSizeError: UInt32 = 0x6
  public static let refusedStream: UInt32 = 0x7
  public static let cancel: UInt32 = 0x8
  public static let compressionError: UInt32 = 0x9
  public static let connectError: UInt32 = 0xa
  public static let enhanceYourCalm: UInt32 = 0xb
  public static let inadequateSecurity: UInt32 = 0xc
  public static let http11Required: UInt32 = 0xd
}
