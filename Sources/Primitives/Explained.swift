// Errors that answer the three questions an operator asks: what happened, why probably, how to fix.

/// Who has to act on an error. Decides gRPC status, retry and log level.
public enum Blame: String, Sendable {
  /// A client or server on the other end of a connection sent something wrong.
  case peer
  /// A source of truth is wrong or unreachable.
  case upstream
  /// Configuration, policy, files or manifests need an edit.
  case `operator`
  /// The kernel or its configuration refuses what is needed.
  case kernel
  /// A bug of this program.
  case us
}

/// What every room's error enum conforms to.
public protocol Explained: Error, CustomStringConvertible, Sendable {
  /// What happened, as one sentence without a full stop.
  var what: String { get }
  /// The probable cause; empty when `what` says it all.
  var why: String { get }
  /// What the reader can do about it; empty when there is nothing to do.
  var howToFix: String { get }
  var blame: Blame { get }
}

extension Explained {
  public var why: String { "" }
  public var howToFix: String { "" }

  /// `what. why. howToFix.` with the empty parts left out.
  public var description: String {
    [what, why, howToFix].filter { !$0.isEmpty }
      .map { $0.hasSuffix(".") ? $0 : $0 + "." }
      .joined(separator: " ")
  }
}
