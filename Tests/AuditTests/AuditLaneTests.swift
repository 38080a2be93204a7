// Goal: a lane hands over in order, tells how far its records are written, and is bounded. Method: plain calls.

import Audit
import Primitives
import Synchronization
import Testing

struct AuditLaneTests {
  private func batch(_ records: Int) -> AuditBatch {
    var batch = AuditBatch()
    for _ in 0..<records {
      batch.append(AuditRecord(.ack, reason: String(repeating: "x", count: 100)), at: noon)
    }
    return batch
  }

  @Test func whatIsHandedIsTakenAndCommitted() {
    let rings = Atomic<Int>(0)
    let wakes = Atomic<Int>(0)
    let lane = AuditLane(bytesSoft: 10_000) { rings.add(1, ordering: .relaxed) }
    lane.attach { wakes.add(1, ordering: .relaxed) }
    #expect(lane.take() == nil, "nothing waits")
    #expect(lane.hand(batch(2)))
    #expect(lane.hand(batch(3)))
    #expect(lane.hand(AuditBatch()))
    #expect(rings.load(ordering: .relaxed) == 2)
    let load = lane.take()
    #expect(load?.batch.count == 5 && load?.upTo == 5 && load?.lost == 0)
    #expect(lane.committed == 0)
    lane.commit(upTo: 5)
    #expect(lane.committed == 5 && wakes.load(ordering: .relaxed) == 1)
    #expect(lane.take() == nil, "nothing waits")
  }

  @Test func aFullLaneSaysSoAndCountsWhatItLoses() {
    let lane = AuditLane(bytesSoft: 1000) {}
    #expect(!lane.isFull)
    lane.hand(batch(10))
    #expect(lane.isFull)
    // Answers to what was begun still fit.
    #expect(lane.hand(batch(10)))
    #expect(!lane.hand(batch(20)))
    #expect(lane.hand(batch(1)))
    let load = lane.take()
    #expect(load?.batch.count == 21 && load?.upTo == 41 && load?.lost == 20)
    lane.commit(upTo: 41)
    #expect(!lane.isFull && lane.committed == 41)
  }
}
