// The commands that decide which version clusters may have: one request each, its answer for people or unchanged.

public import Admin
import FoundationEssentials
import Primitives

public struct GateCommandLine: Sendable {
  private let address: AdminAddress
  private let command: AdminCommand
  private let json: Bool

  public init(_ address: AdminAddress, _ command: AdminCommand, json: Bool) {
    self.address = address
    self.command = command
    self.json = json
  }

  /// 0: done; 1: refused, or the brake holds what should go; 69: the relay cannot be reached.
  public func run() -> Int32 {
    do throws(AdminClientError) {
      let body = try AdminClient(address).body(of: .command(command))
      guard let outcome = try? JSONDecoder().decode(CommandOutcome.self, from: Data(body)) else {
        printError("meshrelay: the relay's answer cannot be read: is it of another version?\n")
        return 1
      }
      printText(
        json ? String(decoding: body, as: UTF8.self) + "\n" : ForeignText.line(outcome.message) + "\n")
      if let unsaved = outcome.unsaved {
        printError("meshrelay: not saved, a restart forgets it: \(ForeignText.line(unsaved))\n")
      }
      return outcome.held.isEmpty ? 0 : 1
    } catch {
      printError("meshrelay: \(error)\n")
      return error.exitCode
    }
  }
}

/// `history`: the versions that can be gone back to.
public struct HistoryCommand: Sendable {
  private let address: AdminAddress
  private let json: Bool

  public init(_ address: AdminAddress, json: Bool) {
    self.address = address
    self.json = json
  }

  private struct History: Decodable {
    struct Version: Decodable {
      var version: String
      var savedAt: String
      var resources: Int
      var origin: String
      var sequence: UInt64
      var isCut: Bool
    }
    var kept: String
    var versions: [Version]
  }

  public func run() -> Int32 {
    do throws(AdminClientError) {
      let body = try AdminClient(address).body(of: .history)
      guard !json, let history = try? JSONDecoder().decode(History.self, from: Data(body)) else {
        printText(String(decoding: body, as: UTF8.self) + "\n")
        return 0
      }
      printText(HistoryCommand.table(history))
      return 0
    } catch {
      printError("meshrelay: \(error)\n")
      return error.questionExitCode
    }
  }

  private static func table(_ history: History) -> String {
    var table = TextTable(header: ["VERSION", "SAVED", "ORIGIN", "SEQUENCE", "RESOURCES", ""])
    for (place, version) in history.versions.enumerated() {
      let notes = [place == 0 ? "newest" : nil, version.isCut ? "cut: some of it is no longer granted" : nil]
      table.add(
        String(version.version.prefix(16)), version.savedAt, version.origin, String(version.sequence),
        String(version.resources), notes.compactMap { $0 }.joined(separator: ", "))
    }
    let lines = table.lines() + (history.kept == "memory" ? ["Kept in memory only: `state` is not set"] : [])
    return lines.map(ForeignText.line).map { $0 + "\n" }.joined()
  }
}
