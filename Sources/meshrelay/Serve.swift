// Arguments of the commands around a configuration file: the two that run a process with it, and `check`.

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

  @OptionGroup var kernel: IOOption

  func run() throws {
    try finish(RelayProcess.serve(configPath: file.config, io: kernel.driver, version: ProgramVersion.text))
  }
}

struct Connect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Runs the companion beside istiod in the foreground.",
    discussion: """
      Follows one relay with this host's SPIFFE identity and serves what that is granted, in plaintext, on one \
      loopback address: default 127.0.0.1:15051. Signals and exit codes are those of serve.
      """)

  @OptionGroup var file: ConfigOption
  @OptionGroup var kernel: IOOption

  func run() throws {
    try finish(
      RelayProcess.connect(configPath: file.config, io: kernel.driver, version: ProgramVersion.text))
  }
}

/// Which kernel interface the commands that start loops use.
struct IOOption: ParsableArguments {
  @Option(
    name: .long,
    help: "The kernel interface to use: io_uring or epoll. Default: io_uring where it can be had.")
  var io: Choice?

  enum Choice: String, ExpressibleByArgument, CaseIterable {
    case ioURing = "io_uring"
    case epoll
  }

  var driver: DriverKind? {
    switch io {
    case .ioURing: .ioURing
    case .epoll: .epoll
    case nil: nil
    }
  }
}

struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Examines this host, and says of each finding what mends it.",
    discussion: """
      Clock, kernel, configuration, policy, manifests, SVID and how long it lasts, bundles, upstreams, folders, the \
      relay that runs here, istiod's wiring. Changes nothing. Run it as the relay's user: sudo -u meshrelay meshrelay \
      doctor. Exit code 0: nothing is wrong, there may be warnings; 1: problems.
      """)

  @OptionGroup var file: ConfigOption
  @Flag(name: .long, help: "Print JSON.") var json = false

  func run() throws {
    try finish(
      DoctorCommand(configPath: file.config, json: json, workloadAPI: HostEnvironment.workloadAPI).run())
  }
}

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Reads configuration, policy and manifests as `serve` or `connect` would; prints every problem.",
    discussion: "Needs no identity files. Exit code 0: sound; 1: problems.")

  @OptionGroup var file: ConfigOption

  @Flag(name: .long, help: "Print problems as JSON.") var json = false

  func run() throws { try finish(CheckCommand(configPath: file.config, json: json).run()) }
}
