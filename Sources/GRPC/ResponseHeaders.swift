// The headers and trailers of a call's response: writing ours, reading a server's.
//
// Source: "gRPC over HTTP/2", 'Responses'. A call ends with exactly one status: in trailers after
// messages, or alone in one block (Trailers-Only).

public import HTTP2

/// What a server answers.
public enum ResponseHeaders {
  /// The call is accepted; sent early, so that a streaming client knows. Messages and `trailers` follow.
  /// Says that we understand no compression, which also explains an UNIMPLEMENTED for a compressed message.
  public static let accepted: HeaderList = [
    HeaderField(name: ":status", value: "200"),
    HeaderField(name: "content-type", value: ContentType.grpc),
    HeaderField(name: "grpc-accept-encoding", value: "identity"),
  ]

  public static func trailers(_ status: GRPCStatus) -> HeaderList {
    var fields = [HeaderField(name: "grpc-status", value: String(status.code.rawValue))]
    if !status.message.isEmpty {
      fields.append(HeaderField(name: "grpc-message", value: PercentCoding.encode(status.message)))
    }
    return fields
  }

  /// An end without any message, in one block.
  public static func trailersOnly(_ status: GRPCStatus) -> HeaderList {
    accepted + trailers(status)
  }

  /// An answer to what is not gRPC: HTTP status only. For 405 the allowed method is named (RFC 9110 §15.5.6).
  public static func rejected(httpStatus: Int) -> HeaderList {
    var fields = [HeaderField(name: ":status", value: String(httpStatus))]
    if httpStatus == 405 { fields.append(HeaderField(name: "allow", value: "POST")) }
    return fields
  }
}

/// What a server's headers and trailers say.
enum ResponseParsing {
  /// nil when there is none; a status we cannot read is UNKNOWN.
  static func status(in fields: HeaderList) -> GRPCStatus? {
    guard let text = fields["grpc-status"] else { return nil }
    let message = PercentCoding.decode(fields["grpc-message"] ?? "")
    guard let number = decimal(text), let code = StatusCode(rawValue: number) else {
      return GRPCStatus(.unknown, message.isEmpty ? "unknown grpc-status" : message)
    }
    return GRPCStatus(code, message)
  }

  static func httpStatus(in fields: HeaderList) -> Int? {
    fields[":status"].flatMap(decimal)
  }

  static func metadata(in fields: HeaderList) -> HeaderList {
    fields.filter { !RequestHead.isReserved($0.name) }
  }

  /// Up to three ASCII digits, nothing else.
  private static func decimal(_ text: String) -> Int? {
    let digits = text.utf8
    guard (1...3).contains(digits.count),
      digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
    else { return nil }
    return Int(text)
  }
}
