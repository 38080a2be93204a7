// Credentials of simulated hosts: one authority for all worlds, valid on the virtual clock.

import Primitives
import SPIFFE
import TLS
import TestCertificates
import Trust

enum Identities {
  static let trustDomain = "sim.test"
  /// The virtual clock of every world begins here.
  static let start = Timestamp(seconds: TestAuthority.epoch)
  /// Keys whose signatures are all of one length: equal seeds must give equal histories.
  private static let authority = TestAuthority(trustDomain, keys: .ed25519)

  static func id(_ cluster: String, _ host: String) -> String { "spiffe://\(trustDomain)/\(cluster)/\(host)" }

  static func pattern(_ text: String) -> SPIFFEPattern {
    do throws(SPIFFEError) {
      return try SPIFFEPattern(parsing: text)
    } catch {
      preconditionFailure("a pattern of the simulation is refused: \(error)")
    }
  }

  static func credentials(_ cluster: String, _ host: String) -> Credentials {
    let issued = authority.issue(id(cluster, host))
    do {
      let domain = try TrustDomain(trustDomain)
      let svid = try X509SVID(derChain: issued.chain.flatMap { $0 }, derKey: issued.secret)
      let bundle = try Bundle(trustDomain: domain, anchors: [authority.certificate])
      return Credentials(svid: svid, bundles: [domain: bundle], generation: 1)
    } catch {
      preconditionFailure("credentials of the simulation are refused: \(error)")
    }
  }
}
