// What a command did, as the relay answers it and the console prints it. Contract: the field names.

internal import Primitives

public struct CommandOutcome: Sendable, Equatable, Decodable {
  /// A cluster that the brake holds although a gate was opened for it.
  public struct Held: Sendable, Equatable, Decodable {
    public var cluster: String
    public var reason: String

    public init(cluster: String, reason: String) {
      self.cluster = cluster
      self.reason = reason
    }
  }

  /// `rollback`, `pin`, …
  public var command: String
  /// Nil: every cluster.
  public var cluster: String?
  /// What is kept from now on, where the command keeps something.
  public var version: String?
  public var held: [Held]
  /// One sentence for people.
  public var message: String
  /// Why it would not outlive a restart; nil when it does.
  public var unsaved: String?

  /// `kept`: what the gate is that keeps `version`, in words.
  public init(
    command: AdminCommand, version: String? = nil, kept: String? = nil, held: [Held] = [],
    unsaved: String? = nil
  ) {
    self.command = command.name
    cluster = command.cluster
    self.version = version
    self.held = held
    self.unsaved = unsaved
    message = command.sentence(version: version, kept: kept, held: held)
  }

  public var json: [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field("command", command)
      writer.field("cluster", cluster)
      writer.field("version", version)
      CommandOutcome.write(held, to: &writer)
      writer.field("message", message)
      writer.field("unsaved", unsaved)
    }
    return writer.bytes
  }

  static func write(_ held: [Held], to writer: inout JSONWriter) {
    writer.field(
      "held",
      array: { writer in
        for one in held {
          writer.object { writer in
            writer.field("cluster", one.cluster)
            writer.field("reason", one.reason)
          }
        }
      })
  }
}

extension AdminCommand {
  /// As the command line and the audit call it.
  public var name: String {
    switch self {
    case .rollback: "rollback"
    case .pin: "pin"
    case .unpin: "unpin"
    case .freeze: "freeze"
    case .thaw: "thaw"
    case .release: "release"
    case .adopt: "adopt"
    }
  }

  /// Nil: it speaks of every cluster, or of none.
  public var cluster: String? {
    switch self {
    case .rollback(_, let cluster), .freeze(let cluster), .thaw(let cluster): cluster
    case .pin(let cluster, _), .unpin(let cluster), .release(let cluster, _): cluster
    case .adopt: nil
    }
  }

  /// VERSION as it was given.
  public var version: String? {
    switch self {
    case .rollback(let version, _), .pin(_, let version): version
    case .unpin, .freeze, .thaw, .release, .adopt: nil
    }
  }

  fileprivate func sentence(version: String?, kept: String?, held: [CommandOutcome.Held]) -> String {
    let who = cluster.map { "The cluster '\($0)' is" } ?? "Every cluster without a pin is"
    let what = version.map { String($0.prefix(12)) } ?? "what it has"
    let again = cluster.map { " " + $0 } ?? ""
    switch self {
    case .rollback: return "\(who) rolled back to \(what), until `meshrelay thaw\(again)`"
    case .pin: return "\(who) pinned to \(what), until `meshrelay unpin\(again)`"
    case .freeze(nil):
      return "Every cluster without a gate of its own is kept at \(what), until `meshrelay thaw`"
    case .freeze: return "\(who) kept at \(what), until `meshrelay thaw\(again)`"
    case .adopt(let source): return "The source '\(source)' is taken over as it is offered next"
    case .unpin, .thaw, .release:
      if let kept, let cluster {
        return
          "Every cluster is \(kept), and so is '\(cluster)' now: it is served \(what), until `meshrelay thaw`"
      }
      guard !held.isEmpty else { return "\(who) served the newest snapshot" }
      let names = held.prefix(10).map { "'\($0.cluster)' (\($0.reason))" }.joined(separator: ", ")
      return "The brake holds \(names), until `meshrelay release`"
    }
  }
}
