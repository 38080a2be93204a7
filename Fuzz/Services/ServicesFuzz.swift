// Goal: no request of the small services stops the process, and each gets an answer or a status. Method: the first
// byte picks the service, the rest is one request; reflection gets the same request twice on one stream.

import GRPC
import Snapshots

@testable import Downstream

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let start = unsafe start, count > 0 else { return 0 }
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  let request = Array(input.dropFirst())
  do throws(GRPCStatus) {
    switch input[0] % 4 {
    case 0: _ = try HealthService.check(request, isReady: true)
    case 1: _ = try HealthService.list(request, isReady: false)
    case 2:
      var stream = ReflectionStream()
      for _ in 0..<2 {
        let answer = try stream.answer(request)
        precondition(!answer.isEmpty, "an answer says something")
      }
    default:
      let query = try ClientStatusQuery(request)
      let streams = ["a", "Sidecar~1"].filter { query.wants($0, request) }.map {
        StreamDescription(nodeID: $0, dialect: "delta", subscriptions: [])
      }
      _ = ClientStatusQuery.response(streams)
    }
  } catch {
    precondition(!error.message.isEmpty, "a refusal says why")
  }
  return 0
}
