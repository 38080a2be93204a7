// How an object is named on the wire: `namespace/name`, or `name` alone without a namespace.

public enum WireName {
  /// Empty for an object without one.
  public static func namespace(of name: String) -> String {
    guard let slash = name.utf8.firstIndex(of: UInt8(ascii: "/")) else { return "" }
    return String(name[..<slash])
  }
}
