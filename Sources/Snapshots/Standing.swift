// What a stream has told its client, one resource at a time, and what the client said of it: the long form of
// `SubscriptionStatus`, for whoever asks (CSDS). Made when asked; nothing of it is kept.

/// What a client said of something it was sent.
public enum Standing: Sendable, Hashable {
  /// Nothing yet.
  case unanswered
  case acknowledged
  case refused
}

/// One resource as a stream carried it last.
public struct ResourceStanding: Sendable, Equatable {
  public let name: String
  public let version: String
  public let standing: Standing
}

/// One subscription with everything it holds.
public struct SubscriptionDetail: Sendable {
  public let status: SubscriptionStatus
  /// Of the last response; nil before the first.
  public let standing: Standing?
  /// In the order of the collection; none when they are more than could be listed.
  public let resources: [ResourceStanding]

  /// - Parameters:
  ///   - held: what was sent last, refused or not.
  ///   - confirmed: where responses are whole sets, the set that was accepted last.
  ///   - room: resources that may still be listed; less by those that are.
  ///   - isRefused: whether the client refused this content.
  public init(
    typeURL: String, _ deliveries: Deliveries, held: Collection, confirmed: Collection? = nil,
    room: inout Int, isRefused: (Resource) -> Bool
  ) {
    status = SubscriptionStatus(typeURL: typeURL, deliveries)
    standing = deliveries.standing
    guard held.count <= room else {
      resources = []
      return
    }
    room -= held.count
    let waiting = deliveries.unanswered
    var resources: [ResourceStanding] = []
    for resource in held.resources {
      let isConfirmed = confirmed?[resource.wireName]?.version == resource.version
      let standing: Standing =
        if isConfirmed {
          .acknowledged
        } else if isRefused(resource) {
          .refused
        } else {
          waiting.contains(resource) ? .unanswered : .acknowledged
        }
      resources.append(
        ResourceStanding(
          name: resource.wireName, version: resource.version.description, standing: standing))
    }
    self.resources = resources
  }
}
