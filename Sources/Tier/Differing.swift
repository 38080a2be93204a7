// `diff`: what would change for one identity between what it is served, kept versions, the newest snapshot, and
// another policy. Works on a worker: it passes over whole snapshots.

import Admin
import Documents
import Downstream
import Gates
import Policy
import Primitives
import Ring
import SPIFFE
import Snapshots
import Store

struct Differing: Sendable {
  let question: DiffQuestion
  let id: SPIFFEID
  let generation: Generation
  /// What the second side is judged by.
  let rules: PolicyRules
  let canonicalize: BodyCanonicalizer

  /// `find` reads a kept version.
  func answer(_ find: (String) throws(GateRefusal) -> KeptContent) throws(GateRefusal) -> [UInt8] {
    let before: [TypeName: Collection]
    if let version = question.from {
      before = cut(try find(version).collections, generation.rules)
    } else {
      before = generation.view(for: id)?.collections ?? [:]
    }
    let content = try question.to.map { version throws(GateRefusal) in try find(version).collections }
    let after = cut(content ?? generation.snapshot.collections, rules)
    return Differing.encode(from: before, to: after)
  }

  private func cut(_ content: [TypeName: Collection], _ rules: PolicyRules) -> [TypeName: Collection] {
    guard case .cluster(let index, _) = rules.cluster(for: id) else { return [:] }
    let place = rules.clusters[index].classIndex
    let redaction = rules.classes[place].redaction
    return content.mapValues { collection in
      let seen = collection.resources.filter { rules.isVisible(ResourceFacts($0), class: place) }
      return Collection(
        redaction.map { redaction in seen.map { redaction.form(of: $0, canonicalize) } } ?? seen)
    }
  }

  private static func encode(from old: [TypeName: Collection], to new: [TypeName: Collection]) -> [UInt8] {
    let names = ChangedNames(from: old, to: new)
    var writer = JSONWriter()
    writer.object { writer in
      for (key, names) in [("added", names.added), ("changed", names.changed), ("removed", names.removed)] {
        writer.field(key, strings: names)
      }
    }
    return writer.bytes
  }
}

/// What differs between two contents: `TYPE NAMESPACE/NAME`.
struct ChangedNames: Sendable, Equatable {
  private(set) var added: [String] = []
  private(set) var changed: [String] = []
  private(set) var removed: [String] = []

  init(from old: [TypeName: Collection], to new: [TypeName: Collection]) {
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
}

extension ControlLoop {
  func tellDifference(_ question: DiffQuestion, _ reply: @escaping @Sendable (AdminReply) -> Void) {
    let id: SPIFFEID
    do throws(SPIFFEError) { id = try SPIFFEID(parsing: question.identity) } catch {
      return reply(.error(status: 400, error.description))
    }
    for version in [question.from, question.to].compactMap({ $0 }) {
      if let error = VersionError(checking: version) { return reply(GateRefusal.version(error).reply) }
    }
    guard let generation = crossings.generation.value else {
      return reply(.error(status: 503, "Nothing has been published yet"))
    }
    var other: PolicyRules?
    if let text = question.policy {
      let (rules, problems) = PolicyRules.parse(text, file: "policy")
      guard let rules else {
        return reply(.error(status: 400, problems.prefix(20).map(\.description).joined(separator: "\n")))
      }
      other = rules
    }
    let differing = Differing(
      question: question, id: id, generation: generation, rules: other ?? generation.rules,
      canonicalize: canonicalize)
    if !submit(differing, reply) { reply(GateRefusal.busy.reply) }
  }

  private func submit(
    _ differing: Differing, _ reply: @escaping @Sendable (AdminReply) -> Void
  ) -> Bool {
    let (desk, now) = (desk, loop.wallClock)
    if let persistence {
      return workers.store.submit {
        reply(
          AdminReply(differing) { version throws(GateRefusal) in
            do throws(StoreError) {
              return try persistence.content(version, now: now)
            } catch {
              throw .store(error)
            }
          })
      }
    }
    return workers.publisher.submit {
      reply(
        AdminReply(differing) { version throws(GateRefusal) in
          do throws(VersionError) {
            return try desk.keptContent(version).get()
          } catch {
            throw .version(error)
          }
        })
    }
  }
}

extension AdminReply {
  fileprivate init(
    _ differing: Differing, _ find: (String) throws(GateRefusal) -> KeptContent
  ) {
    do throws(GateRefusal) {
      self = .json(try differing.answer(find))
    } catch {
      self = error.reply
    }
  }
}
