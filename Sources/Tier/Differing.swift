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
  /// For whom; an identity is one that can be read.
  enum Subject: Sendable {
    case identity(SPIFFEID)
    case cluster(String)
    case all
  }

  let question: DiffQuestion
  let subject: Subject
  let generation: Generation
  /// What the second side is judged by.
  let rules: PolicyRules
  let canonicalize: BodyCanonicalizer

  /// `find` reads a kept version.
  func answer(_ find: (String) throws(GateRefusal) -> KeptContent) throws(GateRefusal) -> [UInt8] {
    let old = try question.from.map { version throws(GateRefusal) in try find(version).collections }
    let kept = try question.to.map { version throws(GateRefusal) in try find(version).collections }
    let new = kept ?? generation.snapshot.collections
    guard case .all = subject else { return one(from: old, to: new).json }
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
    ).json
  }

  private func one(
    from old: [TypeName: Collection]?, to new: [TypeName: Collection]
  ) -> ViewDifference {
    func cut(_ content: [TypeName: Collection], _ rules: PolicyRules) -> [TypeName: Collection] {
      cluster(in: rules).map { rules.view(of: content, class: $0.classIndex, canonicalize) } ?? [:]
    }
    let served = cluster(in: generation.rules).map {
      generation.views[generation.place(ofCluster: $0.index)].collections
    }
    return ViewDifference(from: old.map { cut($0, generation.rules) } ?? served ?? [:], to: cut(new, rules))
  }

  private func cluster(in rules: PolicyRules) -> ClusterRules? {
    switch subject {
    case .identity(let id):
      guard case .cluster(let index, _) = rules.cluster(for: id) else { return nil }
      return rules.clusters[index]
    case .cluster(let name): return rules.cluster(named: name)
    case .all: return nil
    }
  }
}

extension ControlLoop {
  func tellDifference(_ question: DiffQuestion, _ reply: @escaping @Sendable (AdminReply) -> Void) {
    for version in [question.from, question.to].compactMap({ $0 }) {
      if let error = VersionError(checking: version) { return reply(GateRefusal.version(error).reply) }
    }
    guard let generation = crossings.generation.value else {
      return reply(.error(status: 503, "Nothing has been published yet"))
    }
    let judged: Result<PolicyRules, AdminReplyError> = judge(question.judge, generation)
    switch (judged, subject(of: question, in: generation, judged)) {
    case (.failure(let error), _), (_, .failure(let error)): reply(error.reply)
    case (.success(let rules), .success(let subject)):
      let differing = Differing(
        question: question, subject: subject, generation: generation, rules: rules,
        canonicalize: canonicalize)
      if !submit(differing, reply) { reply(GateRefusal.busy.reply) }
    }
  }

  /// Why a question has no answer.
  private struct AdminReplyError: Error {
    let reply: AdminReply

    init(_ status: Int, _ text: String) { reply = .error(status: status, text) }
  }

  private func judge(
    _ judge: DiffQuestion.Judge, _ generation: Generation
  ) -> Result<PolicyRules, AdminReplyError> {
    switch judge {
    case .enforced: return .success(generation.rules)
    case .shadow:
      guard let shadowRules else { return .failure(AdminReplyError(404, "There is no shadow policy in use")) }
      return .success(shadowRules)
    case .files(let files):
      let (rules, problems) = PolicyRules.parse(
        files.map { FileText(path: ForeignText.line($0.path), bytes: $0.content) })
      let text = problems.prefix(20).map(\.description).joined(separator: "\n")
      return rules.map { .success($0) } ?? .failure(AdminReplyError(422, text))
    }
  }

  private func subject(
    of question: DiffQuestion, in generation: Generation, _ judged: Result<PolicyRules, AdminReplyError>
  ) -> Result<Differing.Subject, AdminReplyError> {
    switch question.subject {
    case .all: return .success(.all)
    case .identity(let text):
      let id: SPIFFEID
      do throws(SPIFFEError) { id = try SPIFFEID(parsing: text) } catch {
        return .failure(AdminReplyError(400, error.description))
      }
      // Most likely misspelt: an empty answer would be taken for "nothing changes".
      let policies = [generation.rules, (try? judged.get()) ?? generation.rules]
      guard policies.contains(where: { $0.cluster(for: id) != .none }) else {
        return .failure(AdminReplyError(404, "No policy has a cluster for the identity \(id)"))
      }
      return .success(.identity(id))
    case .cluster(let name):
      let other = try? judged.get()
      guard generation.rules.cluster(named: name) != nil || other?.cluster(named: name) != nil else {
        return .failure(AdminReplyError(404, "No policy has the cluster '\(ForeignText.line(name))'"))
      }
      return .success(.cluster(name))
    }
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
              return desk.restricted(try persistence.content(version, now: now))
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
            return desk.restricted(try desk.keptContent(version).get())
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
