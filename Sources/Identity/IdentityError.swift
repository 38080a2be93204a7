// What keeps an identity from being loaded: always the file, what is wrong with it, and how to put it right.

public import Primitives
public import SPIFFE
public import TLS
public import Trust

public enum IdentityError: Explained, Equatable {
  /// `number` is the system's errno.
  case fileUnreadable(path: String, number: Int32)
  case fileTooLarge(path: String, limit: Int)
  case svid(path: String, TrustError)
  case key(path: String, TrustError)
  case bundle(path: String, TrustDomain, TrustError)
  /// The SVID's own trust domain has no bundle.
  case noOwnBundle(svid: String, TrustDomain)
  /// Peers with our own bundle would refuse our SVID.
  case unusable(svid: String, bundle: String, VerificationFailure)
  /// The file with an upstream's authority cannot be used.
  case authority(path: String, TLSError)
  case noAuthority(path: String, subject: String)
  /// The files were replaced again and again while they were read.
  case changing(path: String)

  public var what: String {
    switch self {
    case .fileUnreadable(let path, let number): "\(path) cannot be read (\(SystemError.name(number)))"
    case .fileTooLarge(let path, let limit): "\(path) is larger than \(limit) bytes"
    case .svid(let path, let error), .key(let path, let error): "\(path): \(error.what)"
    case .bundle(let path, let trustDomain, let error): "\(path) (bundle of \(trustDomain)): \(error.what)"
    case .noOwnBundle(let svid, let trustDomain):
      "There is no bundle for \(trustDomain), the trust domain of \(svid)"
    case .unusable(let svid, let bundle, let failure):
      "\(svid) does not verify against \(bundle): \(failure.what)"
    case .authority(let path, let error): "\(path): \(error.what)"
    case .noAuthority(let path, let subject):
      "\(path) holds a certificate that is no authority (\(ForeignText.line(subject)))"
    case .changing(let path): "\(path) and its companions changed while they were read"
    }
  }

  public var why: String {
    switch self {
    case .fileUnreadable(_, let number): SystemError.cause(number)
    case .svid(_, let error), .key(_, let error), .bundle(_, _, let error): error.why
    case .unusable(_, _, let failure): failure.why
    case .authority(_, let error): error.why
    case .noAuthority: "It is probably the server's own certificate"
    case .fileTooLarge: "It is probably not the file that was meant"
    case .noOwnBundle, .changing: ""
    }
  }

  public var howToFix: String {
    switch self {
    case .fileUnreadable: "Make the file readable for the user that meshrelay runs as"
    case .fileTooLarge: "Give PEM, or a SPIFFE bundle document for a bundle"
    case .svid(_, let error), .key(_, let error), .bundle(_, _, let error): error.howToFix
    case .noOwnBundle(_, let trustDomain): "Add \(trustDomain) to identity.bundles"
    case .unusable(_, _, let failure): failure.howToFix
    case .authority, .noAuthority: "Give the certificates that issue the server's, as PEM"
    case .changing: "Replace SVID and key together, then wait: they are read again at the next change"
    }
  }

  public var blame: Blame { .operator }
}

/// Something to tell the operator that is no reason to refuse the identity.
public enum IdentityWarning: Hashable, Sendable, CustomStringConvertible {
  /// Permission bits let others than the owner and its group read the key.
  case keyReadableByOthers(path: String, mode: UInt32)

  public var description: String {
    switch self {
    case .keyReadableByOthers(let path, let mode):
      "\(path) holds a private key and can be read by every user (mode \(String(mode, radix: 8))). "
        + "Run: chmod 0600 \(path)"
    }
  }
}
