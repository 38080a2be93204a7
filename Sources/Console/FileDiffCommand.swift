// `diff --config`: what an edited policy or folder of manifests would change for one cluster or all, from files alone:
// for a pipeline, before anything of it is served. Both sides are what a relay with this configuration would serve from
// its own directories; what comes from upstreams is not here and is left out.

public import Admin
import Configuration
import Documents
import Gates
import Manifests
import Origins
import Policy
import Primitives
import SPIFFE
import Snapshots

public struct FileDiffCommand: Sendable {
  public var configPath: String
  public var subject: DiffQuestion.Subject
  /// The edited policy, a file or a folder; nil: the configured one.
  public var policyPath: String?
  /// Edited folders as `FOLDER`, or `SOURCE=FOLDER`.
  public var manifests: [String]

  public init(
    configPath: String, subject: DiffQuestion.Subject, policyPath: String?, manifests: [String]
  ) {
    self.configPath = configPath
    self.subject = subject
    self.policyPath = policyPath
    self.manifests = manifests
  }

  /// Why there is no answer: lines for people, and the exit code.
  private struct Refusal: Error {
    var lines: [String]
    var code: Int32 = 1

    init(_ problems: [Problem]) { lines = Problem.sorted(problems).map(\.description) }

    init(usage line: String) {
      lines = ["meshrelay diff: " + line]
      code = 64
    }
  }

  /// 0: nothing would change; 1: something would, or files have problems; 64: usage.
  public func run() -> Int32 {
    do throws(Refusal) {
      return try compare()
    } catch {
      for line in error.lines { printError(line + "\n") }
      return error.code
    }
  }

  private func compare() throws(Refusal) -> Int32 {
    let loaded = RelayConfiguration.load(path: configPath)
    guard let configuration = loaded.configuration else { throw Refusal(loaded.problems) }
    let before = try rules(configuration.policyPath)
    let after = try policyPath.map { path throws(Refusal) in try rules(path) } ?? before
    let edited = try editedFolders(of: configuration)
    try mind(configuration.upstreamNames, besides: directories(of: configuration).count)
    let old = try content(of: configuration, edited: [:])
    let new = edited.isEmpty ? old : try content(of: configuration, edited: edited)
    let canonicalize = CanonicalForm().bodyCanonicalizer
    func view(_ rules: PolicyRules, _ content: [TypeName: Collection]) throws(Refusal) -> [TypeName:
      Collection]
    {
      guard let found = try cluster(in: rules) else { return [:] }
      return rules.view(of: content, class: found.classIndex, canonicalize)
    }
    guard case .all = subject else {
      // Most likely misspelt: an empty answer would be taken for "nothing changes".
      if let id = try identity(), before.cluster(for: id) == .none, after.cluster(for: id) == .none {
        throw Refusal(usage: "no policy has a cluster for the identity \(id)")
      }
      if case .cluster(let name) = subject, before.cluster(named: name) == nil,
        after.cluster(named: name) == nil
      {
        throw Refusal(usage: "no policy has the cluster '\(name)'")
      }
      let difference = ViewDifference(from: try view(before, old), to: try view(after, new))
      let note = try identity().flatMap { after.note(onChangesFor: $0, from: before) }
      printText(String(decoding: difference.json(note: note), as: UTF8.self) + "\n")
      if let note { printError("meshrelay diff: \(note)\n") }
      return difference.isEmpty ? 0 : 1
    }
    let differences = ViewDifferences(
      clusters: before.clusters.map(\.name) + after.clusters.map(\.name),
      before: before.views(of: old, canonicalize), after: after.views(of: new, canonicalize),
      placeBefore: { before.cluster(named: $0)?.classIndex },
      placeAfter: { after.cluster(named: $0)?.classIndex })
    printText(String(decoding: differences.json(), as: UTF8.self) + "\n")
    return differences.changes.isEmpty ? 0 : 1
  }

  private func cluster(in rules: PolicyRules) throws(Refusal) -> ClusterRules? {
    switch subject {
    case .all: return nil
    case .cluster(let name): return rules.cluster(named: name)
    case .identity:
      guard let id = try identity(), case .cluster(let index, _) = rules.cluster(for: id) else { return nil }
      return rules.clusters[index]
    }
  }

  /// Nil: a cluster or all is asked about.
  private func identity() throws(Refusal) -> SPIFFEID? {
    guard case .identity(let text) = subject else { return nil }
    do throws(SPIFFEError) { return try SPIFFEID(parsing: text) } catch {
      throw Refusal(usage: error.description)
    }
  }

  private func rules(_ path: String) throws(Refusal) -> PolicyRules {
    let loaded = PolicyRules.load(path: path)
    guard let rules = loaded.rules else { throw Refusal(loaded.problems) }
    return rules
  }

  /// Says what is not compared, so that "nothing would change" is not taken for more than it is.
  private func mind(_ upstreams: [String], besides directories: Int) throws(Refusal) {
    guard directories > 0 else {
      throw Refusal(
        usage:
          "\(configPath) has no directory to compare, and what upstreams send is not in files: ask the running "
          + "relay, without --config")
    }
    guard !upstreams.isEmpty else { return }
    printError(
      "meshrelay diff: left out, because it is not in files: what comes from \(upstreams.joined(separator: ", "))\n"
    )
  }

  // MARK: manifests

  private typealias Directory = (source: String, path: String, only: SourceFilter)

  private func directories(of configuration: RelayConfiguration) -> [Directory] {
    configuration.sources.compactMap { source in
      if case .directory(let path) = source.kind { (source.name, path, source.only) } else { nil }
    }
  }

  /// The folder to read instead, by source.
  private func editedFolders(of configuration: RelayConfiguration) throws(Refusal) -> [String: String] {
    let names = directories(of: configuration).map(\.source)
    var folders: [String: String] = [:]
    for text in manifests {
      let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      if parts.count == 2, names.contains(parts[0]) {
        folders[parts[0]] = parts[1]
      } else if let only = names.first, names.count == 1, parts.count == 1 || TextFile.isFolder(text) {
        folders[only] = text
      } else {
        throw Refusal(
          usage: (parts.count == 2
            ? "no directory is called '\(parts[0])' in \(configPath): "
            : "'\(text)' does not say whose manifests it has, write SOURCE=\(text): ")
            + "the directories are "
            + (names.isEmpty ? "none" : names.joined(separator: ", ")))
      }
    }
    return folders
  }

  /// What the directories say together, in the order of preference.
  private func content(
    of configuration: RelayConfiguration, edited: [String: String]
  ) throws(Refusal) -> [TypeName: Collection] {
    let directories = directories(of: configuration)
    var merge = Merge(
      sources: directories.map { directory in
        let only = directory.only
        return MergeSource(
          name: directory.source, listsEverything: true, supplies: { only.admits(type: "\($0)") },
          admits: { only.admits(type: "\($0.type)", namespace: $0.namespace) })
      })
    var lines: [String] = []
    for (source, path, _) in directories {
      let report = DirectoryReport.once(
        source: source, path: edited[source] ?? path, limits: configuration.limits, now: wallClock())
      if let fault = report.fault { lines.append("\(edited[source] ?? path): \(fault)") }
      lines += report.rejected.map {
        "\($0.place): \($0.resource.isEmpty ? "" : $0.resource + ": ")\($0.reason)"
      }
      for update in report.updates { _ = merge.apply(update) }
    }
    guard lines.isEmpty else {
      var refusal = Refusal([])
      refusal.lines = lines
      throw refusal
    }
    return merge.snapshot(at: Snapshot.nothing.position).collections
  }
}
