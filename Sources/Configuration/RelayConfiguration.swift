// The configuration file of `serve` as one value: parse, validate, use. DESIGN.md §5.
//
// Floor 4: joins Documents (text), SPIFFE (names) and Policy (patterns). Reads its one file and nothing else:
// no environment, no other file, no name resolution. Every problem of the file is reported at once.

public import Documents
public import Policy
public import Primitives
import SPIFFE

public struct RelayConfiguration: Sendable {
  /// The path it was read from.
  public let file: String
  /// Nil: the host name, which only the process knows.
  public let node: String?
  public let identity: IdentitySettings
  /// In order of preference; at least one; names differ.
  public let sources: [SourceSettings]
  /// Nil: the node's name.
  public let origin: String?
  /// At least one; each once.
  public let listen: [ListenSettings]
  /// Sinks that we dial; addresses differ.
  public let push: [PushSettings]
  public let tlsMinimum: TLSMinimum
  /// A file or a folder.
  public let policyPath: String
  /// A policy that is evaluated and never enforced: a file or a folder; nil: none.
  public let shadowPath: String?
  /// Nil: nothing outlives the process.
  public let state: String?
  public let staleAfter: StaleSettings?
  public let admin: [AdminSettings]
  /// Nil: no audit is written.
  public let audit: AuditSettings?
  public let publish: PublishSettings
  public let brake: BrakeSettings
  public let history: HistorySettings
  /// 0: one per core.
  public let loops: Int
  public let limits: Limits

  public static let standardPath = "/etc/meshrelay/meshrelay.yaml"

  /// `configuration` is nil when there is any error; warnings leave one.
  public static func load(path: String) -> (configuration: RelayConfiguration?, problems: [Problem]) {
    do throws(Problem) {
      return parse(try TextFile.read(path), file: path)
    } catch {
      return (nil, [error])
    }
  }

  /// `file`: what problems call it and what relative paths are relative to.
  public static func parse(
    _ text: [UInt8], file: String
  ) -> (configuration: RelayConfiguration?, problems: [Problem]) {
    let (root, found) = YAML.parseSingle(yaml: text, file: file)
    let problems = ProblemList(found)
    let configuration = root.flatMap { MappingReader.read($0, problems: problems, read) }
    return (problems.hasErrors ? nil : configuration, Problem.sorted(problems.problems))
  }

  private static func read(_ reader: MappingReader) -> RelayConfiguration? {
    NotBuilt.refuseKeys(of: reader)
    let identity = reader.mapping("identity", required: true, IdentitySettings.read)
    let sources = SourceSettings.readAll(reader)
    let listen = ListenSettings.readAll(reader)
    let policyPath = reader.path("policy", required: true)
    let shadowPath = reader.path("shadow")
    let node = reader.name("node", ofAtMost: 253)
    let origin = reader.name("origin", ofAtMost: 253)
    let push = PushSettings.readAll(reader)
    let tls = reader.mapping("tls", TLSMinimum.read)
    let state = reader.path("state")
    let staleAfter = reader.mapping("staleAfter", StaleSettings.read)
    let admin = AdminSettings.readAll(reader)
    let audit = reader.mapping("audit", AuditSettings.read)
    let publish = reader.mapping("publish", PublishSettings.read)
    let brake = reader.mapping("brake", BrakeSettings.read)
    let history = reader.mapping("history", HistorySettings.read)
    let loops = reader.integer("loops", in: 0...1024)
    let limits = reader.mapping("limits", LimitSettings.read)
    guard let identity, let sources, let listen, let policyPath else { return nil }
    return RelayConfiguration(
      file: reader.position.file, node: node, identity: identity, sources: sources, origin: origin,
      listen: listen, push: push, tlsMinimum: tls ?? .tls13, policyPath: policyPath, shadowPath: shadowPath,
      state: state,
      staleAfter: staleAfter,
      admin: admin, audit: audit, publish: publish ?? PublishSettings(),
      brake: brake ?? BrakeSettings(), history: history ?? HistorySettings(),
      loops: loops?.value ?? 0, limits: limits ?? Limits())
  }

  // MARK: Together with other values

  /// Keys that a reload cannot change: those whose values differ from what runs.
  public func keysThatNeedRestart(since running: RelayConfiguration) -> [String] {
    [
      ("node", node != running.node), ("state", state != running.state), ("admin", admin != running.admin),
      ("listen", listen != running.listen), ("loops", loops != running.loops),
      ("audit", (audit == nil) != (running.audit == nil)),
      // Sizes of what is made once.
      ("limits.controlMailbox", limits.controlMailbox != running.limits.controlMailbox),
      ("limits.workerMailbox", limits.workerMailbox != running.limits.workerMailbox),
      ("limits.auditBytes", limits.auditBytes != running.limits.auditBytes),
    ].filter(\.1).map(\.0)
  }

  /// Rules that name a source this relay does not have: they match nothing. Sinks that no cluster can have in it:
  /// they are dialled in vain.
  public func problems(with rules: PolicyRules) -> [Problem] {
    let granted = rules.clusters.flatMap(\.identities)
    let unserved = push.filter { sink in !granted.contains { $0.overlaps(sink.spiffeID) } }.map { sink in
      Problem(
        sink.position, "no cluster of the policy has an identity like \(sink.spiffeID)",
        why: "a sink is served what policy grants its identity, and refused otherwise",
        howToFix: "add it to a cluster", severity: .warning)
    }
    return unserved + unknownSources(of: rules)
  }

  private func unknownSources(of rules: PolicyRules) -> [Problem] {
    let names = Set(sources.map(\.name))
    let unknown = rules.clusters.flatMap { $0.allow + $0.deny }.flatMap { rule in
      (rule.sources ?? []).filter { !names.contains($0) }.map { (rule.position, $0) }
    }
    return unknown.map { position, name in
      Problem(
        position, "this rule names the source \(Problem.quote(name)), which \(file) does not have",
        howToFix: Suggestion.nearest(to: name, among: names.sorted()).map { "did you mean \"\($0)\"?" } ?? "",
        severity: .warning)
    }
  }

  /// Sources that nobody knows the content of by files.
  public var upstreamNames: [String] { sources.filter(\.isUpstream).map(\.name) }
}

extension MappingReader {
  /// A name that goes on the wire and into logs.
  func name(_ key: String, ofAtMost bytes: Int) -> String? {
    guard let text = string(key) else { return nil }
    guard text.value.utf8.count <= bytes else {
      problems.report(text.position, "\(name(key)) has more than \(bytes) bytes")
      return nil
    }
    return text.value
  }
}
