// Ends of a call that carry no gRPC status, turned into one: HTTP status, RST_STREAM, a lost connection.
//
// Source: gRPC "HTTP to gRPC Status Code Mapping" and "gRPC over HTTP/2", 'Errors'. Never used in
// reverse: a server that has a gRPC status answers HTTP 200.

internal import HTTP2

extension GRPCStatus {
  /// For a response without `grpc-status`.
  public init(httpStatus: Int) {
    let code: StatusCode =
      switch httpStatus {
      case 400, 431: .internalError
      case 401: .unauthenticated
      case 403: .permissionDenied
      case 404: .unimplemented
      case 429, 502, 503, 504: .unavailable
      default: .unknown
      }
    self.init(code, "HTTP status \(httpStatus) without a gRPC status")
  }

  /// For a stream that the peer reset before the call's trailers.
  public init(resetCode: UInt32) {
    let code: StatusCode =
      switch resetCode {
      case HTTP2ErrorCode.noError, HTTP2ErrorCode.protocolError, HTTP2ErrorCode.internalError,
        HTTP2ErrorCode.flowControlError, HTTP2ErrorCode.settingsTimeout, HTTP2ErrorCode.frameSizeError,
        HTTP2ErrorCode.compressionError, HTTP2ErrorCode.connectError:
        .internalError
      case HTTP2ErrorCode.refusedStream: .unavailable
      case HTTP2ErrorCode.cancel: .cancelled
      case HTTP2ErrorCode.enhanceYourCalm: .resourceExhausted
      case HTTP2ErrorCode.inadequateSecurity: .permissionDenied
      default: .unknown
      }
    self.init(code, "the stream was reset with HTTP/2 error code \(resetCode)")
  }
}
