// What both kinds of configuration say that `doctor` looks at, as one value.

import Admin
import Configuration
import Identity
import Primitives
import SPIFFE
import Transport

struct DoctorSubject {
  /// Somebody that the relay dials.
  struct Peer {
    enum Server {
      case workload(SPIFFEPattern)
      /// `ca`: path of a PEM file.
      case host(dnsName: String, ca: String)
    }

    /// What it is called: `source central`.
    let name: String
    /// In order of preference.
    let endpoints: [Endpoint]
    let server: Server
  }

  let file: String
  let isCompanion: Bool
  let identity: IdentitySettings
  let peers: [Peer]
  /// Addresses that the relay binds by itself.
  let listen: [NetworkAddress]
  let admin: AdminAddress?
  let state: String?
  let auditPath: String?

  init(_ file: ConfigurationFile) {
    switch file {
    case .relay(let relay): self.init(relay)
    case .companion(let companion): self.init(companion)
    }
  }

  private init(_ relay: RelayConfiguration) {
    file = relay.file
    isCompanion = false
    identity = relay.identity
    let upstreams = relay.sources.compactMap { source -> Peer? in
      guard case .upstream(let upstream) = source.kind else { return nil }
      return Peer(
        name: "source \(source.name)", endpoints: upstream.addresses.map(Endpoint.init),
        server: Peer.Server(upstream.server))
    }
    let sinks = relay.push.map { sink in
      Peer(
        name: "sink \(sink.address)", endpoints: [Endpoint(sink.address)], server: .workload(sink.spiffeID))
    }
    peers = upstreams + sinks
    listen = relay.listen.compactMap { if case .address(let address) = $0 { address } else { nil } }
    admin = relay.admin.first.map(AdminAddress.init)
    state = relay.state
    auditPath = relay.audit?.path
  }

  private init(_ companion: CompanionConfiguration) {
    file = companion.file
    isCompanion = true
    identity = companion.identity
    peers = [
      Peer(
        name: "relay", endpoints: companion.relayAddresses.map(Endpoint.init),
        server: .workload(companion.relayID))
    ]
    listen = [companion.listen]
    admin = .unix(path: companion.admin)
    state = companion.state
    auditPath = nil
  }

  /// Trust domains of those who must answer us.
  var trustDomainsDialled: [TrustDomain] {
    peers.compactMap { if case .workload(let pattern) = $0.server { pattern.trustDomain } else { nil } }
  }
}

extension DoctorSubject.Peer.Server {
  init(_ server: UpstreamSettings.Server) {
    switch server {
    case .workload(let pattern): self = .workload(pattern)
    case .host(let dnsName, let ca): self = .host(dnsName: dnsName, ca: ca)
    }
  }
}

extension Endpoint {
  init(_ address: NetworkAddress) { self.init(host: address.host, port: address.port) }
}

extension AdminAddress {
  init(_ settings: AdminSettings) {
    switch settings {
    case .unix(let path): self = .unix(path: path)
    case .loopback(let address): self = .loopback(host: address.host, port: address.port)
    }
  }
}
