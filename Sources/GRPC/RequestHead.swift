// The headers of a call's request: reading a client's, writing ours.
//
// Source: "gRPC over HTTP/2", 'Requests'. Pseudo-headers' number and place, and the ban of `connection`,
// were checked by nghttp2. `te` is sent, but not required: nothing depends on it.

public import HTTP2

/// Why a request is no call that can be answered with messages.
public enum RequestRejection: Error, Sendable, Hashable {
  /// Not gRPC at all: answer with this HTTP status alone.
  case http(status: Int)
  /// A call, but none we can take: answer with this status (Trailers-Only).
  case call(GRPCStatus)

  /// What to answer, with END_STREAM.
  public var response: HeaderList {
    switch self {
    case .http(let status): ResponseHeaders.rejected(httpStatus: status)
    case .call(let status): ResponseHeaders.trailersOnly(status)
    }
  }
}

/// A client's request headers, checked.
public struct RequestHead: Sendable {
  /// As asked: `/package.Service/Method`. Case matters.
  public let path: String
  /// `package.Service`.
  public let service: String
  public let method: String
  /// Empty when the client sent none.
  public let authority: String
  /// From the arrival of the headers; nil: for ever.
  public let timeout: Duration?
  public let userAgent: String?
  /// Coding of messages with flag 1; nil: none announced (or `identity`, which is none).
  public let encoding: String?
  /// All fields that are neither HTTP's nor gRPC's own, in order.
  public let metadata: HeaderList

  public init(parsing fields: HeaderList) throws(RequestRejection) {
    guard fields[":method"] == "POST" else { throw .http(status: 405) }
    let contentTypes = fields.filter { $0.name == "content-type" }
    guard contentTypes.count == 1, ContentType.isGRPC(contentTypes[0].value) else { throw .http(status: 415) }
    path = fields[":path"] ?? ""
    let parts = path.utf8.split(separator: UInt8(ascii: "/"), maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0].isEmpty, !parts[1].isEmpty, !parts[2].isEmpty else {
      throw .call(GRPCStatus(.unimplemented, "malformed method name"))
    }
    service = String(Substring(parts[1]))
    method = String(Substring(parts[2]))
    authority = fields[":authority"] ?? fields["host"] ?? ""
    if let text = fields["grpc-timeout"] {
      guard let parsed = Timeout.parse(text) else {
        throw .call(GRPCStatus(.internalError, "malformed grpc-timeout"))
      }
      timeout = parsed
    } else {
      timeout = nil
    }
    userAgent = fields["user-agent"]
    encoding = fields["grpc-encoding"].flatMap { $0 == "identity" ? nil : $0 }
    metadata = fields.filter { !RequestHead.isReserved($0.name) }
  }

  /// How a compressed message ends this call: the client broke the protocol, or asks for what we lack.
  public var compressedStatus: StatusCode { encoding == nil ? .internalError : .unimplemented }

  /// Names that are never metadata.
  static func isReserved(_ name: String) -> Bool {
    if name.hasPrefix(":") || name.hasPrefix("grpc-") { return true }
    switch name {
    case "content-type", "te", "user-agent", "host", "content-length": return true
    default: return false
    }
  }
}

enum ContentType {
  static let grpc = "application/grpc"

  /// `application/grpc`, alone or followed by `+coding` or `;parameter`. Media types ignore case.
  static func isGRPC(_ value: String) -> Bool {
    let text = value.lowercased()
    guard text.hasPrefix(grpc) else { return false }
    let next = text.utf8.dropFirst(grpc.utf8.count).first
    return next == nil || next == UInt8(ascii: "+") || next == UInt8(ascii: ";")
  }
}

/// Headers of our own calls.
public enum RequestHeaders {
  /// - Parameters:
  ///   - path: `/package.Service/Method`.
  ///   - metadata: lower-case names; values of `-bin` names already base64.
  ///   - timeout: told to the server; the caller keeps its own deadline all the same.
  public static func call(
    path: String, authority: String, metadata: HeaderList = [], timeout: Duration? = nil
  ) -> HeaderList {
    var fields: HeaderList = [
      HeaderField(name: ":method", value: "POST"), HeaderField(name: ":scheme", value: "https"),
      HeaderField(name: ":path", value: path), HeaderField(name: ":authority", value: authority),
      HeaderField(name: "te", value: "trailers"),
      HeaderField(name: "content-type", value: ContentType.grpc),
      HeaderField(name: "user-agent", value: "grpc-swift-meshrelay"),
    ]
    if let timeout { fields.append(HeaderField(name: "grpc-timeout", value: Timeout.format(timeout))) }
    return fields + metadata
  }
}
