// One published state of everything that serving needs: rules, and a view per policy class, under one
// number. Nothing in it changes, so no client ever sees new data under old rules.
//
// It crosses from the publisher to the serve loops as one value (docs/ARCHITECTURE.md, the climb and the
// descent). Which view an identity may have is asked here and nowhere else.

public import Policy
public import SPIFFE
public import Snapshots

/// Rules and views that belong together.
public struct Generation: Sendable {
  /// Grows by one with every publication of this process.
  public let number: UInt64
  public let rules: PolicyRules
  /// What the views were cut from.
  public let snapshot: Snapshot
  /// By class index of `rules`.
  public let views: [View]

  /// Nothing known, nobody allowed: before the first publication.
  public static let first = Generation(number: 0, rules: .denyAll, snapshot: .nothing, views: [])

  init(number: UInt64, rules: PolicyRules, snapshot: Snapshot, views: [View]) {
    precondition(views.count == rules.classes.count, "a generation has one view per class")
    self.number = number
    self.rules = rules
    self.snapshot = snapshot
    self.views = views
  }

  /// What an identity may have.
  public enum Decision: Sendable, Equatable {
    case granted(Grant)
    case refused(Refusal)
  }

  /// The place of an identity in this generation.
  public struct Grant: Sendable, Equatable {
    /// Name of its cluster.
    public let cluster: String
    /// Index of its view.
    public let classIndex: Int

    /// The place of whoever is not judged by identity, under rules that know one class only.
    public static func whole(cluster: String) -> Grant { Grant(cluster: cluster, classIndex: 0) }
  }

  /// Why an identity gets nothing; raw values are metric labels.
  public enum Refusal: String, Sendable {
    case noCluster = "no_cluster"
    case blocked
  }

  /// Judged anew for every connection and after every publication: a place can be lost.
  public func decision(for id: SPIFFEID) -> Decision {
    switch rules.cluster(for: id) {
    case .blocked: .refused(.blocked)
    case .none: .refused(.noCluster)
    case .cluster(let index, let name):
      .granted(Grant(cluster: name, classIndex: rules.clusters[index].classIndex))
    }
  }

  /// The view an identity is served; nil when it is refused.
  public func view(for id: SPIFFEID) -> View? {
    guard case .granted(let grant) = decision(for: id) else { return nil }
    return views[grant.classIndex]
  }
}
