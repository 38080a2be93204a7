// Where the lines of the log go, as the writer sees it: a file with its older siblings (`TrailFile`), or memory in
// the simulator. Called on the audit worker only.

public import Audit
public import Primitives

/// What was found when the log was opened.
public struct TrailOpening: Sendable, Equatable {
  /// The end of what is there; `none` for a new log.
  public var head: AuditHead
  /// Name of the file that took a torn end; nil when the end was sound.
  public var torn: String?
  /// The log goes on in a file that has no line yet, although older ones exist.
  public var continuesInNewFile: Bool

  public init(head: AuditHead, torn: String? = nil, continuesInNewFile: Bool = false) {
    self.head = head
    self.torn = torn
    self.continuesInNewFile = continuesInNewFile
  }
}

/// Takes whole lines, in order.
public protocol TrailStorage: Sendable {
  /// Takes possession of the log and finds its end. May be called again after it failed.
  mutating func open() throws(TrailError) -> TrailOpening
  /// Bytes of the file that is written now.
  var byteCount: Int { get }
  /// The file that was written is no longer where it was: the next lines have to open a new one.
  mutating func hasLostFile() throws(TrailError) -> Bool
  /// All of `lines` or nothing; what a failure left behind is cut off before anything else is written.
  /// `syncing`: they are on the disk when this returns.
  mutating func append(_ lines: [UInt8], syncing: Bool) throws(TrailError)
  /// Closes the file, so that the next lines open a new one. `next`: number of the line that will.
  mutating func rotate(next: UInt64) throws(TrailError)
  /// Removes closed files last written before `moment`; returns their names.
  mutating func removeFiles(writtenBefore moment: Timestamp) -> [String]
  /// Lets go of the log: another process may write it then.
  mutating func release()
}
