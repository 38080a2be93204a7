// The one policy that no file says: everything is granted. For a relay whose upstream has already decided what
// this host may see, and which serves that to nobody else.

public import Documents
public import SPIFFE

extension PolicyRules {
  /// Rules with one cluster that sees every object.
  /// - Parameter origin: what explanations name as the place of the rule.
  public static func everything(
    for cluster: String, identities: [SPIFFEPattern], origin: SourcePosition
  ) -> PolicyRules {
    let rule = Rule(position: origin, namespaces: nil, types: nil, names: nil, labels: nil, sources: nil)
    let whole = ClusterDraft(
      name: cluster, position: origin, identities: identities, allow: [rule], deny: [])
    return PolicyRules(clusters: [whole], blocked: [], expectationCount: 0, files: [origin.file])
  }
}
