// `meshrelay explain`: asks a running relay, or judges from files alone what an origin with this configuration would
// decide: for a change that is not served yet.

public import Admin
import Configuration
import Documents
import Origins
import Policy
import Primitives
import SPIFFE
import Snapshots

public struct ExplainCommand: Sendable {
  public var address: AdminAddress
  /// Nil: the running relay is asked.
  public var configPath: String?
  public var identity: String
  public var type: String
  public var name: String

  public init(address: AdminAddress, configPath: String?, identity: String, type: String, name: String) {
    self.address = address
    self.configPath = configPath
    self.identity = identity
    self.type = type
    self.name = name
  }

  /// Returns the exit code: 0 visible, 1 not, 69 when the relay cannot be reached.
  public func run() -> Int32 {
    guard let configPath else {
      return AskCommand(address, .explain(identity: identity, type: type, name: name)).runExplain()
    }
    return explain(from: configPath)
  }

  private func explain(from path: String) -> Int32 {
    let loaded = RelayConfiguration.load(path: path)
    guard let configuration = loaded.configuration else { return refuse(loaded.problems) }
    let policy = PolicyRules.load(path: configuration.policyPath)
    guard let rules = policy.rules else { return refuse(policy.problems) }
    guard let typeName = TypeName(parsing: type) else {
      printError("meshrelay explain: '\(type)' is not group/Kind\n")
      return 64
    }
    let id: SPIFFEID
    do throws(SPIFFEError) { id = try SPIFFEID(parsing: identity) } catch {
      printError("meshrelay explain: \(error.description)\n")
      return 64
    }
    let found = find(typeName, in: configuration)
    let answer = rules.explanation(
      of: found.resource, type: typeName, name: name, as: id, absence: found.absence)
    printText(String(decoding: answer.json, as: UTF8.self) + "\n")
    return answer.visible ? 0 : 1
  }

  private func refuse(_ problems: [Problem]) -> Int32 {
    for problem in Problem.sorted(problems) { printError("\(problem)\n") }
    return 1
  }

  /// The object as the first directory that has it says it; or why there is none. Among very many objects the one is
  /// found by its name; only who finds nothing reads everything.
  private func find(
    _ type: TypeName, in configuration: RelayConfiguration
  ) -> (resource: Resource?, absence: String) {
    let word = name.split(separator: "/").last.map(String.init) ?? name
    let found = find(type, in: configuration, mentioning: word)
    return found.resource == nil ? find(type, in: configuration, mentioning: nil) : found
  }

  private func find(
    _ type: TypeName, in configuration: RelayConfiguration, mentioning word: String?
  ) -> (resource: Resource?, absence: String) {
    var absence = "\(type) \(name) is in no directory of this configuration"
    for case (let source, .directory(let path)) in configuration.sources.map({ ($0, $0.kind) }) {
      let report = DirectoryReport.once(
        source: source.name, path: path, limits: configuration.limits, now: wallClock(), mentioning: word)
      // The first look at a directory says everything there is.
      for case .replace(type, let resources) in report.updates.map(\.kind) {
        if let resource = resources.first(where: { $0.wireName == name }) { return (resource, "") }
      }
      if let rejection = report.rejected.first(where: { $0.resource == "\(type) \(name)" }) {
        absence = "It was set aside at \(rejection.place): \(rejection.reason)"
      }
    }
    return (nil, absence)
  }
}
