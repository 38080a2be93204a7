// Carrying a snapshot out of a relay and into one, a piece a request: neither side ever holds the file as a whole.
//
//   export   POST /export[?as=…] ─► ticket;  POST /export?ticket=…&from=… ─► bytes, … none: the end
//   import   POST /import?… ─► ticket;  POST /import?ticket=…&from=… + bytes, …;  POST /import?ticket=…&end=…
//            ─► the outcome, or `pending` after a moment: then the last is asked again
//            POST /import?ticket=…&abandon=yes: nothing is taken over, and the next import need not wait
//
// A transfer that nobody goes on with is given up by the relay. Contract: the field names of the answers.

internal import Primitives

/// One step of an export or import.
public enum SnapshotTransfer: Sendable, Equatable {
  /// What `identity` is served now; nil: everything.
  case beginExport(identity: String?)
  /// The bytes that follow the first `from`.
  case readExport(ticket: UInt64, from: UInt64)
  case beginImport(ImportTerms)
  case writeImport(ticket: UInt64, from: UInt64, bytes: [UInt8])
  /// The file had `bytes` bytes and all of them are there: take it over.
  case endImport(ticket: UInt64, bytes: UInt64)
  /// The asker does not go on with it.
  case abandonImport(ticket: UInt64)
}

/// How a file is to be taken.
public struct ImportTerms: Sendable, Equatable {
  /// The source that it stands in for; nil: the only one that it can.
  public var source: String?
  /// Although it is older than what is served, or of another origin.
  public var adopts: Bool
  /// Only say what would change.
  public var isDryRun: Bool

  public init(source: String? = nil, adopts: Bool = false, isDryRun: Bool = false) {
    self.source = source
    self.adopts = adopts
    self.isDryRun = isDryRun
  }
}

extension SnapshotTransfer {
  static let paths = ["/export", "/import"]

  init(_ target: RequestTarget, body: [UInt8]) throws(AdminRequestError) {
    let ticket = try target.number("ticket")
    switch (target.path, ticket) {
    case ("/export", nil): self = .beginExport(identity: try target.optional("as"))
    case ("/export", let ticket?):
      self = .readExport(ticket: ticket, from: try target.requiredNumber("from"))
    case (_, nil):
      self = .beginImport(
        ImportTerms(
          source: try target.optional("source"), adopts: try target.flag("adopt"),
          isDryRun: try target.flag("dryRun")))
    case (_, let ticket?):
      if try target.flag("abandon") {
        self = .abandonImport(ticket: ticket)
      } else if let end = try target.number("end") {
        self = .endImport(ticket: ticket, bytes: end)
      } else {
        self = .writeImport(ticket: ticket, from: try target.requiredNumber("from"), bytes: body)
      }
    }
  }

  var requestTarget: RequestTarget {
    switch self {
    case .beginExport(let identity): RequestTarget(path: "/export", query: [("as", identity)])
    case .readExport(let ticket, let from):
      RequestTarget(path: "/export", query: [("ticket", String(ticket)), ("from", String(from))])
    case .beginImport(let terms):
      RequestTarget(
        path: "/import",
        query: [
          ("source", terms.source), ("adopt", terms.adopts ? "yes" : nil),
          ("dryRun", terms.isDryRun ? "yes" : nil),
        ])
    case .writeImport(let ticket, let from, _):
      RequestTarget(path: "/import", query: [("ticket", String(ticket)), ("from", String(from))])
    case .endImport(let ticket, let bytes):
      RequestTarget(path: "/import", query: [("ticket", String(ticket)), ("end", String(bytes))])
    case .abandonImport(let ticket):
      RequestTarget(path: "/import", query: [("ticket", String(ticket)), ("abandon", "yes")])
    }
  }
}

extension RequestTarget {
  /// Nil when it is not there.
  fileprivate func number(_ key: String) throws(AdminRequestError) -> UInt64? {
    guard let text = try optional(key) else { return nil }
    guard let value = UInt64(text) else { throw .malformedTarget(self.text) }
    return value
  }

