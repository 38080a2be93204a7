// The set of SPIFFE IDs that a line of policy or configuration names: one ID, or all IDs below one.
// Pure names: a pattern proves nothing about a peer; only a verified ID may be matched against it.

/// `spiffe://td/path` matches that ID only; `spiffe://td/path/*` every ID strictly below it at any
/// depth, never `spiffe://td/path` itself; `spiffe://td/*` every workload of that trust domain.
public struct SPIFFEPattern: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The ID itself when exact, else the one whose descendants match.
  private let base: SPIFFEID
  public let isExact: Bool

  public init(parsing text: String) throws(SPIFFEError) {
    let exact = !text.hasSuffix("/*")
    let rest = exact ? text : String(text.dropLast(2))
    if let star = rest.utf8.firstIndex(of: UInt8(ascii: "*")) {
      throw .misplacedWildcard(offset: rest.utf8.distance(from: rest.utf8.startIndex, to: star))
    }
    // `spiffe://*` must be told that the trust domain is missing, not that the scheme is wrong.
    let base = try SPIFFEID(parsing: rest == "spiffe:/" ? "spiffe://" : rest)
    guard !exact || base.namesWorkload else {
      throw .patternNamesNoWorkload(trustDomain: base.trustDomain.name)
    }
    self.base = base
    isExact = exact
  }

  /// The pattern that only `id` matches. A trust domain's own ID matches no workload, and neither does this.
  public init(exactly id: SPIFFEID) {
    base = id
    isExact = true
  }

  /// Every workload of a trust domain.
  public init(below trustDomain: TrustDomain) {
    base = SPIFFEID(trustDomain)
    isExact = false
  }

  public var trustDomain: TrustDomain { base.trustDomain }

  public var description: String { isExact ? base.description : base.description + "/*" }

  public static func < (left: SPIFFEPattern, right: SPIFFEPattern) -> Bool {
    left.description < right.description
  }

  public func matches(_ id: SPIFFEID) -> Bool {
    isExact ? id == base : SPIFFEPattern.isBelow(id, base)
  }

  /// Whether some SPIFFE ID matches both.
  public func overlaps(_ other: SPIFFEPattern) -> Bool {
    switch (isExact, other.isExact) {
    case (true, _): other.matches(base)
    case (false, true): matches(other.base)
    case (false, false):
      base == other.base || SPIFFEPattern.isBelow(base, other.base)
        || SPIFFEPattern.isBelow(other.base, base)
    }
  }

  /// Compares bytes, not Characters: paths are ASCII and this runs for every cluster of a policy.
  private static func isBelow(_ id: SPIFFEID, _ base: SPIFFEID) -> Bool {
    guard id.trustDomain == base.trustDomain else { return false }
    let (path, prefix) = (id.path.utf8, base.path.utf8)
    guard path.count > prefix.count, path.starts(with: prefix) else { return false }
    return path[path.index(path.startIndex, offsetBy: prefix.count)] == UInt8(ascii: "/")
  }
}
