// What one upstream is, from configuration.

public import SPIFFE
public import TLS
public import Transport

/// Who must answer at an upstream's addresses.
public enum ExpectedServer: Sendable {
  /// A SPIFFE workload, verified by the bundle of its trust domain.
  case workload(SPIFFEPattern)
  /// A server without an SVID, istiod above all: this DNS name, verified by an authority of its own.
  case host(String)
}

public struct SubscriptionSettings: Sendable {
  /// Name of the source.
  public var source: String
  /// In order of preference; never empty.
  public var endpoints: [Endpoint]
  public var server: ExpectedServer
  public var minimumTLS: TLSVersion
  /// State of the world: everything is asked for again this often, because the upstream does not push every
  /// kind of change. Nil: never.
  public var refresh: Duration?

  public init(
    source: String, endpoints: [Endpoint], server: ExpectedServer, minimumTLS: TLSVersion,
    refresh: Duration? = nil
  ) {
    precondition(!endpoints.isEmpty, "configuration refuses an upstream without an address")
    self.source = source
    self.endpoints = endpoints
    self.server = server
    self.minimumTLS = minimumTLS
    self.refresh = refresh
  }
}
