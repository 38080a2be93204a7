// One published state of everything that serving needs: rules, and a view per served class, under one
// number. A served class is a policy class and what its gates let it have: clusters that nothing holds share the
// view of their policy class. Nothing in it changes, so no client ever sees new data under old rules.
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
  /// First one per class of `rules`, by its index: the newest it may see. Then those that gates keep.
  public let views: [View]
  /// By cluster index of `rules`: its view. Nil while no cluster stands behind a gate.
  let places: [Int]?

  /// Nothing known, nobody allowed: before the first publication.
  public static let first = Generation(number: 0, rules: .denyAll, snapshot: .nothing, views: [])

  init(
    number: UInt64, rules: PolicyRules, snapshot: Snapshot, views: [View], places: [Int]? = nil
  ) {
    precondition(views.count >= rules.classes.count, "a generation has a view for every class")
    precondition(places.map { $0.count == rules.clusters.count } ?? true, "every cluster has one place")
    self.number = number
    self.rules = rules
    self.snapshot = snapshot
    self.views = views
    self.places = places
  }

  /// Index of the view that a cluster is served, by the cluster's index in `rules`.
  public func place(ofCluster index: Int) -> Int { places?[index] ?? rules.clusters[index].classIndex }

  /// Whether a gate decides what this place is served.
  public func isGated(_ grant: Grant) -> Bool { grant.classIndex >= rules.classes.count }

  /// Whether every identity has the same place in both. False when that is not plain to see.
  public func hasPlaces(of other: Generation) -> Bool {
    rules.hash == other.rules.hash && places == other.places
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
    /// Index of its served class: of its view.
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
      .granted(Grant(cluster: name, classIndex: place(ofCluster: index)))
    }
  }

  /// The place of a cluster whose members are not judged by identity; nil when the rules have none of this name.
  public func grant(ofCluster name: String) -> Grant? {
    rules.cluster(named: name).map { Grant(cluster: name, classIndex: place(ofCluster: $0.index)) }
  }

  /// The view an identity is served; nil when it is refused.
  public func view(for id: SPIFFEID) -> View? {
    guard case .granted(let grant) = decision(for: id) else { return nil }
    return views[grant.classIndex]
  }
}
