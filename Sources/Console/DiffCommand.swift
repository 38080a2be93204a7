// `diff`: what would change for one identity, as JSON.

public import Admin
import Documents
import FoundationEssentials

public struct DiffCommand: Sendable {
  private let address: AdminAddress
  private let question: DiffQuestion
  private let policyPath: String?

  public init(_ address: AdminAddress, _ question: DiffQuestion, policyPath: String?) {
    self.address = address
    self.question = question
    self.policyPath = policyPath
  }

  private struct Answer: Decodable {
    let added: [String]
    let changed: [String]
    let removed: [String]
  }

  /// 0: nothing would change; 1: something would, or the question is refused; 69: no relay.
  public func run() -> Int32 {
    var asked = question
    if let policyPath {
      do throws(Problem) {
        asked.policy = try TextFile.read(policyPath)
      } catch {
        printError("meshrelay: \(error)\n")
        return 1
      }
    }
    do throws(AdminClientError) {
      let body = try AdminClient(address).body(of: .diff(asked))
      printText(String(decoding: body, as: UTF8.self) + "\n")
      let answer = try? JSONDecoder().decode(Answer.self, from: Data(body))
      let isEmpty = answer.map { $0.added.isEmpty && $0.changed.isEmpty && $0.removed.isEmpty }
      return isEmpty == true ? 0 : 1
    } catch {
      printError("meshrelay: \(error)\n")
      return error.exitCode
    }
  }
}
