// `meshrelay status`: asks once, or again and again, and prints. Its words on the terminal are the
// table's (StatusTable.swift) or the relay's own JSON.

public import Admin
import FoundationEssentials
import Glibc
import Primitives

public struct StatusCommand: Sendable {
  /// Between two questions of `--watch`.
  public static let interval: Duration = .seconds(2)

  public var address: AdminAddress
  /// Prints `/status` unchanged instead of the table.
  public var json: Bool
  /// Goes on until interrupted, and through a relay that is away for a while.
  public var watch: Bool

  public init(address: AdminAddress = .standard, json: Bool = false, watch: Bool = false) {
    self.address = address
    self.json = json
    self.watch = watch
  }

  /// Returns the exit code: 0, or 69 when the relay cannot be reached.
  public func run() -> Int32 {
    guard watch else { return once() }
    while true {
      // Clears the screen and goes home; a script that reads JSON gets one document a line instead.
      if !json { printText("\u{1B}[2J\u{1B}[H") }
      _ = once()
      var pause = timespec(tv_sec: Int(StatusCommand.interval.components.seconds), tv_nsec: 0)
      unsafe nanosleep(&pause, nil)
    }
  }

  private func once() -> Int32 {
    do throws(AdminClientError) {
      let body = try AdminClient(address).body(of: .status)
      if json {
        printText(String(decoding: body, as: UTF8.self) + "\n")
        return 0
      }
      printText(try table(of: body))
      return 0
    } catch {
      printError("meshrelay status: \(error)\n")
      return error.exitCode
    }
  }

  private func table(of body: [UInt8]) throws(AdminClientError) -> String {
    do {
      return statusTable(try JSONDecoder().decode(RelayStatus.self, from: Data(body)), now: wallClock())
    } catch {
      throw .noAnswer(address, reason: "its status is of another version than this program; try --json")
    }
  }
}

func wallClock() -> Timestamp {
  var time = timespec()
  unsafe clock_gettime(CLOCK_REALTIME, &time)
  return Timestamp(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
}
