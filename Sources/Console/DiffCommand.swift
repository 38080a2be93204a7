// `diff`: what would change for one cluster or all, as JSON; by a running relay.

public import Admin
import Documents
import FoundationEssentials
import Policy
import Primitives

public struct DiffCommand: Sendable {
  private let address: AdminAddress
  private let question: DiffQuestion
  private let policyPath: String?

  /// `policyPath`: a file or a folder to judge by.
  public init(_ address: AdminAddress, _ question: DiffQuestion, policyPath: String?) {
    self.address = address
    self.question = question
    self.policyPath = policyPath
  }

  private struct Answer: Decodable {
    struct Change: Decodable {}
    let added: [String]?
    let changed: [String]?
    let removed: [String]?
    let changes: [Change]?
    let note: String?

    var isEmpty: Bool {
      [added, changed, removed].allSatisfy { $0?.isEmpty ?? true } && changes?.isEmpty ?? true
    }
  }

  /// 0: nothing would change; 1: something would, or the policy has problems; 64: there is no such identity, cluster or
  /// version; 69: no relay, or it cannot answer now.
  public func run() -> Int32 {
    var asked = question
    if let policyPath {
      let read = PolicyRules.texts(path: policyPath)
      guard read.problems.isEmpty else {
        for problem in read.problems { printError("meshrelay: \(problem)\n") }
        return 1
      }
      asked.judge = .files(read.texts.map { DiffQuestion.File(path: $0.path, content: $0.bytes) })
    }
    do throws(AdminClientError) {
      let body = try AdminClient(address).body(of: .diff(asked))
      printText(String(decoding: body, as: UTF8.self) + "\n")
      let answer = try? JSONDecoder().decode(Answer.self, from: Data(body))
      if let note = answer?.note { printError("meshrelay diff: \(ForeignText.line(note))\n") }
      return answer?.isEmpty == true ? 0 : 1
    } catch {
      printError("meshrelay: \(error)\n")
      return error.questionExitCode
    }
  }
}
