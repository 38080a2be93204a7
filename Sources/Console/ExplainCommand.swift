// `meshrelay explain`: asks a running relay, or judges from files alone what an origin with this configuration would
// decide: for a change that is not served yet.

public import Admin
import Configuration
import Documents
import Manifests
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

  /// Returns the exit code: 0 visible, 1 not, 64 for a slip in the question, 69 when the relay cannot be reached, or
  /// cannot answer now.
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
    guard let typeName = TypeName(written: type) else {
      printError("meshrelay explain: '\(type)' is not group/Kind\n")
      return 64
    }
    let id: SPIFFEID
    do throws(SPIFFEError) { id = try SPIFFEID(parsing: identity) } catch {
      printError("meshrelay explain: \(error.description)\n")
      return 64
    }
    let found = find(object(typeName), in: configuration)
    let answer = rules.explanation(
      of: found.resource, type: typeName, name: name, as: id, absence: found.absence)
    printText(String(decoding: answer.json, as: UTF8.self) + "\n")
    return answer.visible ? 0 : 1
  }

  private func refuse(_ problems: [Problem]) -> Int32 {
    for problem in Problem.sorted(problems) { printError("\(problem)\n") }
    return 1
  }

  /// The object as the first directory that has it, and may supply it, says it; or why there is none. Among very many
  /// objects only what concerns this one is parsed.
  private func find(
    _ object: ObjectIdentity, in configuration: RelayConfiguration
  ) -> (resource: Resource?, absence: String) {
    var absences: [String] = []
    for case (let source, .directory(let path)) in configuration.sources.map({ ($0, $0.kind) }) {
      let report = DirectoryReport.once(
        source: source.name, path: path, limits: configuration.limits, now: wallClock(), about: object)
      if let fault = report.fault { absences.append("\(fault)") }
      // The first look at a directory says everything there is.
      let resources = report.updates.flatMap { update in
        if case .replace(object.type, let resources) = update.kind { resources } else { [Resource]() }
      }
      if let resource = resources.first(where: { $0.wireName == name }) {
        if source.only.admits(type: "\(object.type)", namespace: resource.namespace) { return (resource, "") }
        absences.append("the source \(source.name) has it and may not supply it (`only`)")
      }
      absences += report.rejected.compactMap { absence(by: $0, of: object) }
    }
    guard absences.isEmpty else {
      return (nil, "\(object) is not there: \(absences.joined(separator: "; "))")
    }
    let slip = ObjectSlip.clause(type: object.type, namespace: object.namespace, name: object.name)
    return (nil, "\(object) is in no directory of this configuration" + slip + elsewhere(configuration))
  }

  /// What is not looked into here.
  private func elsewhere(_ configuration: RelayConfiguration) -> String {
    let upstreams = configuration.upstreamNames
    guard !upstreams.isEmpty else { return "" }
    return
      ". What \(upstreams.joined(separator: ", ")) may send is not in files: ask the running relay, without --config"
  }

  private func object(_ type: TypeName) -> ObjectIdentity {
    let parts = name.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    return ObjectIdentity(
      type: type, namespace: parts.count == 2 ? parts[0] : "", name: parts.last ?? "")
  }

  /// What a document that was set aside has to do with an object that is not there.
  private func absence(by rejection: Rejection, of object: ObjectIdentity) -> String? {
    let told = "at \(rejection.place): \(rejection.reason)"
    if rejection.resource == "\(object)" { return "it was set aside \(told)" }
    // It holds the object's names, and nobody can tell whose they are.
    return rejection.resource.isEmpty ? "it may be meant by what was set aside \(told)" : nil
  }
}
