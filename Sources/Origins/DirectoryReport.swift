// What one look at a directory says to the rest of the relay.

public import Snapshots

public struct DirectoryReport: Sendable {
  public let source: String
  /// To be merged in this order; empty when nothing changed. The first sound look replaces every kind and ends
  /// with `.complete`, later ones carry changes only.
  public var updates: [SourceUpdate] = []
  /// Set: the directory as a whole is not to be believed, and everything it said before stays.
  public var fault: DirectoryFault?
  /// Everything that is set aside now (not only since the last look): by file, then objects defined twice, then
  /// folders. The updates carry none of it.
  public var rejected: [Rejection] = []
  /// Objects in use from this directory, kept ones included.
  public var resources = 0
  /// Why changes are noticed late; nil while the kernel reports them.
  public var watchTrouble: String?

  init(source: String) { self.source = source }
}
