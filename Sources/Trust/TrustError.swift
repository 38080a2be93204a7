// What is wrong with our own material: SVIDs, keys and bundles that were given to us.
// What is wrong with a peer is a `VerificationFailure`.

public import Primitives
public import TLS

public enum TrustError: Explained, Equatable {
  case certificates(TLSError)
  case key(TLSError)
  /// The private key is not that of the leaf.
  case keyDoesNotMatch
  /// The certificate is no usable X.509-SVID.
  case notAnSVID(VerificationFailure)
  /// `index` counts the certificates of the bundle from 0.
  case anchorUnreadable(index: Int)
  case anchorRefused(index: Int, subject: String, SigningFault)
  case documentUnreadable(reason: String)
  /// `index` counts the entries of `keys` from 0.
  case keyUnreadable(index: Int)

  public var what: String {
    switch self {
    case .certificates(let error), .key(let error): error.what
    case .keyDoesNotMatch: "The private key is not that of the SVID"
    case .notAnSVID(let failure): "The certificate is no usable X.509-SVID: \(failure.what)"
    case .anchorUnreadable(let index): "Certificate \(index + 1) of the bundle cannot be read"
    case .anchorRefused(let index, let subject, let fault):
      "Certificate \(index + 1) of the bundle (\(subject)) is no authority of its trust domain: \(fault)"
    case .documentUnreadable(let reason): "The bundle is no SPIFFE bundle document: \(reason)"
    case .keyUnreadable(let index): "The member x5c of key \(index + 1) is not base64"
    }
  }

  public var why: String {
    switch self {
    case .certificates(let error), .key(let error): error.why
    case .keyDoesNotMatch: "The two files are probably from different issues"
    case .notAnSVID(let failure): failure.why
    case .anchorRefused(_, _, .notAuthority): "A workload's certificate was probably put into the bundle"
    case .anchorRefused, .anchorUnreadable, .documentUnreadable, .keyUnreadable: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .certificates(let error), .key(let error): error.howToFix
    case .keyDoesNotMatch: "Replace both files together"
    case .notAnSVID: "Issue an X.509-SVID with one SPIFFE ID as its only URI name"
    case .anchorUnreadable, .anchorRefused, .documentUnreadable, .keyUnreadable:
      "Give the trust domain's CA certificates as PEM or as a SPIFFE bundle document"
    }
  }

  public var blame: Blame { .operator }
}
