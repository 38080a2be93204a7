// Text that came from elsewhere, made fit for a terminal or a log: what a peer says must not be able to
// move an operator's cursor, colour the screen, or add a line that looks like one of ours.

public enum ForeignText {
  /// One line: control characters (C0, DEL, C1, line and paragraph separators, bidirectional overrides)
  /// written as `\u{…}`.
  public static func line(_ text: String) -> String {
    // Nearly always: printable ASCII.
    if text.utf8.allSatisfy({ (0x20...0x7E).contains($0) }) { return text }
    guard text.unicodeScalars.contains(where: isUnfit) else { return text }
    var fit = ""
    for scalar in text.unicodeScalars {
      if isUnfit(scalar) {
        fit += "\\u{" + String(scalar.value, radix: 16) + "}"
      } else {
        fit.unicodeScalars.append(scalar)
      }
    }
    return fit
  }

  private static func isUnfit(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7F...0x9F, 0x2028...0x202E, 0x2066...0x2069: true
    default: false
    }
  }
}
