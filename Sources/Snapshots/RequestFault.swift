// The one error that discovery requests carry: a google.rpc.Status, by which a client refuses a response.

/// Why a client refuses a response.
public struct RequestFault: Sendable, Equatable {
  /// A gRPC status code; whatever the peer wrote.
  public var code: Int64
  public var message: String

  /// What we say ourselves when a response is broken.
  public static let invalidArgument: Int64 = 3
  /// What a classic sink says of a collection it did not ask for.
  public static let unimplemented: Int64 = 12

  public init(code: Int64, message: String) {
    self.code = code
    self.message = message
  }

  public init(_ reader: ProtobufReader) throws(ProtobufError) {
    var reader = reader
    self.init(code: 0, message: "")
    while let field = try reader.next() {
      switch field.number {
      case 1:
        try reader.once(field)
        code = Int64(bitPattern: try reader.integer(field))
      case 2:
        try reader.once(field)
        message = try reader.string(field)
      default: break
      }
    }
  }

  public func write(_ field: Int, to writer: inout ProtobufWriter) {
    writer.message(field) { status in
      status.integer(1, code)
      status.string(2, message)
    }
  }
}
