// What is not counted on loops but known at the time of a scrape: a value that the control side fills in.

public import Primitives

/// The gauges that describe the relay as a whole. Nil or empty leaves a series out: no number is
/// invented for what is not known.
public struct RelayFacts: Sendable {
  public struct Source: Sendable {
    /// As configured, so their number is bounded.
    public var name: String
    /// It delivered and is reachable.
    public var isUp: Bool
    public var rejected: Int

    public init(name: String, isUp: Bool, rejected: Int) {
      self.name = name
      self.isUp = isUp
      self.rejected = rejected
    }
  }

  /// What the audit log counts.
  public struct Audit: Sendable {
    public var records: UInt64
    public var bytes: UInt64
    /// Records that could not be kept.
    public var lost: UInt64
    /// Times that writing failed.
    public var failures: UInt64

    public init(records: UInt64, bytes: UInt64, lost: UInt64, failures: UInt64) {
      self.records = records
      self.bytes = bytes
      self.lost = lost
      self.failures = failures
    }
  }

  /// What a shadow policy would change.
  public struct Shadow: Sendable {
    /// It is what its files say.
    public var isOK: Bool
    public var clusters: Int
    /// Objects over all clusters, by what would become of them; empty before they were counted.
    public var differences: [(change: String, count: Int)]

    public init(isOK: Bool, clusters: Int, differences: [(change: String, count: Int)]) {
      self.isOK = isOK
      self.clusters = clusters
      self.differences = differences
    }
  }

  public var version: String
  /// Resources of the newest snapshot by type (group/Kind). Unknown kinds are added up as `other`.
  public var resources: [(type: String, count: Int)] = []
  /// Nil before the first snapshot.
  public var sequence: UInt64?
  public var sources: [Source] = []
  /// Time since the served snapshot was last known to be the newest; zero while every source is up.
  public var staleness: Duration = .zero
  public var svidExpiry: Timestamp?
  public var survivesUntil: Timestamp?
  /// Nil: no goal was set.
  public var isOfflineGoalMet: Bool?
  /// Nil: the kernel does not say.
  public var isClockSynchronised: Bool?
  public var configOK = true
  public var policyOK = true
  /// Rules that allow what the tier above does not grant, by how much of it; empty while no grant is known.
  public var ungrantedRules: [(extent: String, count: Int)] = []
  /// Nil: no shadow policy is configured.
  public var shadow: Shadow?
  public var auditOK = true
  /// Nil: nothing is kept over a restart.
  public var stateOK: Bool?
  /// Nil: no audit is kept.
  public var audit: Audit?
  /// Views the brake holds back.
  public var heldViews = 0
  public var pinnedClusters = 0
  /// Resident memory of the process.
  public var memoryBytes: UInt64?

  public init(version: String) { self.version = version }
}
