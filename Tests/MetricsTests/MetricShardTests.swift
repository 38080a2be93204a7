// Goal: each series has its own cell. Method: every counter is raised by its own amount, then all are read.

import Primitives
import Testing

@testable import Metrics

struct MetricShardTests {
  @Test func everyCounterHasItsOwnSlot() {
    #expect(Counter.all.map(\.slot) == Array(0..<MetricShard.counterSlots))
    let shard = MetricShard()
    for (index, counter) in Counter.all.enumerated() { shard.add(index + 1, to: counter) }
    for (index, counter) in Counter.all.enumerated() {
      #expect(shard.value(of: counter) == UInt64(index + 1))
    }
  }

  @Test func tablesFitTheirStorage() {
    #expect(Gauge.allCases.map(\.rawValue) == Array(0..<MetricShard.gaugeSlots))
    #expect(Histogram.allCases.map(\.rawValue) == Array(0..<MetricShard.histogramSlots))
    #expect(MetricShard.histogramStride == MetricShard.bounds.count + 2)
    #expect(MetricShard.bounds == MetricShard.bounds.sorted())
  }

  @Test func histogramsDoNotShareCells() {
    let shard = MetricShard()
    shard.record(.seconds(100), in: .push)
    shard.record(.zero, in: .propagation)
    #expect(shard.value(of: .push).buckets.last == 1)
    #expect(shard.value(of: .push).buckets.first == 0)
    #expect(shard.value(of: .propagation).buckets.first == 1)
    #expect(shard.value(of: .propagation).sum == 0)
  }

  @Test(arguments: [(-0.5, 0.0), (0.5, 0.5), (2.0, 1.0), (Double.nan, 0.0), (Double.infinity, 1.0)])
  func busyStaysBetweenZeroAndOne(given: Double, kept: Double) {
    let shard = MetricShard()
    shard.setBusy(fraction: given)
    #expect(shard.busyFraction == kept)
  }
}
