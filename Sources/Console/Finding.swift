// One line of what `check` and `policy test` have to say about files.

import Documents
import Primitives

struct Finding {
  let place: String
  let message: String
  let isError: Bool

  init(place: String, message: String, isError: Bool) {
    self.place = place
    self.message = message
    self.isError = isError
  }

  init(_ problem: Problem) {
    let message = [problem.what, problem.why, problem.howToFix].filter { !$0.isEmpty }
    self.init(
      place: "\(problem.position)", message: message.joined(separator: ", "),
      isError: problem.severity == .error)
  }

  var text: String { "\(place): \(isError ? "" : "warning: ")\(message)" }

  func write(to array: inout JSONWriter) {
    array.object { entry in
      entry.field("place", place)
      entry.field("severity", isError ? "error" : "warning")
      entry.field("message", message)
    }
  }
}
