// What was asked of `subscribe` on the command line, turned into something that can be run, or a sentence
// about what is missing.

import CLinux
import Configuration
import Identity
import Primitives
import Ring
import SPIFFE
import Snapshots
import Transport
import Trust
import XDS

public struct SubscribeRequest {
  /// What is wrong with a command line.
  public struct Problem: Error {
    public let text: String
  }

  private let address: String
  private let types: [String]
  private let config: String?
  private let svid: String?
  private let key: String?
  private let bundles: [String]
  private let serverID: String?
  private let isDelta: Bool
  private let once: Bool
  /// `$SPIFFE_ENDPOINT_SOCKET`.
  private let workloadAPI: String?

  public init(
    address: String, types: [String], config: String?, svid: String?, key: String?, bundles: [String],
    serverID: String?, isDelta: Bool, once: Bool, workloadAPI: String?
  ) {
    self.address = address
    self.types = types
    self.config = config
    self.svid = svid
    self.key = key
    self.bundles = bundles
    self.serverID = serverID
    self.isDelta = isDelta
    self.once = once
    self.workloadAPI = workloadAPI
  }

  public func resolved() -> Result<SubscribeCommand, Problem> {
    do throws(Problem) {
      return .success(try command())
    } catch {
      return .failure(error)
    }
  }

  private func command() throws(Problem) -> SubscribeCommand {
    guard let endpoint = Endpoint(address) else { throw Problem(text: "'\(address)' is not host:port") }
    guard !types.isEmpty else { throw Problem(text: "name at least one --type") }
    return SubscribeCommand(
      endpoint: endpoint, typeURLs: try types.map(SubscribeRequest.typeURL),
      credentials: try credentials(), server: try serverPattern(),
      dialect: isDelta ? .delta : .stateOfTheWorld, once: once, node: "meshrelay-subscribe")
  }

  /// A type URL is sent as it is; `group/Kind` is asked for in the version we prefer.
  private static func typeURL(_ text: String) throws(Problem) -> String {
    if TypeURL(parsing: text) != nil { return text }
    guard let type = TypeName(parsing: text) else {
      throw Problem(text: "'\(text)' is neither group/version/Kind nor group/Kind")
    }
    guard let kind = Kinds[type] else {
      throw Problem(text: "the version of '\(text)' is not known here; give it as group/version/Kind")
    }
    return kind.typeURL.text
  }

  private func serverPattern() throws(Problem) -> SPIFFEPattern? {
    guard let serverID else { return nil }
    do throws(SPIFFEError) { return try SPIFFEPattern(parsing: serverID) } catch {
      throw Problem(text: "--server-id: \(error)")
    }
  }

  private func credentials() throws(Problem) -> Credentials {
    // From here on a key is at hand: no core dump has it.
    _ = linux_set_dumpable(0)
    if let config { return try configuredCredentials(config) }
    guard let svid, let key, !bundles.isEmpty else {
      throw Problem(text: "give --config, or all of --svid, --key and --bundle TRUST-DOMAIN=FILE")
    }
    return try load(
      FileIdentity(svid: svid, key: key, bundles: try bundles.map(SubscribeRequest.bundle)))
  }

  private func load(_ files: FileIdentity) throws(Problem) -> Credentials {
    do throws(IdentityError) { return try files.load(at: wallClock()) } catch {
      throw Problem(text: "\(error)")
    }
  }

  private func configuredCredentials(_ path: String) throws(Problem) -> Credentials {
    let loaded = RelayConfiguration.load(path: path)
    guard let configuration = loaded.configuration else {
      throw Problem(text: loaded.problems.map(\.description).joined(separator: "\n"))
    }
    let bundles = configuration.identity.bundles.map { ($0.trustDomain, $0.path) }
    switch configuration.identity.source {
    case .files(let svid, let key):
      guard let key = key.path(credentialsFolder: nil) else {
        throw Problem(text: "the key of \(path) is a systemd credential, which only the service can read")
      }
      return try load(FileIdentity(svid: svid, key: key, bundles: bundles))
    case .workloadAPI(let address, let select):
      return try fetch(address, select, BundleFiles(bundles))
    }
  }

  private func fetch(
    _ address: WorkloadAPIAddress?, _ select: IdentitySettings.SVIDChoice?, _ bundles: BundleFiles
  ) throws(Problem) -> Credentials {
    guard let text = address?.socketLiteral ?? workloadAPI else {
      throw Problem(text: "the identity comes from the Workload API, and $SPIFFE_ENDPOINT_SOCKET is not set")
    }
    // The environment's form differs from a socket's in one word.
    let literal = text.hasPrefix("tcp://") ? String(text.dropFirst("tcp://".count)) : text
    guard let endpoint = SocketAddress(literal: literal) else {
      throw Problem(text: "$SPIFFE_ENDPOINT_SOCKET '\(text)' is neither unix:///path nor tcp://IP:PORT")
    }
    do throws(WorkloadFetch.Failure) {
      return try WorkloadFetch(endpoint, select.map(SVIDChoice.init), bundles).run()
    } catch {
      throw Problem(text: error.text)
    }
  }

  private static func bundle(_ text: String) throws(Problem) -> (TrustDomain, String) {
    let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { throw Problem(text: "--bundle '\(text)' is not TRUST-DOMAIN=FILE") }
    do throws(SPIFFEError) { return (try TrustDomain(parts[0]), parts[1]) } catch {
      throw Problem(text: "--bundle '\(text)': \(error)")
    }
  }
}
