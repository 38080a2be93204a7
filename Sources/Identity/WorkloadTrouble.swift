// Why the Workload API gives us no identity, or none that can be used: what the operator of a host reads first.

public import Primitives
public import SPIFFE
public import Trust

public enum WorkloadTrouble: Explained, Equatable {
  /// Nobody answers at the endpoint, or not as gRPC.
  case unreachable(endpoint: String, reason: String)
  /// It accepted the call and said nothing.
  case silent(endpoint: String)
  /// The stream ended; the agent may come back.
  case ended(endpoint: String, reason: String)
  /// PERMISSION_DENIED: the agent knows no registration entry for this process.
  case noEntry(user: UInt32, said: String)
  /// PERMISSION_DENIED where there was an answer before: the agent takes our SVIDs back.
  case withdrawn(user: UInt32, said: String)
  /// INVALID_ARGUMENT or UNIMPLEMENTED: this is no Workload API that speaks with us.
  case notWorkloadAPI(endpoint: String, said: String)
  /// An answer that breaks the protocol.
  case malformed(reason: String)
  case noSuchSVID(SVIDChoice?, offered: [String])
  /// `label` is what the answer calls the SVID.
  case svid(_ label: String, TrustError)
  /// The certificate is another identity's than the answer says.
  case otherID(said: String, found: SPIFFEID)
  case bundle(TrustDomain, TrustError)
  /// Peers with our own bundle would refuse the SVID.
  case unusable(SPIFFEID, VerificationFailure)

  public var what: String {
    switch self {
    case .unreachable(let endpoint, let reason):
      "The SPIFFE Workload API at \(endpoint) cannot be reached: \(reason)"
    case .silent(let endpoint): "The SPIFFE Workload API at \(endpoint) accepted the call and answers nothing"
    case .ended(let endpoint, let reason):
      "The stream of the SPIFFE Workload API at \(endpoint) ended: \(reason)"
    case .noEntry(let user, let said):
      "No registration entry matches this host: the SPIFFE agent has no identity for user \(user)"
        + WorkloadTrouble.quoted(said)
    case .withdrawn(let user, let said):
      "The SPIFFE agent took our SVID back: no registration entry matches user \(user) any more"
        + WorkloadTrouble.quoted(said)
    case .notWorkloadAPI(let endpoint, let said):
      "\(endpoint) does not answer as a SPIFFE Workload API" + WorkloadTrouble.quoted(said)
    case .malformed(let reason): "The SPIFFE Workload API sent an answer that cannot be used: \(reason)"
    case .noSuchSVID(let choice, let offered):
      "The SPIFFE Workload API offers no SVID with \(choice?.description ?? "any name"); it offers "
        + offered.joined(separator: ", ")
    case .svid(let label, let error): "The SPIFFE Workload API sent for \(label): \(error.what)"
    case .otherID(let said, let found):
      "The SPIFFE Workload API sent as \(said) the certificate of \(found)"
    case .bundle(let trustDomain, let error):
      "The bundle of \(trustDomain) from the SPIFFE Workload API cannot be used: \(error.what)"
    case .unusable(let id, let failure):
      "The SVID \(id) from the SPIFFE Workload API does not verify against its own bundle: \(failure.what)"
    }
  }

  public var why: String {
    switch self {
    case .unreachable: "The agent is not running, or listens elsewhere"
    case .withdrawn: "The entry was deleted or changed at the SPIRE server"
    case .noEntry: "An entry takes some seconds to reach the agent once it was created"
    case .bundle(_, let error): error.why
    case .unusable(_, let failure): failure.why
    default: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .unreachable: "Start the SPIRE agent, or correct identity.workloadAPI"
    case .silent, .ended: "Look into the agent's log"
    case .noEntry(let user, _), .withdrawn(let user, _):
      "Add an entry: spire-server entry create -parentID spiffe://TRUST_DOMAIN/AGENT "
        + "-spiffeID spiffe://TRUST_DOMAIN/NAME -selector unix:uid:\(user)"
    case .notWorkloadAPI: "Correct identity.workloadAPI"
    case .noSuchSVID: "Correct identity.select, or add the registration entry"
    case .svid, .otherID, .bundle, .malformed: "Look into the agent's log"
    case .unusable(_, let failure): failure.howToFix
    }
  }

  public var blame: Blame { .operator }

  /// Foreign words, cut and escaped.
  private static func quoted(_ text: String) -> String {
    text.isEmpty ? "" : " (it says: \(ForeignText.line(String(text.prefix(200)))))"
  }
}
