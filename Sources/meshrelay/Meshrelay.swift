// The command line. Argument tables and nothing else: what a command does is in `Relay` and `Console`.

public import Admin
public import ArgumentParser
import Console
import Relay
import Ring

@main
struct Meshrelay: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "meshrelay",
    abstract: "Distributes mesh configuration to clusters by verified SPIFFE identity.",
    discussion: "Configuration: /etc/meshrelay/meshrelay.yaml. Start with `meshrelay check`.",
    version: ProgramVersion.text,
    subcommands: [
      Serve.self, Connect.self, Check.self, Doctor.self, Status.self, Dump.self, Explain.self, History.self,
      Rollback.self, Pin.self, Unpin.self, Freeze.self, Thaw.self, Release.self, Adopt.self, Diff.self,
      Subscribe.self, Policy.self,
      SnapshotCommands.self, AuditCommands.self,
    ])
}

/// Where the configuration file is, for the commands that read it.
struct ConfigOption: ParsableArguments {
  @Option(name: .long, help: ArgumentHelp("The configuration file.", valueName: "file"))
  var config = "/etc/meshrelay/meshrelay.yaml"
}

/// Which relay to ask, for the commands that talk to a running one.
struct AdminOption: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp(
      "The relay's admin address: unix:///PATH or HOST:PORT on loopback.", valueName: "address"))
  var admin = AdminAddress.standard
}

extension AdminAddress: ExpressibleByArgument {
  public init?(argument: String) {
    guard let address = try? AdminAddress(parsing: argument) else { return nil }
    self = address
  }
}

/// Ends the process with a command's exit code.
func finish(_ code: Int32) throws {
  guard code != 0 else { return }
  throw ExitCode(code)
}
