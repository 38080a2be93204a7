// Messages of the small services, to and from bytes. Never resource bodies: those are opaque.

import GRPC
import SwiftProtobuf

/// A request that cannot be read is the client's fault; every gRPC library says INTERNAL to it.
func decoded<Request: SwiftProtobuf.Message>(
  _ bytes: [UInt8], as type: Request.Type
) throws(GRPCStatus) -> Request {
  do {
    return try Request(serializedBytes: bytes)
  } catch {
    throw GRPCStatus(.internalError, "the request is no \(type.protoMessageName)")
  }
}

func bytes(of message: some SwiftProtobuf.Message) -> [UInt8] {
  guard let bytes: [UInt8] = try? message.serializedBytes() else {
    preconditionFailure("a message made here has all its fields, so it can be encoded")
  }
  return bytes
}
