// Which cluster a SPIFFE ID belongs to: a lookup by the ID and by each of its parents, however many
// clusters there are.

import SPIFFE

/// Identity patterns, each with the index of its owner.
struct IdentityTable: Sendable {
  /// By the text of the ID.
  private var exact: [String: Int] = [:]
  /// By the text of the ID above: `spiffe://td/a` for `spiffe://td/a/*`.
  private var below: [String: Int] = [:]

  /// Gives back the owner of the very same pattern when that is another one; then nothing is changed.
  mutating func insert(_ pattern: SPIFFEPattern, owner: Int) -> Int? {
    let text = pattern.description
    if pattern.isExact {
      if let known = exact[text] { return known == owner ? nil : known }
      exact[text] = owner
    } else {
      let base = String(text.dropLast(2))
      if let known = below[base] { return known == owner ? nil : known }
      below[base] = owner
    }
    return nil
  }

  func owner(of id: SPIFFEID) -> Int? {
    let text = id.description
    if let owner = exact[text] { return owner }
    for parent in IdentityTable.parents(of: text) {
      if let owner = below[parent] { return owner }
    }
    return nil
  }

  /// Another owner who has a pattern that is wider than this one. Together with `insert` this finds every
  /// overlap: of two patterns that overlap one is wider, or they are the same.
  func widerOwner(than pattern: SPIFFEPattern, otherThan owner: Int) -> (pattern: String, owner: Int)? {
    let text = pattern.description
    for parent in IdentityTable.parents(of: pattern.isExact ? text : String(text.dropLast(2))) {
      if let other = below[parent], other != owner { return (parent + "/*", other) }
    }
    return nil
  }

  /// `spiffe://td/a/b` → `spiffe://td/a`, `spiffe://td`.
  private static func parents(of text: String) -> [String] {
    var parents: [String] = []
    var rest = text[...]
    while let slash = rest.lastIndex(of: "/"), rest[..<slash].utf8.count > "spiffe://".utf8.count {
      rest = rest[..<slash]
      parents.append(String(rest))
    }
    return parents
  }
}
