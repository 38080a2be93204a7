// What a relay answers on its admin interface: a status, a content type, a body. Errors are JSON too,
// `{"error": "…"}`, so that a script never has to guess what it was given.

import Primitives

public struct AdminReply: Sendable, Equatable {
  public enum ContentType: String, Sendable {
    case json = "application/json"
    /// Prometheus text exposition format 0.0.4.
    case metrics = "text/plain; version=0.0.4; charset=utf-8"
    case text = "text/plain; charset=utf-8"
    case bytes = "application/octet-stream"
  }

  /// HTTP status, 200 to 599.
  public var status: Int
  public var contentType: ContentType
  public var body: [UInt8]

  public init(status: Int = 200, contentType: ContentType, body: [UInt8]) {
    precondition((200...599).contains(status), "an admin reply needs a final HTTP status")
    self.status = status
    self.contentType = contentType
    self.body = body
  }

  public static func json(status: Int = 200, _ body: [UInt8]) -> AdminReply {
    AdminReply(status: status, contentType: .json, body: body)
  }

  public static func text(status: Int = 200, _ body: String) -> AdminReply {
    AdminReply(status: status, contentType: .text, body: Array(body.utf8))
  }

  public static func metrics(_ text: [UInt8]) -> AdminReply {
    AdminReply(contentType: .metrics, body: text)
  }

  /// 200 when ready, else 503; the reasons either way.
  public static func readiness(_ readiness: Readiness) -> AdminReply {
    .json(status: readiness.ready ? 200 : 503, readiness.json)
  }

  public static func error(status: Int, _ message: String) -> AdminReply {
    var writer = JSONWriter()
    writer.object { $0.field("error", message) }
    return .json(status: status, writer.bytes)
  }

  public static func error(_ error: AdminRequestError) -> AdminReply {
    .error(status: error.httpStatus, error.description)
  }
}
