// Why an identity is served nothing at all, for people: where its pattern stands, or where it should stand.

public import Documents
public import Primitives
public import SPIFFE

public enum IdentityRefusal: Explained, Equatable {
  /// It is in `blocked`, which beats every cluster.
  case blocked(SPIFFEID, by: SPIFFEPattern, at: SourcePosition)
  /// `files`: those that the policy was read from; none when there is no policy.
  case noCluster(SPIFFEID, files: [String])

  /// Files that are named. Reason: a folder may have one for each cluster.
  private static let filesNamed = 3

  public var what: String {
    switch self {
    case .blocked(let id, _, _): "The identity \(id) is blocked"
    case .noCluster(let id, _): "No cluster has the identity \(id)"
    }
  }

  public var why: String {
    switch self {
    case .blocked(_, let pattern, let place): "\(pattern) stands under blocked at \(place)"
    case .noCluster(_, let files) where files.isEmpty: "There is no policy"
    case .noCluster(_, let files):
      "The policy is "
        + ForeignText.line(files.prefix(IdentityRefusal.filesNamed).joined(separator: ", "))
        + (files.count > IdentityRefusal.filesNamed
          ? " and \(files.count - IdentityRefusal.filesNamed) more files" : "")
    }
  }

  public var howToFix: String {
    switch self {
    case .blocked: "If it should be served, take it out there and reload"
    case .noCluster: "If it should be served, add it to the identities of a cluster and reload"
    }
  }

  public var blame: Blame { .operator }
}

extension PolicyRules {
  /// Why an identity is served nothing at all; nil when it has a cluster.
  public func refusal(of id: SPIFFEID) -> IdentityRefusal? {
    do throws(IdentityRefusal) {
      _ = try index(of: id)
      return nil
    } catch {
      return error
    }
  }

  /// What explains that nothing changes for an identity from other rules to these: it is blocked, and no change of what
  /// clusters may see reaches it. Nil when either rules have a cluster for it.
  public func note(onChangesFor id: SPIFFEID, from old: PolicyRules) -> String? {
    guard let before = old.refusal(of: id), let after = refusal(of: id) else { return nil }
    if case .blocked = after { return after.description }
    return before.description
  }
}
