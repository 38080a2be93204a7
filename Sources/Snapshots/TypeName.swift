// How a kind of configuration object is named: by group and Kind, without a version.
//
// Peers name types with a version ("networking.istio.io/v1/VirtualService"), and the version changes
// between releases although the bodies stay the same. Inside, all versions of a kind are one
// collection under one `TypeName`; the exact text a peer used is kept in its `TypeURL` and echoed.
// Source: the type URLs of MCP over xDS, group/version/Kind with three parts and no host prefix.

/// A kind of object: API group and Kind. The empty group of Kubernetes is written `core`.
public struct TypeName: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// `networking.istio.io`; `core` for the empty group. Never empty.
  public let group: String
  /// `VirtualService`.
  public let kind: String

  /// `group` may be given as `""`, which means `core`.
  public init(group: String, kind: String) {
    self.group = group.isEmpty ? "core" : group
    self.kind = kind
  }

  /// Reads `group/Kind`; nil when it has not exactly two parts with something in each.
  public init?(parsing text: String) {
    let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else { return nil }
    self.init(group: String(parts[0]) ?? "", kind: String(parts[1]) ?? "")
  }

  /// `group/Kind`, as policy files and status write it.
  public var description: String { group + "/" + kind }

  public static func < (left: TypeName, right: TypeName) -> Bool {
    (left.group, left.kind) < (right.group, right.kind)
  }
}

/// The name of a type as one peer writes it: `group/version/Kind`.
public struct TypeURL: Hashable, Sendable, CustomStringConvertible {
  /// The peer's own text; responses must repeat it byte for byte.
  public let text: String
  /// The kind, whatever its version.
  public let type: TypeName
  /// `v1`, `v1alpha3`.
  public let version: String

  /// Bytes of the longest type URL that is looked at. Reason: a group is a DNS name of at most 253.
  public static let bytesMax = 512

  /// Reads `group/version/Kind` exactly; nil for anything else (also for `type.googleapis.com/…` names).
  public init?(parsing text: String) {
    guard text.utf8.count <= TypeURL.bytesMax else { return nil }
    let parts = text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    guard parts.count == 3, parts.allSatisfy({ !$0.isEmpty }) else { return nil }
    self.text = text
    type = TypeName(group: String(parts[0]) ?? "", kind: String(parts[2]) ?? "")
    version = String(parts[1]) ?? ""
  }

  public init(type: TypeName, version: String) {
    self.type = type
    self.version = version
    text = type.group + "/" + version + "/" + type.kind
  }

  /// Whether this names a kind of the table in a version the table does not list. Nothing is known
  /// about the bodies of such a version, so it is treated as an unknown type.
  public var isUnknownVersion: Bool {
    guard let kind = Kinds[type] else { return false }
    return !kind.versions.contains(version)
  }

  public var description: String { text }
}
