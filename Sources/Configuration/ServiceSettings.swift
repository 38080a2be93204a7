// The sections that say how this relay serves and reports: listen, admin, tls, audit, publish, history,
// staleAfter, brake.

internal import Documents

/// Where clients come in: always mutual TLS.
public enum ListenSettings: Hashable, Sendable, CustomStringConvertible {
  case address(NetworkAddress)
  /// A listening socket that systemd hands over under this name.
  case socket(name: String)

  public var description: String {
    switch self {
    case .address(let address): address.description
    case .socket(let name): "socket \(name)"
    }
  }

  static func readAll(_ reader: MappingReader) -> [ListenSettings]? {
    var known: Set<ListenSettings> = []
    return reader.mappings("listen", required: true) { item in
      guard let listen = read(item) else { return nil }
      if !known.insert(listen).inserted {
        item.problems.report(item.position, "\(listen) is listened on twice", howToFix: "remove one of them")
      }
      return listen
    }
  }

  private static func read(_ reader: MappingReader) -> ListenSettings? {
    let address = reader.string("address")
    let socket = reader.string("socket")
    guard (reader.entry("address") == nil) != (reader.entry("socket") == nil) else {
      reader.problems.report(reader.position, "listen takes address or socket, and one of them only")
      return nil
    }
    if let socket { return .socket(name: socket.value) }
    return address.flatMap { reader.address(from: $0, name: reader.name("address"), listening: true) }
      .map { .address($0) }
  }
}

/// Where operators come in.
public enum AdminSettings: Hashable, Sendable {
  case unix(path: String)
  case loopback(NetworkAddress)

  public static let standard = AdminSettings.unix(path: "/run/meshrelay/admin.sock")

  /// One address or a list.
  static func readAll(_ reader: MappingReader) -> [AdminSettings] {
    guard let node = reader.node("admin") else { return [standard] }
    guard node.sequence != nil else {
      return [reader.string(of: node, name: "admin").flatMap { read($0, reader) }].compactMap { $0 }
    }
    return (reader.strings("admin") ?? []).compactMap { read($0, reader) }
  }

  static func read(_ text: Located<String>, _ reader: MappingReader) -> AdminSettings? {
    if text.value.hasPrefix("unix:") || text.value.hasPrefix("/") {
      var path = text.value.hasPrefix("unix:") ? String(text.value.dropFirst("unix:".count)) : text.value
      if path.hasPrefix("//") { path = String(path.dropFirst(2)) }
      // Reason: sun_path of a socket address has 108 bytes with its end.
      guard path.hasPrefix("/"), path.utf8.count < 108 else {
        reader.problems.report(
          text.position,
          "admin is \(Problem.quote(text.value)), which is no absolute path of at most 107 bytes",
          howToFix: "write it like unix:///run/meshrelay/admin.sock")
        return nil
      }
      return .unix(path: path)
    }
    guard let address = reader.address(from: text, name: "admin", listening: true) else { return nil }
    guard address.isLoopback else {
      reader.problems.report(
        text.position, "admin is \(address), which other hosts can reach",
        why: "it has no authentication of its own",
        howToFix: "use unix:///run/meshrelay/admin.sock or an address like 127.0.0.1:15014")
      return nil
    }
    return .loopback(address)
  }
}

/// The oldest TLS version that is spoken.
public enum TLSMinimum: String, Sendable {
  case tls12 = "1.2"
  case tls13 = "1.3"

  static func read(_ reader: MappingReader) -> TLSMinimum? {
    reader.choice("minimum", of: ["1.2", "1.3"]).flatMap { TLSMinimum(rawValue: $0.value) }
  }
}

/// The record of everything requested, changed, delivered or refused.
public struct AuditSettings: Sendable, Equatable {
  public enum OnFailure: String, Sendable {
    /// Deliveries are held until the record can be written again.
    case stop
    /// The loss is counted.
    case `continue`
  }

  public var path = "/var/log/meshrelay/audit.jsonl"
  /// A file of this size is rotated.
  public var maxBytes = 256 << 20
  /// Rotated files older than this are removed.
  public var keep: Duration = .seconds(30 * 86_400)
  public var onFailure = OnFailure.stop
  /// fdatasync after each batch.
  public var sync = false
  public var journal = Journal.events

  public enum Journal: String, Sendable {
    /// What happens, but for each delivery: too much for the limits that journald has unless told otherwise.
    case events
    /// Every line of the log, as it was written.
    case all
  }

