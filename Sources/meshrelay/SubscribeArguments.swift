// Arguments of `subscribe` and of the commands below `policy`, which need no running relay of ours.

import ArgumentParser
import Console
import Relay

struct Subscribe: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Subscribes like a cluster would and prints one JSON line for each response.",
    discussion: "The identity comes from what --config says, or from --svid, --key and --bundle.")

  @Argument(help: ArgumentHelp("host:port of an ADS server.", valueName: "address")) var address: String
  @Option(name: .long, help: "Type URL (group/version/Kind), or group/Kind. May be repeated.") var type:
    [String]
  @Option(name: .long, help: "Take the identity of this configuration file.") var config: String?
  @Option(name: .long, help: "Certificate chain (PEM, leaf first).") var svid: String?
  @Option(name: .long, help: "Private key (PEM).") var key: String?
  @Option(name: .long, help: ArgumentHelp("Trust bundle. May be repeated.", valueName: "trust-domain=file"))
  var bundle: [String] = []
  @Option(name: .long, help: "Who must answer: a SPIFFE ID, or PATTERN/*. Default: any verified identity.")
  var serverID: String?
  @Flag(name: .long, help: "Speak the delta dialect.") var delta = false
  @Flag(name: .long, help: "End when each type was answered.") var once = false

  func run() throws {
    let request = SubscribeRequest(
      address: address, types: type, config: config, svid: svid, key: key, bundles: bundle,
      serverID: serverID, isDelta: delta, once: once, workloadAPI: HostEnvironment.workloadAPI)
    switch request.resolved() {
    case .success(let command): try finish(command.run())
    case .failure(let problem): throw ValidationError(problem.text)
    }
  }
}

struct Policy: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Works on policy files.", subcommands: [Test.self, Union.self])

  struct Test: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Runs the expectations written in policy files.",
      discussion: "Exit code 0: all hold; 1: problems or failed expectations.")

    @Argument(help: "Policy files or folders, judged together.") var files: [String]
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() throws { try finish(PolicyTestCommand(files: files, json: json).run()) }
  }

  struct Union: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints what the tier above must grant for the clusters of these policy files.",
      discussion: "Exit code 1: the files have problems.")

    @Argument(help: "Policy files or folders, read together.") var files: [String]
    @Flag(name: .long, help: "Print it as JSON.") var json = false

    func run() throws { try finish(PolicyUnionCommand(files: files, json: json).run()) }
  }
}
