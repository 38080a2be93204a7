// The section `sources`: where configuration comes from, in order of preference.

internal import Documents
public import Policy

/// One source of truth.
public struct SourceSettings: Sendable {
  /// Unique among sources; in status, metrics and `sources` of policy rules.
  public let name: String
  public let kind: Kind
  public let only: SourceFilter
  /// Domain of the cluster that short host names are completed with; nil: they stay as they are.
  public let expandHosts: String?

  public enum Kind: Sendable {
    case upstream(UpstreamSettings)
    /// A folder of manifests, read with its subfolders, watched.
    case directory(path: String)
  }

  public var isUpstream: Bool { if case .upstream = kind { true } else { false } }

  static func readAll(_ reader: MappingReader) -> [SourceSettings]? {
    var places: [String: SourcePosition] = [:]
    return reader.mappings("sources", required: true) { source in
      let settings = read(source)
      if let name = settings?.name {
        if let first = places[name] {
          source.problems.report(
            source.position, "the source \(Problem.quote(name)) is defined twice",
            why: "it stands at line \(first.line) already", howToFix: "give one of them another name")
        }
        places[name] = source.position
      }
      return settings
    }
  }

  private static func read(_ reader: MappingReader) -> SourceSettings? {
    NotBuilt.refuseKeys(of: reader)
    let name = reader.string("name", required: true)
    let upstream = reader.mapping("upstream", UpstreamSettings.read)
    let directory = reader.mapping("directory") { $0.path("path", required: true) }
    let only = reader.mapping("only", SourceFilter.read)
    let expandHosts = reader.hostName("expandHosts", example: "cluster.local")
    let kinds = ["upstream", "directory", "git", "etcd"].filter { reader.entry($0) != nil }
    guard kinds.count == 1 else {
      reader.problems.report(
        reader.position,
        kinds.isEmpty
          ? "this source has no kind" : "this source is \(kinds.joined(separator: " and ")) at once",
        howToFix: "give it one of upstream and directory")
      return nil
    }
    guard let name, let kind = upstream.map(Kind.upstream) ?? directory.map({ .directory(path: $0) }) else {
      return nil
    }
    return SourceSettings(
      name: name.value, kind: kind, only: only ?? .everything, expandHosts: expandHosts)
  }
}

/// What a source may supply; the rest is set aside.
public struct SourceFilter: Sendable {
  /// Nil: any namespace.
  public let namespaces: GlobList?
  /// Nil: any kind.
  public let types: [TypePattern]?

  public static let everything = SourceFilter(namespaces: nil, types: nil)

  /// `type` as group/Kind.
  public func admits(type: String) -> Bool { types.map { GlobList($0.map(\.glob)).matches(type) } ?? true }

  public func admits(type: String, namespace: String) -> Bool {
    admits(type: type) && namespaces?.matches(namespace) ?? true
  }

  static func read(_ reader: MappingReader) -> SourceFilter? {
    let namespaces = reader.strings("namespaces", emptyText: true)?.map { GlobPattern($0.value) }
    return SourceFilter(
      namespaces: namespaces.flatMap { $0.isEmpty ? nil : GlobList($0) }, types: reader.types("types"))
  }
}
