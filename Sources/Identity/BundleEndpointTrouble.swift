// Why the bundle endpoint of another trust domain gives us nothing new.

public import Primitives
public import SPIFFE
public import Trust

public enum BundleEndpointTrouble: Explained, Equatable {
  case unreachable(String, reason: String)
  case refused(String, status: Int)
  case badRedirection(String, to: String)
  case unusable(TrustDomain, TrustError)
  /// The publisher's sequence numbers only grow.
  case stepsBack(TrustDomain, from: UInt64, to: UInt64)

  public var what: String {
    switch self {
    case .unreachable(let url, let reason): "The bundle endpoint \(url) gives no bundle: \(reason)"
    case .refused(let url, let status): "The bundle endpoint \(url) answers with HTTP status \(status)"
    case .badRedirection(let url, let place):
      "The bundle endpoint \(url) redirects to something that is not asked: \(place)"
    case .unusable(let trustDomain, let error):
      "The bundle that the endpoint of \(trustDomain) publishes cannot be used: \(error.what)"
    case .stepsBack(let trustDomain, let from, let to):
      "The endpoint of \(trustDomain) publishes a bundle with sequence \(to) after \(from)"
    }
  }

  public var why: String {
    switch self {
    case .unusable(_, let error): error.why
    case .stepsBack: "It is probably a replica that lags behind"
    default: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .unreachable, .refused, .badRedirection: "Compare identity.federation with what the partner operates"
    case .unusable: "Tell the operators of the partner"
    case .stepsBack:
      "Tell the operators of the partner; if they mean it, take the entry out of identity.federation, reload, and put "
        + "it back"
    }
  }

  public var blame: Blame { .upstream }
}
