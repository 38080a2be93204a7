// Durations as Go writes them: `100ms`, `1m30s`, `-1.5h`. Source: Go, package time, ParseDuration.

public enum GoDuration {
  /// Nil when `text` is no Go duration or does not fit Go's 64 bits of nanoseconds.
  /// `days` also admits the unit `d` of 24 hours, which Go does not know and retention times want.
  public static func parse(_ text: String, days: Bool = false) -> Duration? {
    var rest = Array(text.utf8)[...]
    let isNegative = rest.first == UInt8(ascii: "-")
    if isNegative || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
    if Array(rest) == [UInt8(ascii: "0")] { return .zero }
    guard !rest.isEmpty else { return nil }
    var total: Int64 = 0
    while !rest.isEmpty {
      guard let part = component(&rest, days: days) else { return nil }
      let (sum, overflow) = total.addingReportingOverflow(part)
      guard !overflow else { return nil }
      total = sum
    }
    return .nanoseconds(isNegative ? -total : total)
  }

  /// A duration of at least zero in its shortest exact form, at most two units: `1m30s`, `100ms`, `30d`.
  public static func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let nanoseconds = attoseconds / 1_000_000_000
    if nanoseconds != 0 {
      let whole = seconds == 0 ? "" : "\(seconds)s"
      let (milliseconds, rest) = nanoseconds.quotientAndRemainder(dividingBy: 1_000_000)
      return whole + (rest == 0 ? "\(milliseconds)ms" : "\(nanoseconds)ns")
    }
    if seconds != 0, seconds.isMultiple(of: 86_400) { return "\(seconds / 86_400)d" }
    if seconds != 0, seconds.isMultiple(of: 3600) { return "\(seconds / 3600)h" }
    guard seconds >= 60 else { return "\(seconds)s" }
    return "\(seconds / 60)m" + (seconds.isMultiple(of: 60) ? "" : "\(seconds % 60)s")
  }

  /// One number with its unit, in nanoseconds.
  private static func component(_ rest: inout ArraySlice<UInt8>, days: Bool) -> Int64? {
    let whole = digits(&rest)
    var fraction: ArraySlice<UInt8> = []
    if rest.first == UInt8(ascii: ".") {
      rest = rest.dropFirst()
      fraction = digits(&rest)
    }
    guard !whole.isEmpty || !fraction.isEmpty, let unit = unit(&rest, days: days) else { return nil }
    var value: Int64 = 0
    for digit in whole {
      let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, overflow2) = tens.addingReportingOverflow(Int64(digit - UInt8(ascii: "0")))
      guard !overflow, !overflow2 else { return nil }
      value = sum
    }
    let (scaled, overflow) = value.multipliedReportingOverflow(by: unit)
    let (sum, overflow2) = scaled.addingReportingOverflow(fractionOf(unit, fraction))
    return overflow || overflow2 ? nil : sum
  }

  /// `0.digits × unit`, rounded down; digits below a nanosecond are dropped as Go does.
  private static func fractionOf(_ unit: Int64, _ digits: ArraySlice<UInt8>) -> Int64 {
    var value: Int64 = 0
    var place: Int64 = 1
    // 14 digits suffice: 10⁻¹⁴ of a day is less than a nanosecond. The quotient is below `unit`, so it fits.
    for digit in digits.prefix(14) {
      value = value * 10 + Int64(digit - UInt8(ascii: "0"))
      place *= 10
    }
    let product = value.multipliedFullWidth(by: unit)
    return place.dividingFullWidth(product).quotient
  }

  private static func digits(_ rest: inout ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
    rest = rest[digits.endIndex...]
    return digits
  }

  /// Nanoseconds of the unit that stands at the start.
  private static func unit(_ rest: inout ArraySlice<UInt8>, days: Bool) -> Int64? {
    let name = rest.prefix {
      $0 != UInt8(ascii: ".") && !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
    }
    rest = rest[name.endIndex...]
    return switch String(decoding: name, as: UTF8.self) {
    case "ns": 1
    // The micro sign, and the Greek letter mu that looks like it.
    case "us", "\u{B5}s", "\u{3BC}s": 1000
    case "ms": 1_000_000
    case "s": 1_000_000_000
    case "m": 60_000_000_000
    case "h": 3_600_000_000_000
    case "d" where days: 86_400_000_000_000
    default: nil
    }
  }
}
