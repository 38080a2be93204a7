// Arguments of the commands that decide which version clusters may have.

import Admin
import ArgumentParser
import Console

struct History: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists the kept versions, newest first.",
    discussion: """
      VERSION in other commands is one of these hashes, or its first 8 or more digits. Exit code 69: the relay cannot \
      be reached, or cannot answer now.
      """)

  @OptionGroup var relay: AdminOption
  @Flag(name: .long, help: "Print the relay's answer unchanged.") var json = false

  func run() throws { try finish(HistoryCommand(relay.admin, json: json).run()) }
}

/// What every command on the gates takes.
struct GateOption: ParsableArguments {
  @OptionGroup var relay: AdminOption
  @Flag(name: .long, help: "Print the relay's answer unchanged.") var json = false

  func carryOut(_ command: AdminCommand) throws {
    try finish(GateCommandLine(relay.admin, command, json: json).run())
  }
}

struct Rollback: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Serves a kept version, until `thaw`.",
    discussion: """
      What policy grants now is what clients see of it. Without --cluster it is for every cluster that is not \
      pinned. VERSION: see `history`.
      """)

  @OptionGroup var gate: GateOption
  @Argument(help: "A snapshot hash, or its first 8 or more digits.") var version: String
  @Option(name: .long, help: "Only this cluster.") var cluster: String?

  func run() throws { try gate.carryOut(.rollback(version: version, cluster: cluster)) }
}

struct Pin: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Keeps a cluster at a kept version, until `unpin`.",
    discussion: "A pin stays through `rollback`, `freeze` and `thaw` of all.")

  @OptionGroup var gate: GateOption
  @Argument(help: "A cluster of the policy.") var cluster: String
  @Argument(help: "A snapshot hash, or its first 8 or more digits.") var version: String

  func run() throws { try gate.carryOut(.pin(cluster: cluster, version: version)) }
}

struct Unpin: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Ends a pin.",
    discussion: "Exit code 1: the brake holds the cluster, because too much would go; see `release`.")

  @OptionGroup var gate: GateOption
  @Argument(help: "A cluster of the policy.") var cluster: String

  func run() throws { try gate.carryOut(.unpin(cluster: cluster)) }
}

struct Freeze: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Keeps what is served now, for one cluster or all, until `thaw`.",
    discussion: "Grants that end are still taken away. `status` counts what is held back.")

  @OptionGroup var gate: GateOption
  @Argument(help: "A cluster of the policy; every one without it.") var cluster: String?

  func run() throws { try gate.carryOut(.freeze(cluster: cluster)) }
}

struct Thaw: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Ends a freeze or a rollback, for one cluster or all.",
    discussion: "Exit code 1: the brake holds a cluster, because too much would go; see `release`.")

  @OptionGroup var gate: GateOption
  @Argument(help: "A cluster of the policy; every one without it.") var cluster: String?

  func run() throws { try gate.carryOut(.thaw(cluster: cluster)) }
}

struct Release: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lets pass what the brake holds back.",
    discussion: """
      Every tier below lets it pass, too. With TYPE only the removals of that type are let pass: the cluster is \
      served again if no other type loses too much. Exit code 1: it is not held, not because of TYPE, or still is.
      """)

  @OptionGroup var gate: GateOption
  @Argument(help: "A cluster that the brake holds.") var cluster: String
  @Argument(help: "group/Kind") var type: String?

  func run() throws { try gate.carryOut(.release(cluster: cluster, type: type)) }
}

struct Adopt: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Takes over what a source offers, although it is older, of another origin, or empty.",
    discussion: """
      For a source that `status` shows as behind or, because it turned empty, as failed. What it removes is judged \
      by the brake.
      """)

  @OptionGroup var gate: GateOption
  @Argument(help: "A source of the configuration.") var source: String

  func run() throws { try gate.carryOut(.adopt(source: source)) }
}

struct Diff: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows what would change for one cluster or all, as JSON.",
    discussion: """
      From what is served now (or --from) to the newest snapshot (or --to), under the policy in force (or --policy, or \
      --shadow). Without options: what gates hold back. With --config from files alone: from the configured policy and \
      directories to --policy and --manifests. Exit code 0: nothing; 1: something, or problems; \
      64: there is no such identity, cluster or version; 69: the relay cannot be reached, or cannot answer now.
      """)

  @OptionGroup var relay: AdminOption
  @Option(name: .customLong("as"), help: ArgumentHelp("The SPIFFE ID to look as.", valueName: "spiffe-id"))
  var identity: String?
  @Option(name: .long, help: ArgumentHelp("A cluster of the policy.", valueName: "name")) var cluster: String?
  @Flag(name: .long, help: "Every cluster.") var all = false
  @Option(name: .long, help: ArgumentHelp("A policy file or folder to judge by instead.", valueName: "path"))
  var policy: String?
  @Flag(name: .long, help: "Judge by the shadow policy.") var shadow = false
  @Flag(name: .long, help: "Print JSON, as without it.") var json = false
  @Option(
    name: .long,
    help: ArgumentHelp("Compare files alone, those of this configuration.", valueName: "file"))
  var config: String?
  @Option(
    name: .long,
    help: ArgumentHelp(
      "With --config: an edited folder of manifests, or SOURCE=FOLDER. May be repeated.", valueName: "folder")
  )
  var manifests: [String] = []
  @Option(name: .long, help: ArgumentHelp("A kept version.", valueName: "version")) var from: String?
  @Option(name: .long, help: ArgumentHelp("A kept version.", valueName: "version")) var to: String?

  func validate() throws {
    guard [identity != nil, cluster != nil, all].count(where: { $0 }) == 1 else {
      throw ValidationError("Say for whom: one of --as, --cluster and --all.")
    }
    if shadow, policy != nil { throw ValidationError("--shadow and --policy are two policies.") }
    if config != nil, shadow || from != nil || to != nil {
      throw ValidationError("--shadow, --from and --to ask a running relay; --config compares files.")
    }
    if config == nil, !manifests.isEmpty { throw ValidationError("--manifests needs --config.") }
  }

  func run() throws {
    let subject: DiffQuestion.Subject =
      identity.map { .identity($0) } ?? cluster.map { .cluster($0) } ?? .all
    if let config {
      let command = FileDiffCommand(
        configPath: config, subject: subject, policyPath: policy, manifests: manifests)
      return try finish(command.run())
    }
    let question = DiffQuestion(subject, from: from, to: to, judge: shadow ? .shadow : .enforced)
    try finish(DiffCommand(relay.admin, question, policyPath: policy).run())
  }
}
