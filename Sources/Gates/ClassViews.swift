// What each policy class sees of the newest snapshot, kept up from changes alone.
//
// A change costs O(changed resources × classes that may see them); new rules cost one pass over the snapshot.
// Collections that come out equal are one collection, whatever led to them, so classes that see the same share
// its memory. Pure.

internal import Policy
internal import Snapshots

struct ClassViews: Sendable {
  /// By class index, by type.
  private(set) var visible: [[TypeName: Collection]]
  var index: ClassIndex
  private(set) var forms: RedactedForms
  /// Classes asked about an object by changes, so far: what they have cost.
  private(set) var evaluations: UInt64 = 0

  /// Nothing is seen yet.
  init(_ rules: PolicyRules, _ forms: RedactedForms) {
    self.forms = forms
    index = ClassIndex(rules)
    visible = Array(repeating: [:], count: rules.classes.count)
  }

  subscript(candidate: Int) -> [TypeName: Collection] { visible[candidate] }

  /// What one step did to one type of one class.
  struct Step {
    let classIndex: Int
    let type: TypeName
    let before: Collection
    let after: Collection
  }

  private struct Edits {
    var upserts: [Resource] = []
    var removals: [String] = []
  }

  /// Takes over the change of one type.
  mutating func apply(_ change: Merge.TypeChange, _ rules: PolicyRules) -> [Step] {
    var edits: [Int: Edits] = [:]
    var (namespace, candidates) = (String?.none, [Int]())
    for resource in change.upserts {
      let facts = ResourceFacts(resource)
      // They come in the order of their namespaces.
      if namespace != resource.namespace {
        candidates = index.candidates(type: change.type, namespace: resource.namespace)
        namespace = resource.namespace
      }
      evaluations += UInt64(candidates.count)
      for candidate in candidates {
        if rules.isVisible(facts, class: candidate) {
          let form = forms.form(of: resource, rules.classes[candidate].redaction)
          edits[candidate, default: Edits()].upserts.append(form)
        } else if visible[candidate][change.type]?.contains(resource.wireName) == true {
          edits[candidate, default: Edits()].removals.append(resource.wireName)
        }
      }
    }
    forms.forget(change.type, names: change.removals)
    for name in change.removals {
      for candidate in index.candidates(type: change.type, namespace: WireName.namespace(of: name))
      where visible[candidate][change.type]?.contains(name) == true {
        edits[candidate, default: Edits()].removals.append(name)
      }
    }
    var shared: [Version: Collection] = [:]
    return edits.sorted { $0.key < $1.key }.map { candidate, edits in
      let before = visible[candidate][change.type] ?? .empty
      // Who saw nothing and now sees all there is, as it is, needs no collection of its own.
      let seesAll =
        before.isEmpty && edits.upserts.count == change.after.count
        && rules.classes[candidate].redaction == nil
      let after =
        seesAll
        ? change.after
        : ClassViews.shared(before.applying(upserts: edits.upserts, removals: edits.removals), &shared)
      visible[candidate][change.type] = after
      return Step(classIndex: candidate, type: change.type, before: before, after: after)
    }
  }

  /// Cuts a whole snapshot by other rules.
  mutating func replace(_ rules: PolicyRules, _ content: [TypeName: Collection]) {
    let before = visible
    index = ClassIndex(rules)
    forms.keepOnly(Set(rules.classes.compactMap(\.redaction)))
    visible = Array(repeating: [:], count: rules.classes.count)
    for (type, collection) in content {
      var shared: [Version: Collection] = [collection.version: collection]
      for view in before {
        if let old = view[type] { shared[old.version] = old }
      }
      var seen: [[Resource]] = Array(repeating: [], count: rules.classes.count)
      for resource in collection.resources {
        let facts = ResourceFacts(resource)
        for candidate in index.candidates(type: type, namespace: resource.namespace)
        where rules.isVisible(facts, class: candidate) {
          seen[candidate].append(forms.form(of: resource, rules.classes[candidate].redaction))
        }
      }
      for (candidate, resources) in seen.enumerated() where !resources.isEmpty {
        visible[candidate][type] = ClassViews.shared(Collection(resources), &shared)
      }
    }
  }

  /// What one class sees of older content. An object that it may not see as it is now, or was when it went, is
  /// not shown as it was before.
  func cut(
    _ base: [TypeName: Collection], class candidate: Int, _ rules: PolicyRules,
    newestForm: (Resource) -> ResourceFacts?
  ) -> [TypeName: Collection] {
    var result: [TypeName: Collection] = [:]
    for (type, collection) in base {
      let seen = collection.resources.filter { old in
        rules.isVisible(ResourceFacts(old), class: candidate)
          && newestForm(old).map { rules.isVisible($0, class: candidate) } ?? true
      }
      guard !seen.isEmpty else { continue }
      let redaction = rules.classes[candidate].redaction
      let shown = redaction == nil ? seen : seen.map { forms.anyForm(of: $0, redaction) }
      var shared = [collection.version: collection]
      if let newest = visible[candidate][type] { shared[newest.version] = newest }
      result[type] = ClassViews.shared(Collection(shown), &shared)
    }
    return result
  }

  private static func shared(_ collection: Collection, _ known: inout [Version: Collection]) -> Collection {
    if let same = known[collection.version] { return same }
    known[collection.version] = collection
    return collection
  }
}
