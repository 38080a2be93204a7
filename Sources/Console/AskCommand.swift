// The commands that ask a running relay one thing and print its answer: `dump`, `explain`.

public import Admin
import Documents
import FoundationEssentials
import Policy
import Snapshots

/// How an answer is printed.
public enum OutputForm: String, Sendable, CaseIterable {
  /// As the relay gave it.
  case json
  case yaml
}

public struct AskCommand: Sendable {
  private let address: AdminAddress
  private let request: AdminRequest

  public init(_ address: AdminAddress, _ request: AdminRequest) {
    self.address = address
    self.request = request
  }

  /// Prints the answer; returns the exit code.
  public func run(as form: OutputForm = .json) -> Int32 {
    answer { body in
      if body == Array("[]".utf8) { printError(unknownKind) }
      switch form {
      case .json: printText(String(decoding: body, as: UTF8.self) + "\n")
      case .yaml:
        guard let text = YAML.block(json: body) else {
          printError("meshrelay: the relay's answer is no JSON; try -o json\n")
          return 1
        }
        printText(text)
      }
      return 0
    }
  }

  /// Says that the type asked for is most likely misspelt; unknown ones are empty, not wrong.
  private var unknownKind: String {
    guard case .dump(_, let text?) = request, let type = TypeName(written: text), Kinds[type] == nil else {
      return ""
    }
    return "meshrelay dump: there is nothing of \(type)"
      + ObjectSlip.clause(type: type, namespace: "", name: "") + "\n"
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
      return error.questionExitCode
    }
  }
}
