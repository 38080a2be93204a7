// What ends a classic MCP stream, on either side, with the gRPC status it ends with.

public import Primitives
public import Snapshots

/// A reason to end the stream.
public enum MCPError: Explained, Equatable {
  /// A request that is not one.
  case malformedRequest(ProtobufError)
  case missingCollection
  case nameTooLong(bytes: Int)
  case tooManyCollections(limit: Int)
  /// The sink refused so much that it can no longer be remembered.
  case refusedTooMuch(collection: String, limit: Int)
  /// The sink refuses to give up what it may no longer have.
  case withdrawalRefused(collection: String)
  /// A response of an upstream that is not one.
  case malformedResponse(ProtobufError)

  /// The gRPC status code to end the stream with.
  public var code: Int {
    switch self {
    case .malformedRequest(.tooMany): 8  // RESOURCE_EXHAUSTED
    case .malformedRequest(.repeatedField): 3  // INVALID_ARGUMENT: it can be read, in two ways
    case .malformedRequest: 13  // INTERNAL, as every gRPC library answers what it cannot decode
    case .missingCollection, .nameTooLong: 3  // INVALID_ARGUMENT
    case .tooManyCollections, .refusedTooMuch: 8  // RESOURCE_EXHAUSTED
    case .withdrawalRefused: 14  // UNAVAILABLE
    case .malformedResponse: 13  // INTERNAL
    }
  }

  /// The gRPC status message.
  public var message: String { description }

  public var what: String {
    switch self {
    case .malformedRequest(let error): "The request cannot be read: \(error.what)"
    case .missingCollection: "The request names no collection"
    case .nameTooLong(let bytes):
      "The collection's name has \(bytes) bytes, at most \(MCPCollection.bytesMax) are read"
    case .tooManyCollections(let limit): "A stream may subscribe to \(limit) collections"
    case .refusedTooMuch(let collection, let limit):
      "More than \(limit) versions of \(collection) were refused"
    case .withdrawalRefused(let collection):
      "Resources of \(collection) must be withdrawn and the sink refuses what would remain"
    case .malformedResponse(let error): "The response cannot be read: \(error.what)"
    }
  }

  public var blame: Blame {
    switch self {
    case .malformedResponse: .upstream
    default: .peer
    }
  }
}
