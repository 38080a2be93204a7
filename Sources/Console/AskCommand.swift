// The commands that ask a running relay one thing and print its answer: `dump`, `explain`.

public import Admin
import FoundationEssentials

public struct AskCommand: Sendable {
  private let address: AdminAddress
  private let request: AdminRequest

  public init(_ address: AdminAddress, _ request: AdminRequest) {
    self.address = address
    self.request = request
  }

  /// Prints the answer as it is; returns the exit code.
  public func run() -> Int32 {
    answer { body in
      printText(String(decoding: body, as: UTF8.self) + "\n")
      return 0
    }
  }

  /// As `run`, and exit code 1 when the answer says that the resource is not visible.
  public func runExplain() -> Int32 {
    struct Verdict: Decodable { let visible: Bool }
    return answer { body in
      printText(String(decoding: body, as: UTF8.self) + "\n")
      let verdict = try? JSONDecoder().decode(Verdict.self, from: Data(body))
      return verdict?.visible == true ? 0 : 1
    }
  }

  private func answer(_ use: ([UInt8]) -> Int32) -> Int32 {
    do throws(AdminClientError) {
      return use(try AdminClient(address).body(of: request))
    } catch {
      printError("meshrelay: \(error)\n")
      return error.exitCode
    }
  }
}
