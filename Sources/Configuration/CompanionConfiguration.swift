// The configuration file of `connect`, the companion beside istiod, as one value. DESIGN.md §5, last paragraph.
//
// What it serves in plaintext is granted by its own identity, so nobody but this host may reach it: the
// listen address must be loopback, and none that istiod itself uses.

public import Documents
public import SPIFFE

public struct CompanionConfiguration: Sendable {
  /// The path it was read from.
  public let file: String
  /// Nil: the host name, which only the process knows.
  public let node: String?
  public let identity: IdentitySettings
  /// The relay to dial, in order of preference; at least one.
  public let relayAddresses: [NetworkAddress]
  /// Who the relay must be.
  public let relayID: SPIFFEPattern
  /// Loopback, plaintext.
  public let listen: NetworkAddress
  /// Nil: nothing survives a restart.
  public let state: String?
  /// Path of the Unix socket for operators.
  public let admin: String

  public static let standardListen = NetworkAddress(host: "127.0.0.1", port: 15051)
  /// Ports of istiod: discovery, webhooks, monitoring, debugging.
  public static let istiodPorts: [UInt16] = [8080, 9876, 15010, 15012, 15014, 15017]

  /// `configuration` is nil when there is any error.
  public static func load(path: String) -> (configuration: CompanionConfiguration?, problems: [Problem]) {
    do throws(Problem) {
      return parse(try TextFile.read(path), file: path)
    } catch {
      return (nil, [error])
    }
  }

  /// `file`: what problems call it and what relative paths are relative to.
  public static func parse(
    _ text: [UInt8], file: String
  ) -> (configuration: CompanionConfiguration?, problems: [Problem]) {
    let (root, found) = YAML.parseSingle(yaml: text, file: file)
    let problems = ProblemList(found)
    let configuration = root.flatMap { MappingReader.read($0, problems: problems, read) }
    return (problems.hasErrors ? nil : configuration, Problem.sorted(problems.problems))
  }

  /// Keys that differ from the running configuration and are only read at start.
  public func keysThatNeedRestart(since running: CompanionConfiguration) -> [String] {
    [
      ("node", node != running.node), ("state", state != running.state), ("admin", admin != running.admin),
      ("listen", listen != running.listen),
    ].filter(\.1).map(\.0)
  }

  private static func read(_ reader: MappingReader) -> CompanionConfiguration? {
    let identity = reader.mapping("identity", required: true, IdentitySettings.read)
    let relay = reader.mapping("relay", required: true) { relay in
      let addresses = relay.addresses("addresses")
      let id = relay.identityPattern("spiffeID")
      return addresses.flatMap { addresses in id.map { (addresses: addresses, id: $0) } }
    }
    let node = reader.name("node", ofAtMost: 253)
    let listen = listen(of: reader)
    let state = reader.path("state")
    let admin = admin(of: reader)
    guard let identity, let relay, let listen, let admin else { return nil }
    return CompanionConfiguration(
      file: reader.position.file, node: node, identity: identity, relayAddresses: relay.addresses,
      relayID: relay.id,
      listen: listen, state: state, admin: admin)
  }

  /// An address, or as in the file of `serve` a list, here of one.
  private static func listen(of reader: MappingReader) -> NetworkAddress? {
    guard let node = reader.node("listen") else { return standardListen }
    guard node.sequence != nil else {
      return reader.string(of: node, name: "listen").flatMap { loopback($0, name: "listen", reader) }
    }
    let found = reader.mappings("listen") { item in
      item.string("address", required: true).flatMap { loopback($0, name: item.name("address"), item) }
    }
    guard node.sequence?.count == 1 else {
      reader.problems.report(node.position, "connect listens on one address", howToFix: "leave one")
      return nil
    }
    return found?.first
  }

  private static func loopback(
    _ text: Located<String>, name: String, _ reader: MappingReader
  ) -> NetworkAddress? {
    guard let address = reader.address(from: text, name: name, listening: true) else { return nil }
    guard address.isLoopback else {
      reader.problems.report(
        text.position, "\(name) is \(address), which other hosts can reach",
        why: "what connect serves is plaintext and granted to this host alone",
        howToFix: "use \(standardListen)")
      return nil
    }
    guard !istiodPorts.contains(address.port) else {
      reader.problems.report(
        text.position, "\(name) has the port \(address.port), which istiod itself uses",
        howToFix: "use \(standardListen)")
      return nil
    }
    return address
  }

  private static func admin(of reader: MappingReader) -> String? {
    guard let text = reader.string("admin") else {
      guard case .unix(let path) = AdminSettings.standard else { return nil }
      return reader.entry("admin") == nil ? path : nil
    }
    switch AdminSettings.read(text, reader) {
    case .unix(let path): return path
    case .loopback:
      reader.problems.report(
        text.position, "admin of connect must be a Unix socket",
        howToFix: "write it like unix:///run/meshrelay/admin.sock")
      return nil
    case nil: return nil
    }
  }
}

/// A configuration file of either command, for `check`, which is told only a path.
public enum ConfigurationFile: Sendable {
  case relay(RelayConfiguration)
  case companion(CompanionConfiguration)

  /// A file with the key `relay` is one of `connect`, any other one of `serve`.
  public static func load(path: String) -> (configuration: ConfigurationFile?, problems: [Problem]) {
    do throws(Problem) {
      let text = try TextFile.read(path)
      if YAML.parseSingle(yaml: text, file: path).root?["relay"] != nil {
        let (configuration, problems) = CompanionConfiguration.parse(text, file: path)
        return (configuration.map { .companion($0) }, problems)
      }
      let (configuration, problems) = RelayConfiguration.parse(text, file: path)
      return (configuration.map { .relay($0) }, problems)
    } catch {
      return (nil, [error])
    }
  }
}
