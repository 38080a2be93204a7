// An object without some of its labels and annotations: what a policy class with a redaction is served instead of it.
//
// It is an object of its own: encoded once, shared by all who are served it, with the version that any tier below
// computes of it. The body passes untouched; a form can always be made, whatever the body holds.

extension Resource {
  /// This object as if its source had never written the keys that `hidesLabel` and `hidesAnnotation` name; itself when
  /// it has none of them.
  public func without(
    labels hidesLabel: (String) -> Bool, annotations hidesAnnotation: (String) -> Bool,
    canonicalize: BodyCanonicalizer?
  ) -> Resource {
    let labels = labels.filter { !hidesLabel($0.key) }
    let all = self.annotations
    let annotations = all.filter { !hidesAnnotation($0.key) }
    guard labels.count < self.labels.count || annotations.count < all.count else { return self }
    let draft = ResourceDraft(
      namespace: namespace, name: name, labels: labels, annotations: annotations, createTime: createTime,
      bodyMessage: bodyMessage, body: body, source: source)
    // Bare kinds have no labels, so this is none of them.
    return Resource(
      draft, type: type, wireName: wireName, version: Admission.version(of: draft, canonicalize),
      isBare: false)
  }
}

extension Admission {
  /// The content version of an object that was admitted. A body that cannot be brought into its canonical form any
  /// more (it was admitted by an older program) stands for itself, as one of a kind nobody knows.
  static func version(of draft: ResourceDraft, _ canonicalize: BodyCanonicalizer?) -> Version {
    do {
      return try contentVersion(draft, canonicalize)
    } catch {
      return contentVersion(draft, canonical: nil)
    }
  }
}