  fileprivate func requiredNumber(_ key: String) throws(AdminRequestError) -> UInt64 {
    guard let value = try number(key) else { throw .missingParameter(key, path: path) }
    return value
  }
}

/// The answer to the beginning of an export.
public struct ExportTicket: Sendable, Equatable, Decodable {
  public var ticket: UInt64
  /// Hash of what is exported.
  public var version: String
  public var resources: Int

  public init(ticket: UInt64, version: String, resources: Int) {
    self.ticket = ticket
    self.version = version
    self.resources = resources
  }

  public var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.key("ticket")
      writer.raw(String(ticket))
      writer.field("version", version)
      writer.field("resources", resources)
    }
    return writer.bytes
  }
}

/// The answer to the beginning of an import.
public struct ImportTicket: Sendable, Equatable, Decodable {
  public var ticket: UInt64
  public var source: String

  public init(ticket: UInt64, source: String) {
    self.ticket = ticket
    self.source = source
  }

  public var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.key("ticket")
      writer.raw(String(ticket))
      writer.field("source", source)
    }
    return writer.bytes
  }
}

/// What an import did, or would do.
public struct ImportOutcome: Sendable, Equatable, Decodable {
  /// Names of what changes: the first of them, and how many there are.
  public struct Names: Sendable, Equatable, Decodable {
    public var count: Int
    /// `TYPE NAMESPACE/NAME`, at most `ImportOutcome.namesMost`.
    public var names: [String]

    public init(_ all: [String]) {
      count = all.count
      names = Array(all.prefix(ImportOutcome.namesMost))
    }
  }

  /// Reason: an answer must stay far below what a console reads, whatever the file holds.
  public static let namesMost = 10_000

  public var source: String
  /// Of the file's content.
  public var version: String
  public var origin: String
  public var sequence: UInt64
  public var resources: Int
  public var isDryRun: Bool
  public var added: Names
  public var changed: Names
  public var removed: Names
  /// Objects that are not taken over, and why: the last good one of each stays.
  public var setAside: Names
  /// Clusters that the brake holds because of it.
  public var held: [CommandOutcome.Held]
  /// Why it would not outlive a restart; nil when it does.
  public var unsaved: String?

  public init(
    source: String, version: String, origin: String, sequence: UInt64, resources: Int, isDryRun: Bool,
    added: [String], changed: [String], removed: [String], setAside: [String],
    held: [CommandOutcome.Held] = [], unsaved: String? = nil
  ) {
    self.source = source
    self.version = version
    self.origin = origin
    self.sequence = sequence
    self.resources = resources
    self.isDryRun = isDryRun
    self.added = Names(added)
    self.changed = Names(changed)
    self.removed = Names(removed)
    self.setAside = Names(setAside)
    self.held = held
    self.unsaved = unsaved
  }

  public var changesNothing: Bool { added.count + changed.count + removed.count == 0 }

  /// One sentence for people.
  public var message: String {
    let what = "version \(version.prefix(12)) of '\(origin)' (sequence \(sequence), \(resources) resources)"
    let change = "+\(added.count) ~\(changed.count) -\(removed.count)"
    guard !isDryRun else { return "Would import \(what) for the source '\(source)': \(change)" }
    let done = "Imported \(what) for the source '\(source)': \(change)"
    guard !held.isEmpty else { return done }
    let names = held.prefix(10).map { "'\($0.cluster)' (\($0.reason))" }.joined(separator: ", ")
    return "\(done). The brake holds \(names), until `meshrelay release`"
  }

  public var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field("source", source)
      writer.field("version", version)
      writer.field("origin", origin)
      writer.key("sequence")
      writer.raw(String(sequence))
      writer.field("resources", resources)
      writer.field("isDryRun", isDryRun)
      for (key, list) in [
        ("added", added), ("changed", changed), ("removed", removed), ("setAside", setAside),
      ] {
        writer.field(
          key,
          object: { writer in
            writer.field("count", list.count)
            writer.field("names", strings: list.names)
          })
      }
      CommandOutcome.write(held, to: &writer)
      writer.field("message", message)
      writer.field("unsaved", unsaved)
    }
    return writer.bytes
  }
}
