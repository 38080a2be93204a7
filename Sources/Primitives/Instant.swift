// Monotonic time and wall-clock time, as two types that cannot be mixed.
//
// Protocol cores never read a clock: `Instant` values are handed to them, so the simulator can run
// years in a second. Wall-clock time (`Timestamp`) appears only where a document or certificate
// carries a date.

/// A point on the monotonic clock, in nanoseconds since an arbitrary start (CLOCK_MONOTONIC).
public struct Instant: Hashable, Comparable, Sendable {
  /// Nanoseconds since the clock's start; never negative on Linux.
  public var nanoseconds: Int64

  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// Later than any deadline that will ever be set.
  public static let distantFuture = Instant(nanoseconds: .max)

  public static func < (left: Instant, right: Instant) -> Bool {
    left.nanoseconds < right.nanoseconds
  }

  /// Saturates at `distantFuture` instead of trapping.
  public static func + (left: Instant, right: Duration) -> Instant {
    let (sum, overflow) = left.nanoseconds.addingReportingOverflow(right.inNanoseconds)
    return Instant(nanoseconds: overflow ? .max : sum)
  }

  /// The time from `right` to `left`; negative when `left` is earlier.
  public static func - (left: Instant, right: Instant) -> Duration {
    let (difference, overflow) = left.nanoseconds.subtractingReportingOverflow(right.nanoseconds)
    return .nanoseconds(overflow ? .max : difference)
  }
}

extension Duration {
  /// The whole duration in nanoseconds, saturated to the range of `Int64` (about ±292 years).
  public var inNanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    guard !overflow else { return seconds < 0 ? .min : .max }
    let (sum, carried) = product.addingReportingOverflow(attoseconds / 1_000_000_000)
    guard !carried else { return seconds < 0 ? .min : .max }
    return sum
  }

  /// Seconds with fraction, for metrics and logs.
  public var inSeconds: Double { Double(inNanoseconds) / 1e9 }
}

/// A moment on the wall clock (UTC), as `google.protobuf.Timestamp` has it.
public struct Timestamp: Hashable, Comparable, Sendable {
  /// Seconds since 1970-01-01T00:00:00Z; may be negative.
  public var seconds: Int64
  /// 0 ≤ nanoseconds < 1,000,000,000.
  public var nanoseconds: Int32

  public init(seconds: Int64, nanoseconds: Int32 = 0) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }

  public static func < (left: Timestamp, right: Timestamp) -> Bool {
    (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
  }

  /// Milliseconds since 1970, saturated.
  public var milliseconds: Int64 {
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
    guard !overflow else { return seconds < 0 ? .min : .max }
    return product + Int64(nanoseconds) / 1_000_000
  }

  public init(milliseconds: Int64) {
    var seconds = milliseconds / 1000
    var rest = milliseconds % 1000
    if rest < 0 {
      seconds -= 1
      rest += 1000
    }
    self.init(seconds: seconds, nanoseconds: Int32(rest * 1_000_000))
  }

  /// RFC 3339 in UTC, with a fraction only when there is one: `2026-11-23T17:00:00.25Z`.
  public var rfc3339: String {
    // Rounded down by the sign of the remainder: subtracting first would overflow at the earliest moment.
    let (wholeDays, remainder) = seconds.quotientAndRemainder(dividingBy: 86_400)
    let days = remainder < 0 ? wholeDays - 1 : wholeDays
    let rest = remainder < 0 ? remainder + 86_400 : remainder
    let (year, month, day) = Timestamp.civil(fromDays: days)
    func padded(_ value: Int64, _ width: Int) -> String {
      let digits = String(value)
      return digits.utf8.count >= width
        ? digits : String(repeating: "0", count: width - digits.utf8.count) + digits
    }
    var text =
      "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T"
      + "\(padded(rest / 3600, 2)):\(padded(rest / 60 % 60, 2)):\(padded(rest % 60, 2))"
    if nanoseconds != 0 {
      var fraction = padded(Int64(nanoseconds), 9)
      while fraction.hasSuffix("0") { fraction.removeLast() }
      text += "." + fraction
    }
    return text + "Z"
  }

  /// Reads RFC 3339 (`2026-11-23T17:00:00Z`, with fraction or offset); nil when it is anything else.
  public init?(rfc3339 text: String) {
    let bytes = Array(text.utf8)
    func number(_ from: Int, _ count: Int) -> Int64? {
      guard from + count <= bytes.count else { return nil }
      var value: Int64 = 0
      for byte in bytes[from..<from + count] {
        guard (48...57).contains(byte) else { return nil }
        value = value * 10 + Int64(byte - 48)
      }
      return value
    }
    func byte(_ at: Int) -> UInt8 { at < bytes.count ? bytes[at] : 0 }
    guard let year = number(0, 4), byte(4) == UInt8(ascii: "-"), let month = number(5, 2),
      byte(7) == UInt8(ascii: "-"), let day = number(8, 2),
      byte(10) == UInt8(ascii: "T") || byte(10) == UInt8(ascii: "t") || byte(10) == UInt8(ascii: " "),
      let hour = number(11, 2), byte(13) == UInt8(ascii: ":"), let minute = number(14, 2),
      byte(16) == UInt8(ascii: ":"), let second = number(17, 2)
    else { return nil }
    guard (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 61
    else { return nil }
    var position = 19
    var nanoseconds: Int64 = 0
    if byte(position) == UInt8(ascii: ".") {
      position += 1
      var scale: Int64 = 100_000_000
      let start = position
      while (48...57).contains(byte(position)) {
        nanoseconds += Int64(byte(position) - 48) * scale
        scale /= 10
        position += 1
      }
      guard position > start, position - start <= 9 else { return nil }
    }
    var offset: Int64 = 0
    switch byte(position) {
    case UInt8(ascii: "Z"), UInt8(ascii: "z"):
      position += 1
    case UInt8(ascii: "+"), UInt8(ascii: "-"):
      guard let hours = number(position + 1, 2), byte(position + 3) == UInt8(ascii: ":"),
        let minutes = number(position + 4, 2), hours < 24, minutes < 60
      else { return nil }
      offset = (hours * 3600 + minutes * 60) * (byte(position) == UInt8(ascii: "-") ? -1 : 1)
      position += 6
    default:
      return nil
    }
    guard position == bytes.count else { return nil }
    let days = Timestamp.days(year: year, month: month, day: day)
    let (_, back, sameDay) = Timestamp.civil(fromDays: days)
    guard back == month, sameDay == day else { return nil }
    self.init(
      seconds: days * 86_400 + hour * 3600 + minute * 60 + second - offset,
      nanoseconds: Int32(nanoseconds))
  }

  /// Days since 1970-01-01 of a proleptic Gregorian date.
  private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }

  private static func civil(fromDays days: Int64) -> (Int64, Int64, Int64) {
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthIndex = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
    let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }
}
