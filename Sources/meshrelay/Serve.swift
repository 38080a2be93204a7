import ArgumentParser
import Console
import Relay
import Ring

struct Serve: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs a relay in the foreground.",
    discussion: """
      SIGHUP reads configuration and policy again, SIGTERM drains and ends. Exit code 78: the configuration \
      or policy cannot be used; the reasons are on standard error.
      """)

  @OptionGroup var file: ConfigOption

  @Option(name: .long, help: "The kernel interface to use: io_uring or epoll. Default: io_uring where it can be had.")
  var io: IOChoice?

  enum IOChoice: String, ExpressibleByArgument, CaseIterable {
    case ioURing = "io_uring"
    case epoll

    var driver: DriverKind { self == .ioURing ? .ioURing : .epoll }
  }

  func run() throws {
    try finish(RelayProcess.serve(configPath: file.config, io: io?.driver, version: ProgramVersion.text))
  }
}

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Reads configuration, policy and manifests as `serve` would and prints every problem.",
    discussion: "Needs no identity files. Exit code 0: sound; 1: problems.")

  @OptionGroup var file: ConfigOption

  @Flag(name: .long, help: "Print problems as JSON.") var json = false

  func run() throws { try finish(CheckCommand(configPath: file.config, json: json).run()) }
}
