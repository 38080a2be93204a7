// Goal: changes are gathered while they come, but never longer than the maximum.
// Method: instants by hand, no clock.

import Primitives
import Testing

@testable import Origins

@Suite struct DebounceTests {
  private func milliseconds(_ value: Int64) -> Instant { Instant(nanoseconds: value * 1_000_000) }

  @Test func looksOnceItIsQuiet() {
    var debounce = Debounce(quiet: .milliseconds(100), max: .seconds(1))
    #expect(debounce.noted(at: milliseconds(0)) == milliseconds(100))
    #expect(debounce.noted(at: milliseconds(80)) == milliseconds(180))
  }

  @Test func neverWaitsLongerThanTheMaximum() {
    var debounce = Debounce(quiet: .milliseconds(100), max: .seconds(1))
    for time in stride(from: Int64(0), through: 950, by: 50) { _ = debounce.noted(at: milliseconds(time)) }
    #expect(debounce.noted(at: milliseconds(990)) == milliseconds(1000))
  }

  @Test func beginsAnewAfterALook() {
    var debounce = Debounce(quiet: .milliseconds(100), max: .seconds(1))
    _ = debounce.noted(at: milliseconds(0))
    debounce.fired()
    #expect(debounce.noted(at: milliseconds(5000)) == milliseconds(5100))
  }
}
