// The numbers of one loop. Only that loop writes, anybody reads: plain relaxed loads and stores, no lock
// and no locked instruction on the hot path. A scrape may see one event's bytes before its count; the
// next scrape sees both.

import Primitives
import Synchronization

/// One per loop. `add`, `change`, `record` and `set…` belong to the thread of that loop alone.
public final class MetricShard: Sendable {
  static let counterSlots = 31
  static let gaugeSlots = 2
  static let histogramSlots = 2
  /// Upper bounds of the buckets, nanoseconds, inclusive; one more bucket takes what is above.
  static let bounds: [UInt64] = [
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000, 250_000_000,
    500_000_000, 1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000, 30_000_000_000, 60_000_000_000,
  ]
  /// Buckets of one histogram, then its sum in nanoseconds.
  static let histogramStride = 17

  private let counters = InlineArray<31, Atomic<UInt64>> { _ in Atomic(0) }
  private let gauges = InlineArray<2, Atomic<Int64>> { _ in Atomic(0) }
  private let histograms = InlineArray<34, Atomic<UInt64>> { _ in Atomic(0) }
  /// Millionths.
  private let busy = Atomic<UInt64>(0)

  public init() {}

  /// `amount` ≥ 0: a counter never falls.
  public func add(_ amount: Int = 1, to counter: Counter) {
    precondition(amount >= 0, "a counter never falls")
    MetricShard.increase(counters[counter.slot], by: UInt64(amount))
  }

  public func change(_ gauge: Gauge, by difference: Int) {
    let sum = gauges[gauge.rawValue].load(ordering: .relaxed) &+ Int64(difference)
    gauges[gauge.rawValue].store(sum, ordering: .relaxed)
  }

  /// A negative duration counts as 0: two hosts' clocks disagree.
  public func record(_ duration: Duration, in histogram: Histogram) {
    let nanoseconds = UInt64(max(0, duration.inNanoseconds))
    let bucket = MetricShard.bounds.firstIndex { nanoseconds <= $0 } ?? MetricShard.bounds.count
    let start = histogram.rawValue * MetricShard.histogramStride
    MetricShard.increase(histograms[start + bucket], by: 1)
    MetricShard.increase(histograms[start + MetricShard.histogramStride - 1], by: nanoseconds)
  }

  /// Share of time the loop was not waiting, 0 … 1.
  public func setBusy(fraction: Double) {
    let bounded = min(max(fraction.isNaN ? 0 : fraction, 0), 1)
    busy.store(UInt64(bounded * 1_000_000), ordering: .relaxed)
  }

  func value(of counter: Counter) -> UInt64 { counters[counter.slot].load(ordering: .relaxed) }
  func value(of gauge: Gauge) -> Int64 { gauges[gauge.rawValue].load(ordering: .relaxed) }
  var busyFraction: Double { Double(busy.load(ordering: .relaxed)) / 1_000_000 }

  /// Counts of each bucket (not cumulative) and the sum in nanoseconds.
  func value(of histogram: Histogram) -> (buckets: [UInt64], sum: UInt64) {
    let start = histogram.rawValue * MetricShard.histogramStride
    let end = start + MetricShard.histogramStride - 1
    return (
      (start..<end).map { histograms[$0].load(ordering: .relaxed) }, histograms[end].load(ordering: .relaxed)
    )
  }

  private static func increase(_ cell: borrowing Atomic<UInt64>, by amount: UInt64) {
    cell.store(cell.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }
}
