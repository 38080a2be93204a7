// What a tier tells its process: lines for the journal, as values. Rooms return; only `Relay` prints.

import Audit
import Primitives

/// One thing an operator may want to read.
public struct TierEvent: Sendable, Equatable {
  public enum Level: String, Sendable {
    case debug, info, notice, warning, error
  }

  public var level: Level
  /// One sentence; stable enough to search for.
  public var message: String
  /// Facts beside it, in the order to print them.
  public var fields: [Field]
  /// What the audit log keeps of it; nil when that is for the journal alone.
  var record: AuditRecord?

  public struct Field: Sendable, Equatable {
    public var name: String
    public var value: String

    public init(_ name: String, _ value: String) {
      self.name = name
      // Foreign text in the journal is bounded, whatever it says.
      self.value = value.utf8.count <= Field.bytesMax ? value : String(value.prefix(Field.bytesMax)) + "…"
    }

    private static let bytesMax = 512
  }

  public init(_ level: Level, _ message: String, _ fields: [Field] = []) {
    self.level = level
    self.message = message
    self.fields = fields
  }
}
