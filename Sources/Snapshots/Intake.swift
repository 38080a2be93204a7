// How the objects of one source are taken in, beside the rules that hold for all: what is left out as if the
// source had never named it, and what is rewritten before anything is hashed.
//
// Rewriting stands before the hash, so every tier below computes the version of what it is served. Nothing
// here may depend on when or where an object is seen.

/// Rewrites the body of an object; nil: it stays as it is. Throws: the bytes are not what they should be.
public typealias BodyRewriter =
  @Sendable (_ draft: ResourceDraft, _ type: TypeName) throws(BodyFault) -> [UInt8]?

/// What a source's configuration asks of admission.
public struct Intake: Sendable {
  public var canonicalize: BodyCanonicalizer?
  public var rewrite: BodyRewriter?
  /// Objects to leave out.
  public var leavesOut: (@Sendable (Resource) -> Bool)?

  /// Without arguments: everything, as it comes.
  public init(
    canonicalize: BodyCanonicalizer? = nil, rewrite: BodyRewriter? = nil,
    leavesOut: (@Sendable (Resource) -> Bool)? = nil
  ) {
    self.canonicalize = canonicalize
    self.rewrite = rewrite
    self.leavesOut = leavesOut
  }
}
