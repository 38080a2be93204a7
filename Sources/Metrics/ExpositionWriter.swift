// Prometheus text exposition format 0.0.4: `# HELP`, `# TYPE`, then one sample a line. What a label value
// or help text may not hold as it is, is escaped here and nowhere else.

struct ExpositionWriter {
  enum FamilyType: String { case counter, gauge, histogram }

  private(set) var bytes: [UInt8] = []
  private let prefix: String
  private var family = ""

  init(prefix: String) { self.prefix = prefix }

  /// Begins a family; the samples that follow are its own.
  mutating func family(_ name: String, _ type: FamilyType, _ help: String) {
    family = prefix + name
    bytes += Array("# HELP \(family) \(ExpositionWriter.escaped(help, quotes: false))\n".utf8)
    bytes += Array("# TYPE \(family) \(type.rawValue)\n".utf8)
  }

  mutating func sample(_ value: Double, suffix: String = "") {
    bytes += Array("\(family)\(suffix) \(ExpositionWriter.number(value))\n".utf8)
  }

  mutating func sample(_ value: Double, suffix: String = "", label: String, _ text: String) {
    let escaped = ExpositionWriter.escaped(text, quotes: true)
    bytes += Array("\(family)\(suffix){\(label)=\"\(escaped)\"} \(ExpositionWriter.number(value))\n".utf8)
  }

  /// Whole numbers without a fraction, others as the shortest text that reads back equal.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if let whole = Int64(exactly: value) { return String(whole) }
    return "\(value)"
  }

  private static func escaped(_ text: String, quotes: Bool) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": escaped += "\\\\"
      case "\n": escaped += "\\n"
      case "\"" where quotes: escaped += "\\\""
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}
