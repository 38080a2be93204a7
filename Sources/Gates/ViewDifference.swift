// What leads from one view to another, in names: the answer of `diff`, for one cluster or for all.

public import Policy
internal import Primitives
public import Snapshots

/// `TYPE NAMESPACE/NAME`, by type, then name.
public struct ViewDifference: Sendable, Equatable {
  public private(set) var added: [String] = []
  public private(set) var changed: [String] = []
  public private(set) var removed: [String] = []

  public init(from old: [TypeName: Collection], to new: [TypeName: Collection]) {
    for type in Set(old.keys).union(new.keys).sorted() {
      let before = old[type] ?? .empty
      let difference = Collection.difference(from: before, to: new[type] ?? .empty)
      for resource in difference.changed {
        let name = "\(type) \(resource.wireName)"
        if before.contains(resource.wireName) { changed.append(name) } else { added.append(name) }
      }
      removed += difference.removed.map { "\(type) \($0)" }
    }
  }

  public var isEmpty: Bool { added.isEmpty && changed.isEmpty && removed.isEmpty }

  fileprivate var parts: [(key: String, names: [String])] {
    [("added", added), ("changed", changed), ("removed", removed)]
  }

  /// `{added, changed, removed}`, and `note` where there is one.
  public func json(note: String? = nil) -> [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      for (key, names) in parts { writer.field(key, strings: names) }
      if let note { writer.field("note", note) }
    }
    return writer.bytes
  }
}

/// The differences of all clusters; clusters that change alike stand together.
public struct ViewDifferences: Sendable {
  /// By their first cluster; only those that change.
  public private(set) var changes: [(clusters: [String], difference: ViewDifference)] = []
  /// Clusters for which nothing changes.
  public private(set) var unchanged = 0

  /// Names that are listed of each kind of change; their count is always told.
  public static let namesListed = 100

  private struct Pair: Hashable {
    let before: Int?
    let after: Int?
  }

  /// `before` and `after`: what each place shows; `placeBefore` and `placeAfter`: the place of a cluster by name, nil
  /// for one that is not there.
  public init(
    clusters names: some Sequence<String>, before: [[TypeName: Collection]], after: [[TypeName: Collection]],
    placeBefore: (String) -> Int?, placeAfter: (String) -> Int?
  ) {
    var members: [Pair: [String]] = [:]
    for name in Set(names) {
      members[Pair(before: placeBefore(name), after: placeAfter(name)), default: []].append(name)
    }
    for (pair, clusters) in members {
      let difference = ViewDifference(
        from: pair.before.map { before[$0] } ?? [:], to: pair.after.map { after[$0] } ?? [:])
      if difference.isEmpty {
        unchanged += clusters.count
      } else {
        changes.append((clusters.sorted(), difference))
      }
    }
    changes.sort { ($0.clusters.first ?? "") < ($1.clusters.first ?? "") }
  }

  /// `{changes[]{clusters[], added[], addedTotal, changed[], changedTotal, removed[], removedTotal}, unchanged}`, and
  /// `note` where there is one.
  public func json(note: String? = nil) -> [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
      writer.field(
        "changes",
        array: { writer in
          for (clusters, difference) in changes {
            writer.object { writer in
              writer.field("clusters", strings: clusters)
              for (key, names) in difference.parts {
                writer.field(key, strings: names.prefix(ViewDifferences.namesListed))
                writer.field(key + "Total", names.count)
              }
            }
          }
        })
      writer.field("unchanged", unchanged)
      if let note { writer.field("note", note) }
    }
    return writer.bytes
  }
}

extension PolicyRules {
  /// What every class would be served of this content, by class index. Costs a pass over it.
  public func views(
    of content: [TypeName: Collection], _ canonicalize: BodyCanonicalizer?
  ) -> [[TypeName: Collection]] {
    var views = ClassViews(self, RedactedForms(canonicalize: canonicalize))
    views.replace(self, content)
    return views.visible
  }

  /// What one class would be served of this content.
  public func view(
    of content: [TypeName: Collection], class index: Int, _ canonicalize: BodyCanonicalizer?
  ) -> [TypeName: Collection] {
    let redaction = classes[index].redaction
    return content.mapValues { collection in
      let seen = collection.resources.filter { isVisible(ResourceFacts($0), class: index) }
      return Collection(
        redaction.map { redaction in seen.map { redaction.form(of: $0, canonicalize) } } ?? seen)
    }
  }
}
