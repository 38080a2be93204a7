// Goal: dates survive the round trip through RFC 3339 and bad ones are refused. Method: tables.

import Primitives
import Testing

struct TimestampTests {
  @Test(arguments: [
    ("1970-01-01T00:00:00Z", 0, 0), ("2023-11-14T22:13:20Z", 1_700_000_000, 0),
    ("2000-02-29T12:00:00.5Z", 951_825_600, 500_000_000), ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
  ])
  func roundTrips(_ text: String, _ seconds: Int64, _ nanoseconds: Int32) throws {
    let timestamp = try #require(Timestamp(rfc3339: text))
    #expect(timestamp == Timestamp(seconds: seconds, nanoseconds: nanoseconds))
    #expect(timestamp.rfc3339 == text)
  }

  @Test(arguments: [Int64.min, Int64.min + 86_398, -1, Int64.max])
  func everyMomentHasText(_ seconds: Int64) {
    // Beyond four digits of year the text is no RFC 3339, but peers may send such a time and must not stop us.
    #expect(Timestamp(seconds: seconds).rfc3339.hasSuffix("Z"))
  }

  @Test func readsOffsets() {
    #expect(Timestamp(rfc3339: "1970-01-01T02:00:00+02:00") == Timestamp(seconds: 0))
  }

  @Test(arguments: [
    "", "2023", "2023-02-30T00:00:00Z", "2023-01-01T00:00:00", "2023-01-01T25:00:00Z",
    "2023-01-01T00:00:00.Z", "2023-01-01T00:00:00Zx",
  ])
  func refuses(_ text: String) {
    #expect(Timestamp(rfc3339: text) == nil)
  }
}
