// One entry of the audit log as a value: what happened, to whom, with which version. docs/audit.md (a contract).
//
// A record is not a line yet: time, number and the hash of the line before are given to it by `AuditChain`, in
// the order of writing. Bodies and keys never get in here, and what others say is cut and made harmless.

internal import Primitives
public import SPIFFE

public struct AuditRecord: Sendable, Equatable {
  /// What happened. Raw values are the contract's words.
  public enum Event: String, Sendable, CaseIterable {
    case start, stop, connect, refuse, subscribe, deliver, ack, nack, disconnect, config, policy, source,
      publish
    case hold, release, rollback, pin, unpin, freeze, thaw, adopt
    case `import`, export, checkpoint, admin
  }

  public var event: Event
  /// The identity it is about.
  public var spiffeID: SPIFFEID?
  public var cluster: String?
  /// Clusters that see the published view.
  public var clusters: NameList?
  /// As the client asked for it, or `group/Kind`.
  public var type: String?
  public var version: String?
  /// Version of the whole view, where the client was given a part of it.
  public var view: String?
  /// Of the snapshot, within its origin.
  public var sequence: UInt64?
  public var reason: String?
  /// Name of the source it is about.
  public var source: String?
  public var address: String?
  public var dialect: String?
  /// Node and program of a `start`.
  public var node: String?
  public var program: String?
  /// A `start` after a crash: name of the file that holds what was cut off.
  public var torn: String?
  /// Earlier records of this kind that were left out, because there were too many.
  public var omitted = 0
  public var added: NameList?
  public var changed: NameList?
  public var removed: NameList?

  public init(
    _ event: Event, spiffeID: SPIFFEID? = nil, cluster: String? = nil, type: String? = nil,
    version: String? = nil, sequence: UInt64? = nil, reason: String? = nil
  ) {
    self.event = event
    self.spiffeID = spiffeID
    self.cluster = cluster
    self.type = type
    self.version = version
    self.sequence = sequence
    self.reason = reason
  }

  /// Bytes of foreign text in one field. Reason: the contract (DESIGN.md §8).
  public static let foreignBytesMost = 256
}

/// Names in a record: the first of them, and how many there are.
public struct NameList: Sendable, Equatable {
  /// In the order given; at most `namesMost`.
  public let names: [String]
  public let count: Int

  /// Names of one list. Reason: the contract; a line has to stay readable.
  public static let namesMost = 100

  /// Nil when there are none: the record then says nothing of them.
  public init?(_ all: [String], most: Int = NameList.namesMost) {
    guard !all.isEmpty else { return nil }
    names = Array(all.prefix(most))
    count = all.count
  }
}

extension AuditRecord {
  /// The line from `"event"` to its closing brace, which is the part that does not depend on its place.
  public var tail: [UInt8] {
    var writer = JSONWriter()
    writer.object { line in
      line.field("event", event.rawValue)
      // A verified identity is whole or worthless; its length is bounded by its grammar.
      line.present("spiffeID", spiffeID?.description)
      line.foreign("cluster", cluster)
      line.names("clusters", clusters)
      line.foreign("type", type)
      line.foreign("version", version)
      line.foreign("view", view)
      if let sequence {
        line.key("sequence")
        line.raw(String(sequence))
      }
      line.foreign("reason", reason)
      line.foreign("source", source)
      line.foreign("address", address)
      line.foreign("protocol", dialect)
      line.foreign("node", node)
      line.foreign("program", program)
      line.foreign("torn", torn)
      if omitted > 0 { line.field("omitted", omitted) }
      line.names("added", added)
      line.names("changed", changed)
      line.names("removed", removed)
    }
    // The opening brace belongs to the part before.
    return Array(writer.bytes.dropFirst())
  }
}

extension JSONWriter {
  fileprivate mutating func present(_ name: String, _ value: String?) {
    if let value { field(name, value) }
  }

  fileprivate mutating func foreign(_ name: String, _ value: String?) {
    if let value { field(name, AuditText.fit(value)) }
  }

  fileprivate mutating func names(_ name: String, _ list: NameList?) {
    guard let list else { return }
    field(name, strings: list.names)
    field(name + "Count", list.count)
  }
}

/// Text of others, made fit for a line that people read on terminals.
public enum AuditText {
  /// At most `foreignBytesMost` bytes of it, controls and direction marks spelled out.
  public static func fit(_ text: String) -> String {
    guard text.utf8.count > AuditRecord.foreignBytesMost else { return ForeignText.line(text) }
    let mark = "…"
    var end = text.utf8.index(text.startIndex, offsetBy: AuditRecord.foreignBytesMost - mark.utf8.count)
    while end > text.startIndex, end.samePosition(in: text.unicodeScalars) == nil {
      end = text.utf8.index(before: end)
    }
    return ForeignText.line(text[..<end] + mark)
  }
}
