// Arguments of the commands below `snapshot`, which carry a snapshot to a host without a network.

import Admin
import ArgumentParser
import Console

struct SnapshotCommands: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot", abstract: "Carries a snapshot to a host with no network.",
    subcommands: [Export.self, Import.self])

  struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Writes what a relay serves to a file.",
      discussion: """
        Everything it has, or with --as what that identity is served now: for a host that may have no more than \
        its grant. The file is readable by you alone and gets its name once it is whole.
        """)

    @OptionGroup var relay: AdminOption
    @Option(
      name: .customLong("as"),
      help: ArgumentHelp("Only what this SPIFFE ID is served.", valueName: "spiffe-id"))
    var identity: String?
    @Option(
      name: .long,
      help: ArgumentHelp(
        "The `state` folder of a relay that is stopped, instead of a running one.", valueName: "folder"))
    var state: String?
    @Argument(help: "The file to write; one that is there is replaced.") var file: String

    func validate() throws {
      guard state != nil, identity != nil else { return }
      throw ValidationError("--as needs the policy of a running relay; leave --state away.")
    }

    func run() throws {
      let origin = state.map { SnapshotExportCommand.Origin.store(folder: $0) }
      try finish(
        SnapshotExportCommand(from: origin ?? .relay(relay.admin, identity: identity), to: file).run())
    }
  }

  struct Import: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Has a relay serve what a file holds, in place of an upstream that it cannot reach.",
      discussion: """
        The relay checks the file to its last byte before it takes anything, keeps it over restarts (with `state`), \
        and follows the upstream from there when that is reachable again. A file that is older than what is \
        served, or of another origin with an older publication, is refused, unless --adopt is given. Exit code \
        1: refused; or the brake holds what should go; or --dry-run found that something would change.
        """)

    @OptionGroup var relay: AdminOption
    @Option(name: .long, help: "The source that it stands in for; needed when several are upstreams.")
    var source: String?
    @Flag(name: .long, help: "Although it is older than what is served, or of another origin.") var adopt =
      false
    @Flag(name: .long, help: "Only say what would change.") var dryRun = false
    @Flag(name: .long, help: "Print the relay's answer unchanged.") var json = false
    @Argument(help: "A file that `snapshot export` wrote.") var file: String

    func run() throws {
      let terms = ImportTerms(source: source, adopts: adopt, isDryRun: dryRun)
      try finish(SnapshotImportCommand(relay.admin, path: file, terms: terms, json: json).run())
    }
  }
}
