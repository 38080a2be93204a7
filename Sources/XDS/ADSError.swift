// What ends an ADS stream, on either side, with the gRPC status it ends with.

public import Primitives
public import Snapshots

/// Whether responses carry whole sets or changes.
public enum ADSDialect: String, Sendable {
  /// StreamAggregatedResources: every response is the whole set of a type.
  case stateOfTheWorld = "sotw"
  /// DeltaAggregatedResources: responses carry what changed.
  case delta

  /// The method's HTTP/2 path.
  public var path: String {
    switch self {
    case .stateOfTheWorld: "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
    case .delta: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
    }
  }
}

/// A reason to end the stream.
public enum ADSError: Explained, Equatable {
  /// A request that is not one.
  case malformedRequest(ProtobufError)
  case missingTypeURL
  case typeURLTooLong(bytes: Int)
  case tooManyTypes(limit: Int)
  case tooManyNames(typeURL: String, limit: Int)
  /// The client refused so much that it can no longer be remembered.
  case refusedTooMuch(typeURL: String, limit: Int)
  /// The client refuses to give up what it may no longer have.
  case withdrawalRefused(typeURL: String)
  /// A response of an upstream that is not one.
  case malformedResponse(ProtobufError)
  /// The upstream's snapshot passed through this process.
  case loop(upstream: String)
  /// The upstream's snapshot is older than ours.
  case behind(upstream: String, offered: UInt64, held: UInt64)
  /// The upstream serves another origin, published before what we serve.
  case otherOrigin(upstream: String, offered: String, held: String)
  /// The upstream's sequence lies more than five minutes ahead of our clock.
  case fromTheFuture(upstream: String, offered: UInt64)

  /// The gRPC status code to end the stream with.
  public var code: Int {
    switch self {
    case .malformedRequest(.tooMany): 8  // RESOURCE_EXHAUSTED
    case .malformedRequest(.repeatedField): 3  // INVALID_ARGUMENT: it can be read, in two ways
    case .malformedRequest: 13  // INTERNAL, as every gRPC library answers what it cannot decode
    case .missingTypeURL, .typeURLTooLong: 3  // INVALID_ARGUMENT
    case .tooManyTypes, .tooManyNames, .refusedTooMuch: 8  // RESOURCE_EXHAUSTED
    case .withdrawalRefused: 14  // UNAVAILABLE
    case .malformedResponse: 13  // INTERNAL
    case .loop, .behind, .otherOrigin, .fromTheFuture: 9  // FAILED_PRECONDITION
    }
  }

  /// The gRPC status message.
  public var message: String { description }

  public var what: String {
    switch self {
    case .malformedRequest(let error): "The request cannot be read: \(error.what)"
    case .missingTypeURL: "The request has no type_url"
    case .typeURLTooLong(let bytes): "The type_url has \(bytes) bytes, at most \(TypeURL.bytesMax) are read"
    case .tooManyTypes(let limit): "A stream may subscribe to \(limit) types"
    case .tooManyNames(let typeURL, let limit): "A subscription to \(typeURL) may hold \(limit) names"
    case .refusedTooMuch(let typeURL, let limit): "More than \(limit) versions of \(typeURL) were refused"
    case .withdrawalRefused(let typeURL):
      "Resources of \(typeURL) must be withdrawn and the client refuses what would remain"
    case .malformedResponse(let error): "The response cannot be read: \(error.what)"
    case .loop(let upstream): "What \(upstream) offers has passed through this relay"
    case .behind(let upstream, let offered, let held):
      "\(upstream) offers sequence \(offered), \(held) is being served"
    case .otherOrigin(let upstream, let offered, let held):
      "\(upstream) offers the older origin \"\(offered)\" while \"\(held)\" is being served"
    case .fromTheFuture(let upstream, let offered):
      "\(upstream) offers sequence \(offered), more than five minutes in the future"
    }
  }

  public var why: String {
    switch self {
    case .loop: "Two relays have each other as upstream"
    case .behind: "A replica that has not caught up, or a restored backup"
    case .fromTheFuture: "The clock of the origin, or of this host, is wrong"
    default: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .loop: "Remove one of the two from sources"
    case .behind, .otherOrigin: "Wait until it catches up, or run: meshrelay adopt SOURCE"
    case .fromTheFuture: "Set the clocks by NTP"
    default: ""
    }
  }

  public var blame: Blame {
    switch self {
    case .malformedResponse, .behind, .otherOrigin, .fromTheFuture: .upstream
    case .loop: .operator
    default: .peer
    }
  }
}
