// What the log on disk is to be like: the section `audit` of the configuration, in this room's words.

/// Everything the writer is told.
public struct TrailSettings: Sendable, Equatable {
  public enum OnFailure: Sendable {
    /// Nothing is delivered until it can be recorded again.
    case stop
    /// The loss is counted, and stands in the record that follows.
    case goOn
  }

  /// The file that is written now; older ones stand beside it.
  public var path: String
  /// A file of this size is closed and the next one begun.
  public var maxBytes: Int
  /// Closed files are removed after this time.
  public var keep: Duration
  public var onFailure: OnFailure
  /// fdatasync after every batch.
  public var sync: Bool
  /// Every line goes to the journal, too, once it is written.
  public var isMirrored: Bool

  public init(
    path: String, maxBytes: Int = 256 << 20, keep: Duration = .seconds(30 * 86_400),
    onFailure: OnFailure = .stop, sync: Bool = false, isMirrored: Bool = false
  ) {
    self.path = path
    self.maxBytes = maxBytes
    self.keep = keep
    self.onFailure = onFailure
    self.sync = sync
    self.isMirrored = isMirrored
  }
}
