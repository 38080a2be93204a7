// How a simulated network treats its hosts: what a link does to bytes, and how a host may fail.

/// What happens to bytes between two hosts, one way.
public struct LinkConditions: Sendable, Equatable {
  /// From sending to arriving, at least.
  public var delay: Duration = .milliseconds(1)
  /// Added to `delay`: 0 … `jitter`, drawn per run of bytes. Never reorders one connection.
  public var jitter: Duration = .zero
  /// The receiver reads runs of bytes in pieces of random length.
  public var splitsReads = false
  /// A send takes a random part of what it was given.
  public var shortensWrites = false
  /// Share of connects that are refused: 0 … 1.
  public var refusedConnects = 0.0
  /// Bytes on the way or unread, in one direction of a connection, before its sender has to wait.
  public var windowBytes = 256 * 1024

  public init() {}

  /// Every fault short of a cut.
  public static var harsh: LinkConditions {
    var conditions = LinkConditions()
    conditions.jitter = .milliseconds(20)
    conditions.splitsReads = true
    conditions.shortensWrites = true
    conditions.windowBytes = 16 * 1024
    return conditions
  }
}

/// How a host stops.
public enum SimulatedCrash: Sendable {
  /// The process dies and its kernel tells every peer.
  case process
  /// The host is gone without a word until `restart`; peers hear of it when they send after that.
  case power
}
