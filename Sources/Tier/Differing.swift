// `diff`: what would change for one cluster or all between what is served, kept versions, the newest snapshot, and
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
  let generation: Generation
  /// The shadow policy, if there is one.
  let shadow: PolicyRules?
  /// What there is to say of it.
  let shadowTrouble: String?
  let canonicalize: BodyCanonicalizer

  /// For whom; an identity is one that can be read.
  private enum Subject {
    case identity(SPIFFEID)
    case cluster(String)
    case all
  }

  /// `find` reads a kept version.
  func answer(_ find: (String) throws(GateRefusal) -> KeptContent) throws(AdminRefusal) -> [UInt8] {
    let rules = try judge()
    let subject = try subject(beside: rules)
    let old = try question.from.map { version throws(AdminRefusal) in try content(version, find) }
    let kept = try question.to.map { version throws(AdminRefusal) in try content(version, find) }
    let new = kept ?? generation.snapshot.collections
    guard case .all = subject else {
      let difference = ViewDifference(
        from: before(subject, old), to: cut(new, cluster(of: subject, in: rules), rules))
      return difference.json(note: note(on: subject, beside: rules))
    }
    let before =
      old.map { generation.rules.views(of: $0, canonicalize) } ?? generation.views.map(\.collections)
    let names = generation.rules.clusters.map(\.name) + rules.clusters.map(\.name)
    return ViewDifferences(
      clusters: names, before: before, after: rules.views(of: new, canonicalize),
      placeBefore: { name in
        generation.rules.cluster(named: name).map {
          old == nil ? generation.place(ofCluster: $0.index) : $0.classIndex
        }
      },
      placeAfter: { rules.cluster(named: $0)?.classIndex }
    ).json(note: note(on: subject, beside: rules))
  }

  private func content(
    _ version: String, _ find: (String) throws(GateRefusal) -> KeptContent
  ) throws(AdminRefusal) -> [TypeName: Collection] {
    do throws(GateRefusal) { return try find(version).collections } catch {
      throw AdminRefusal(error.reply)
    }
  }

  // MARK: one cluster

  private func before(_ subject: Subject, _ old: [TypeName: Collection]?) -> [TypeName: Collection] {
    let found = cluster(of: subject, in: generation.rules)
    if let old { return cut(old, found, generation.rules) }
    return found.map { generation.views[generation.place(ofCluster: $0.index)].collections } ?? [:]
  }

  private func cut(
    _ content: [TypeName: Collection], _ cluster: ClusterRules?, _ rules: PolicyRules
  ) -> [TypeName: Collection] {
    cluster.map { rules.view(of: content, class: $0.classIndex, canonicalize) } ?? [:]
  }

  private func cluster(of subject: Subject, in rules: PolicyRules) -> ClusterRules? {
    switch subject {
    case .identity(let id): (try? rules.index(of: id)).map { rules.clusters[$0] }
    case .cluster(let name): rules.cluster(named: name)
    case .all: nil
    }
  }

  /// What the lists alone do not say.
  private func note(on subject: Subject, beside rules: PolicyRules) -> String? {
    var notes: [String] = []
    if question.judge == .shadow, let shadowTrouble { notes.append(shadowTrouble) }
    if case .identity(let id) = subject, let note = rules.note(onChangesFor: id, from: generation.rules) {
      notes.append(note)
    }
    return notes.isEmpty ? nil : notes.joined(separator: " ")
  }

  // MARK: what is asked

  /// The policy that the second side is judged by.
  private func judge() throws(AdminRefusal) -> PolicyRules {
    switch question.judge {
    case .enforced: return generation.rules
    case .shadow:
      guard let shadow else {
        throw AdminRefusal(
          404, ["There is no shadow policy in use.", shadowTrouble ?? ""].joined(separator: " "))
      }
      return shadow
    case .files(let files):
      let (rules, problems) = PolicyRules.parse(
        files.map { FileText(path: ForeignText.line($0.path), bytes: $0.content) })
      guard let rules else {
        throw AdminRefusal(422, problems.prefix(20).map(\.description).joined(separator: "\n"))
      }
      return rules
    }
  }

  private func subject(beside rules: PolicyRules) throws(AdminRefusal) -> Subject {
    switch question.subject {
    case .all: return .all
    case .identity(let text):
      let id = try SPIFFEID(asked: text)
      // Most likely misspelt: an empty answer would be taken for "nothing changes".
      guard generation.rules.cluster(for: id) != .none || rules.cluster(for: id) != .none else {
        throw AdminRefusal(404, "No policy has a cluster for the identity \(id)")
      }
      return .identity(id)
    case .cluster(let name):
      guard generation.rules.cluster(named: name) != nil || rules.cluster(named: name) != nil else {
        throw AdminRefusal(404, "No policy has the cluster '\(ForeignText.line(name))'")
      }
      return .cluster(name)
    }
  }
}

extension ControlLoop {
  func tellDifference(_ question: DiffQuestion, _ reply: @escaping @Sendable (AdminReply) -> Void) {
    guard let generation = crossings.generation.value,
      generation.snapshot.isComplete || !generation.snapshot.collections.isEmpty
    else {
      // "Nothing would change" would be said of nothing.
      return reply(nothingServed)
    }
    let differing = Differing(
      question: question, generation: generation, shadow: shadowRules, shadowTrouble: shadowDesk.trouble,
      canonicalize: canonicalize)
    if !submit(differing, reply) { reply(GateRefusal.busy.reply) }
  }

  /// Never on the publisher's worker, wherever versions are kept: a grant that ends must not wait for a comparison.
  private func submit(
    _ differing: Differing, _ reply: @escaping @Sendable (AdminReply) -> Void
  ) -> Bool {
    let (desk, persistence, now) = (desk, persistence, loop.wallClock)
    return workers.store.submit {
      reply(
        AdminReply(differing) { version throws(GateRefusal) in
          guard let persistence else {
            do throws(VersionError) {
              return desk.restricted(try desk.keptContent(version).get())
            } catch {
              throw .version(error)
            }
          }
          do throws(StoreError) {
            return desk.restricted(try persistence.content(version, now: now))
          } catch {
            throw .store(error)
          }
        })
    }
  }
}

extension AdminReply {
  fileprivate init(
    _ differing: Differing, _ find: (String) throws(GateRefusal) -> KeptContent
  ) {
    do throws(AdminRefusal) {
      self = .json(try differing.answer(find))
    } catch {
      self = error.reply
    }
  }
}
