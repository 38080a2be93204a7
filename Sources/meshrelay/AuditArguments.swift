// Arguments of the commands below `audit`, which work on the files of an audit log.

import ArgumentParser
import Console

struct AuditCommands: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit", abstract: "Works on the files of an audit log.",
    subcommands: [Verify.self, Tail.self])

  struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Checks the chain of an audit log and names the first bad line.",
      discussion: """
        Give all files of one log, in any order: audit.jsonl*. Exit code 0: nothing was changed, taken out, put in or \
        moved; 1: something was. Only --head proves that nothing was cut off the end: the journal has the heads.
        """)

    @Argument(help: "The files of one log.") var files: [String]
    @Option(
      name: .long,
      help: ArgumentHelp(
        "A head from the journal or from status that must be in the log. May be repeated.", valueName: "hash")
    )
    var head: [String] = []
    @Option(
      name: .long,
      help: ArgumentHelp(
        "Who may sign: the log must be signed by an SVID of this trust domain. May be repeated.",
        valueName: "trust-domain=file"))
    var bundle: [String] = []
    @Flag(name: .long, help: "Print the verdict as JSON.") var json = false

    func run() throws {
      try finish(AuditVerifyCommand(files: files, heads: head, bundles: bundle, json: json).run())
    }
  }

  struct Tail: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Prints the end of an audit log and what is added to it, through rotations.")

    @Argument(help: "The file that is written now.") var file = "/var/log/meshrelay/audit.jsonl"
    @Option(name: .shortAndLong, help: "How many lines to begin with.") var lines = 10
    @Flag(name: .long, help: "End instead of waiting for more.") var once = false

    func validate() throws {
      guard lines >= 0 else { throw ValidationError("--lines is a number of lines, 0 or more") }
    }

    func run() throws { try finish(AuditTailCommand(path: file, lines: lines, follow: !once).run()) }
  }
}
