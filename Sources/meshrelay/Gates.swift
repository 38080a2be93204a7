// Arguments of the commands that decide which version clusters may have.

import Admin
import ArgumentParser
import Console

struct History: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists the kept versions, newest first.",
    discussion: "VERSION in other commands is one of these hashes, or its first 8 or more digits.")

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
      served again if no other type loses too much. Exit code 1: it is not held, or still is.
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
    abstract: "Shows what would change for an identity, as JSON.",
    discussion: """
      From what it is served now (or --from) to the newest snapshot (or --to), under the policy in force (or \
      --policy). Without options: what gates hold back. Exit code 0: nothing; 1: something.
      """)

  @OptionGroup var relay: AdminOption
  @Option(name: .customLong("as"), help: ArgumentHelp("The SPIFFE ID to look as.", valueName: "spiffe-id"))
  var identity: String
  @Option(name: .long, help: ArgumentHelp("A policy file to judge by instead.", valueName: "file"))
  var policy: String?
  @Option(name: .long, help: ArgumentHelp("A kept version.", valueName: "version")) var from: String?
  @Option(name: .long, help: ArgumentHelp("A kept version.", valueName: "version")) var to: String?

  func run() throws {
    let question = DiffQuestion(identity: identity, from: from, to: to)
    try finish(DiffCommand(relay.admin, question, policyPath: policy).run())
  }
}
