// An HTTP request target: a path and its query, percent-decoded. RFC 9112 §3.2.1 (origin-form),
// RFC 3986 §2.1. '+' stays a plus: this is no HTML form, and SPIFFE IDs are not written with spaces.

struct RequestTarget {
  let path: String
  /// In the order written; a repeated key's first value counts.
  private let query: [(key: String, value: String)]

  /// Leaves out parameters without a value.
  init(path: String, query: [(String, String?)]) {
    self.path = path
    self.query = query.compactMap { key, value in value.map { (key, $0) } }
  }

  /// Nil for anything but `/path[?key=value&…]` with sound percent-encoding and UTF-8.
  init?(_ text: String) {
    guard text.utf8.first == UInt8(ascii: "/") else { return nil }
    let halves = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    guard let path = RequestTarget.decode(halves[0]) else { return nil }
    var query: [(String, String)] = []
    if halves.count == 2 {
      for pair in halves[1].split(separator: "&") {
        let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard let key = RequestTarget.decode(parts[0]),
          let value = parts.count == 2 ? RequestTarget.decode(parts[1]) : ""
        else { return nil }
        query.append((key, value))
      }
    }
    self.path = path
    self.query = query
  }

  /// Nil when it is absent. An empty value is a slip (`cluster=$CLUSTER` in a script), and never means "all".
  func optional(_ key: String) throws(AdminRequestError) -> String? {
    let value = query.first { $0.key == key }?.value
    if value?.isEmpty == true { throw .emptyParameter(key, path: path) }
    return value
  }

  /// Absent means no; anything but a plain yes is a slip, and not a no.
  func flag(_ key: String) throws(AdminRequestError) -> Bool {
    switch try optional(key) {
    case nil: false
    case "yes", "true": true
    case let value?: throw .notAFlag(key, value: value, path: path)
    }
  }

  func required(_ key: String) throws(AdminRequestError) -> String {
    guard let value = try optional(key) else { throw .missingParameter(key, path: path) }
    return value
  }

  var text: String {
    guard !query.isEmpty else { return path }
    let pairs = query.map { RequestTarget.encode($0.key) + "=" + RequestTarget.encode($0.value) }
    return path + "?" + pairs.joined(separator: "&")
  }

  private static func decode(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8.makeIterator()
    while let byte = rest.next() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.next().flatMap(nibble), let low = rest.next().flatMap(nibble) else { return nil }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func encode(_ text: String) -> String {
    var encoded = ""
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"), UInt8(ascii: "/"), UInt8(ascii: ":"):
        encoded.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        encoded += digits.utf8.count == 1 ? "%0" + digits : "%" + digits
      }
    }
    return encoded
  }

  private static func nibble(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
