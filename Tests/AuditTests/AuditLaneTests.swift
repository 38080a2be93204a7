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
    #expect(rings.load(ordering: .relaxed) == 2)
    // A publication leaves it to the deliveries to tell the writer, or tells it afterwards.
    lane.hand(batch(1), brief: { batch(1) }, sequence: 1)
    #expect(rings.load(ordering: .relaxed) == 2)
    lane.tell()
    #expect(rings.load(ordering: .relaxed) == 3)
    let load = lane.take()
    #expect(load?.batch.count == 6 && load?.upTo == 6 && load?.lost == 0 && load?.isAwaited == true)
    #expect(lane.committed == 0)
    lane.commit(upTo: 6)
    #expect(lane.committed == 6 && wakes.load(ordering: .relaxed) == 1)
    #expect(lane.take() == nil, "nothing waits")
    lane.tell()
    #expect(rings.load(ordering: .relaxed) == 3, "the writer has taken all there is")
    // What nobody waits for wakes nobody.
    var idle = batch(1)
    #expect(lane.hand(&idle, isAwaited: false))
    let later = lane.take()
    #expect(later?.isAwaited == false)
    lane.commit(upTo: 7, isAwaited: false)
    #expect(lane.committed == 7 && wakes.load(ordering: .relaxed) == 1)
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

  @Test func publicationsLoseTheirNamesFirstAndAreNamedWhenLost() {
    let lane = AuditLane(bytesSoft: 1000) {}
    let record = batch(1).byteCount
    // Half of what may wait is for records with names.
    for sequence in 1...UInt64(60) {
      lane.hand(batch(2), brief: { batch(1) }, sequence: sequence)
    }
    let whole = 2000 / (2 * record)
    let brief = (4000 - whole * 2 * record) / record
    let load = lane.take()
    #expect(load?.batch.count == 2 * whole + brief)
    let kept = UInt64(whole + brief)
    #expect(load?.publications == Publications(count: 2 * whole + brief, first: 1, last: kept))
    #expect(load?.missed == Publications(count: 60 - Int(kept), first: kept + 1, last: 60))
    #expect(load?.lost == 60 - Int(kept))
    lane.commit(upTo: load?.upTo ?? 0)
    // There is room again.
    lane.hand(batch(2), brief: { batch(1) }, sequence: 61)
    let later = lane.take()
    #expect(later?.batch.count == 2 && later?.missed == nil)
    #expect(later?.publications == Publications(count: 2, first: 61, last: 61))
  }
}
