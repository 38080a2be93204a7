// Answers of a Workload API, made from certificates of the tests.

import FoundationEssentials
import Identity
import Primitives
import Protos
import SPIFFE
import SwiftProtobuf
import TestCertificates
import Trust

let epoch = Timestamp(seconds: TestAuthority.epoch)

/// One SVID of an answer.
func offered(
  _ id: String, by authority: TestAuthority, hint: String = "", bundle: [TestAuthority]? = nil,
  from plan: CertificatePlan? = nil
) -> WorkloadAPI_X509SVID {
  let issued = authority.issue(plan ?? .workload(id))
  var svid = WorkloadAPI_X509SVID()
  svid.spiffeID = id
  svid.x509Svid = Data(issued.chain.flatMap { $0 })
  svid.x509SvidKey = Data(issued.key)
  svid.bundle = Data((bundle ?? [authority]).flatMap(\.certificate))
  svid.hint = hint
  return svid
}

func answer(
  _ svids: [WorkloadAPI_X509SVID], federated: [String: [UInt8]] = [:], revocations: [[UInt8]] = []
) throws -> [UInt8] {
  var message = WorkloadAPI_X509SVIDResponse()
  message.svids = svids
  message.federatedBundles = federated.mapValues { Data($0) }
  message.crl = revocations.map { Data($0) }
  return try message.serializedBytes()
}

func domain(_ name: String) throws -> TrustDomain { try TrustDomain(name) }