  static func read(_ reader: MappingReader) -> AuditSettings? {
    var audit = AuditSettings()
    audit.path = reader.path("path") ?? audit.path
    audit.maxBytes = reader.size("maxBytes", in: (1 << 20)...(1 << 40))?.value ?? audit.maxBytes
    audit.keep = reader.duration("keep", in: .seconds(3600) ... .seconds(3650 * 86_400))?.value ?? audit.keep
    audit.onFailure =
      reader.choice("onFailure", of: ["stop", "continue"]).flatMap { OnFailure(rawValue: $0.value) }
      ?? audit.onFailure
    audit.sync = reader.boolean("sync")?.value ?? audit.sync
    audit.journal =
      reader.choice("journal", of: ["events", "all"]).flatMap { Journal(rawValue: $0.value) } ?? audit.journal
    return audit
  }
}

/// Debounce of changes that come in many small steps.
public struct PublishSettings: Sendable, Equatable {
  /// Without a change for this long, publish.
  public var quiet: Duration = .milliseconds(100)
  /// At the latest after this, publish.
  public var max: Duration = .seconds(1)

  static func read(_ reader: MappingReader) -> PublishSettings? {
    var publish = PublishSettings()
    let quiet = reader.duration("quiet", in: .zero ... .seconds(60))
    let max = reader.duration("max", in: .zero ... .seconds(600))
    publish.quiet = quiet?.value ?? publish.quiet
    publish.max = max?.value ?? Swift.max(publish.max, publish.quiet)
    if publish.quiet > publish.max, let position = max?.position {
      reader.problems.report(
        position, "publish.max is shorter than publish.quiet", howToFix: "make it at least as long")
    }
    return publish
  }
}

/// How many published versions are kept.
public struct HistorySettings: Sendable, Equatable {
  public var versions = 100
  public var keep: Duration = .seconds(7 * 86_400)

  static func read(_ reader: MappingReader) -> HistorySettings? {
    var history = HistorySettings()
    history.versions = reader.integer("versions", in: 1...100_000)?.value ?? history.versions
    history.keep =
      reader.duration("keep", in: .seconds(60) ... .seconds(3650 * 86_400))?.value ?? history.keep
    return history
  }
}

/// What to do about an upstream that has been silent for too long.
public struct StaleSettings: Sendable, Equatable {
  public enum Action: String, Sendable {
    /// Metrics and status say it.
    case alarm
    /// `/readyz` answers 503 as well.
    case unready
  }

  public let after: Duration
  public let then: Action

  static func read(_ reader: MappingReader) -> StaleSettings? {
    let after = reader.duration("after", in: .seconds(1) ... .seconds(3650 * 86_400))
    let then = reader.choice("then", of: ["alarm", "unready"]).flatMap { Action(rawValue: $0.value) }
    if reader.entry("after") == nil {
      reader.problems.report(reader.position, "the key \"after\" is missing in staleAfter")
    }
    return after.map { StaleSettings(after: $0.value, then: then ?? .alarm) }
  }
}

/// The brake on mass removals.
public struct BrakeSettings: Sendable, Equatable {
  /// Percent of a type's resources, 0 to 100; 100 turns the brake off.
  public var removes: Int
  public var atLeast: Int
  public var most: Int
  public var window: Duration

  init(removes: Int = 20, atLeast: Int = 10, most: Int = 500, window: Duration = .seconds(600)) {
    self.removes = removes
    self.atLeast = atLeast
    self.most = most
    self.window = window
  }

  static func read(_ reader: MappingReader) -> BrakeSettings? {
    var brake = BrakeSettings()
    brake.removes = percent(reader) ?? brake.removes
    brake.atLeast = reader.integer("atLeast", in: 1...1_000_000)?.value ?? brake.atLeast
    brake.most = reader.integer("most", in: 1...1_000_000_000)?.value ?? brake.most
    brake.window = reader.duration("window", in: .seconds(1) ... .seconds(86_400))?.value ?? brake.window
    return brake
  }

  private static func percent(_ reader: MappingReader) -> Int? {
    guard let text = reader.string("removes") else { return nil }
    guard text.value.hasSuffix("%"), let number = Int(text.value.dropLast()), (0...100).contains(number),
      text.value.utf8.first.map({ (48...57).contains($0) }) == true
    else {
      reader.problems.report(
        text.position,
        "brake.removes is \(Problem.quote(text.value)), which is no percentage from 0% to 100%",
        howToFix: "write it like 20%; 100% turns the brake off")
      return nil
    }
    return number
  }
}
