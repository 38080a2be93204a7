// `sources[].upstream`: another server that speaks MCP in one of its forms, over TLS with our SVID.
//
// Who it must be is a SPIFFE ID, or, for servers that have none (istiod above all), a DNS name and the authority
// that vouches for it. One of both, never neither.

internal import Documents
public import Policy
public import SPIFFE

public struct UpstreamSettings: Sendable {
  /// What is spoken.
  public enum Dialect: String, Sendable, CaseIterable {
    case delta
    /// State of the world.
    case sotw
    /// Classic: ResourceSource.
    case mcp
    /// Classic: AggregatedMeshConfigService.
    case mcpAggregated = "mcp-aggregated"
  }

  /// Who must answer.
  public enum Server: Sendable {
    case workload(SPIFFEPattern)
    /// `ca`: path of a PEM file.
    case host(dnsName: String, ca: String)
  }

  /// In order of preference; at least one.
  public let addresses: [NetworkAddress]
  public let server: Server
  public let dialect: Dialect
  /// Kinds to subscribe; nil: every known kind.
  public let types: [TypePattern]?
  /// Takes also what an istiod made by itself; otherwise that is left out.
  public let takesGenerated: Bool

  static func read(_ reader: MappingReader) -> UpstreamSettings? {
    let addresses = reader.addresses("addresses")
    let server = server(of: reader)
    let word = reader.choice("protocol", of: Dialect.allCases.map(\.rawValue))
    let dialect = word.flatMap { Dialect(rawValue: $0.value) } ?? .delta
    let types = reader.types("types")
    let generated = reader.boolean("generated")
    if reader.entry("dnsName") != nil {
      if dialect == .delta, reader.entry("spiffeID") == nil {
        reader.problems.report(
          word?.position ?? reader.position,
          "\(reader.name("protocol")) is delta for an upstream that is known by its dnsName",
          why: "an istiod does not push every change, and can be asked again by sotw only",
          howToFix: "write protocol: sotw", severity: .warning)
      }
    } else if let entry = reader.entry("generated") {
      reader.problems.report(
        entry.position, "\(reader.name("generated")) is for an istiod, which is known by its dnsName",
        howToFix: "remove it")
    }
    guard let addresses, let server else { return nil }
    return UpstreamSettings(
      addresses: addresses, server: server, dialect: dialect, types: types,
      takesGenerated: generated?.value ?? false)
  }

  private static func server(of reader: MappingReader) -> Server? {
    let byHost = reader.entry("dnsName") ?? reader.entry("ca")
    let byIdentity = reader.entry("spiffeID")
    switch (byIdentity, byHost) {
    case (_?, let other?):
      // Their values are looked at all the same: every problem is reported at once.
      _ = (reader.identityPattern("spiffeID"), reader.hostName("dnsName", example: ""), reader.path("ca"))
      reader.problems.report(
        other.position, "\(reader.name(other.key)) stands beside spiffeID",
        why: "a server is known by its SPIFFE ID, or by dnsName and ca where it has none",
        howToFix: "keep one of both")
      return nil
    case (_, nil): return reader.identityPattern("spiffeID").map { .workload($0) }
    case (nil, _?):
      let name = reader.hostName("dnsName", required: true, example: "istiod.istio-system.svc")
      let ca = reader.path("ca", required: true)
      guard let name, let ca else { return nil }
      return .host(dnsName: name, ca: ca)
    }
  }
}
