// Goal: no text, as YAML and as a policy, stops the process or takes unbounded time. An unusable policy is a
// list of problems with places, never a policy.
// Method: the input is a policy file; every problem must name a place inside it.

import Documents
import Policy
import Primitives

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let start = unsafe start else { return 0 }
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  let lines = input.count { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") } + 1
  let read = YAML.parse(yaml: input, file: "fuzz.yaml")
  for problem in read.problems {
    precondition(problem.position.line >= 1 && problem.position.column >= 1, "a place is counted from 1")
    precondition(problem.position.line <= lines + 1, "a place beyond the file's end")
  }
  let (rules, problems) = PolicyRules.parse(String(decoding: input, as: UTF8.self), file: "fuzz.yaml")
  precondition(rules != nil || !problems.isEmpty, "refused without a reason")
  return 0
}
