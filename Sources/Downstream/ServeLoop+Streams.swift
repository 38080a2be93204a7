// Questions that one loop cannot answer alone: what the streams of an identity hold, on whichever loops they are.
// Asked of the control loop, which asks them all.

import Primitives
import SPIFFE

extension ServeLoop {
  /// Calls `then` with the streams of all loops, or with nil when the question could not be asked.
  func askForStreams(
    of id: SPIFFEID, _ query: ClientStatusQuery, _ then: @escaping ([StreamDescription]?) -> Void
  ) {
    let ticket = nextStreamTicket
    nextStreamTicket += 1
    streamQuestions[ticket] = then
    if !crossings.reports.push(.wantsStreams(loop: index, ticket: ticket, of: id, query)) {
      streamQuestions.removeValue(forKey: ticket)
      then(nil)
    }
  }
}
