// Arguments of the commands that ask a running relay over its admin address.

import Admin
public import ArgumentParser
import Console

struct Status: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows a running relay.", discussion: "Exit code 69: the relay cannot be reached.")

  @OptionGroup var relay: AdminOption
  @Flag(name: .long, help: "Print the relay's /status unchanged.") var json = false
  @Flag(name: .long, help: "Show it again every two seconds.") var watch = false

  func run() throws {
    try finish(StatusCommand(address: relay.admin, json: json, watch: watch).run())
  }
}

struct Dump: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows what an identity is served now.",
    discussion: """
      Exit code 0: this is it, maybe nothing; 1: it is served nothing, because it is blocked; 64: it has no cluster, or the \
      type is not group/Kind; 69: the relay cannot be reached, or cannot answer now.
      """)

  @OptionGroup var relay: AdminOption
  @Option(name: .customLong("as"), help: ArgumentHelp("The SPIFFE ID to look as.", valueName: "spiffe-id"))
  var identity: String
  @Option(name: .long, help: "Only this type: group/Kind.") var type: String?
  @Option(name: [.customShort("o"), .customLong("output")], help: "json or yaml. Default: json.")
  var output: OutputForm?
  @Flag(name: .long, help: "As -o json.") var json = false

  func validate() throws {
    if json, output == .yaml { throw ValidationError("--json and -o yaml are two forms.") }
  }

  func run() throws {
    try finish(AskCommand(relay.admin, .dump(identity: identity, type: type)).run(as: output ?? .json))
  }
}

extension OutputForm: ExpressibleByArgument {}

struct Explain: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Says whether an identity sees a resource, and which rule decides.",
    discussion: """
      Asks the running relay, or with --config judges from files alone.
      Exit code 0: visible; 1: not; 64: what is asked for cannot be; 69: the relay cannot be reached, or cannot answer
      now.
      """)

  @OptionGroup var relay: AdminOption
  @Option(name: .customLong("as"), help: ArgumentHelp("The SPIFFE ID to look as.", valueName: "spiffe-id"))
  var identity: String
  @Option(
    name: .long,
    help: ArgumentHelp("Judge from this configuration, its policy and its directories.", valueName: "file"))
  var config: String?
  @Flag(name: .long, help: "Print JSON, as without it.") var json = false
  @Argument(help: "group/Kind") var type: String
  @Argument(help: "NAMESPACE/NAME") var name: String

  func run() throws {
    try finish(
      ExplainCommand(
        address: relay.admin, configPath: config, identity: identity, type: type, name: name
      ).run())
  }
}
