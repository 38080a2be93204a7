// Goal: what a directory says becomes exactly the changes it means, and nothing good is lost to something bad.
// Method: listings and contents by hand; a `Merge` takes every update, so that what clients would be served is
// compared, not what was sent on the way.

import Manifests
import Primitives
import Snapshots
import Testing

@testable import Origins

/// A directory that exists only in memory.
struct PretendDirectory {
  private var files: [String: (stamp: FileStamp, content: FileContent)] = [:]
  private var hidden: [String: String] = [:]
  private var nextInode: UInt64 = 1
  var state: DirectoryState
  private(set) var merge = Merge(sources: [MergeSource(name: "local", listsEverything: true)])
  private(set) var lastRead: [String] = []

  init(previous: [Resource] = []) {
    state = DirectoryState(source: "local", folder: "manifests", previous: previous)
  }

  mutating func write(_ path: String, _ text: String) { set(path, .bytes(Array(text.utf8))) }

  mutating func set(_ path: String, _ content: FileContent) {
    files[path] = (FileStamp(inode: nextInode), content)
    nextInode += 1
  }

  mutating func remove(_ path: String) { files[path] = nil }

  mutating func hide(_ folder: String) { hidden[folder] = "Permission denied" }

  @discardableResult
  mutating func look(at time: Int64 = 1000) -> DirectoryReport {
    let listing = FolderListing(
      files: files.filter { path, _ in !hidden.keys.contains { path.hasPrefix($0 + "/") } }
        .map { ListedFile(path: $0, stamp: $1.stamp) },
      unreadableFolders: hidden)
    lastRead = state.filesToRead(listing)
    var contents: [String: FileContent] = [:]
    for path in lastRead { contents[path] = files[path]?.content }
    let report = state.update(listing, contents: contents, now: Timestamp(seconds: time))
    for update in report.updates { _ = merge.apply(update) }
    return report
  }

  /// `Kind namespace/name` of everything served, sorted.
  var served: [String] {
    let snapshot = merge.snapshot(
      at: .init(origin: "o", sequence: 1, published: Timestamp(seconds: 0), path: []))
    return Kinds.all.flatMap { kind -> [String] in
      guard case .ready(let collection) = snapshot.state(of: kind.type) else { return [] }
      return collection.resources.map { "\(kind.type.kind) \($0.wireName)" }
    }.sorted()
  }

  func resource(_ kind: String, _ name: String) -> Resource? {
    merge.held(by: "local").first { $0.key.kind == kind }?.value[name]
  }
}

func entry(_ name: String, host: String = "x.com", namespace: String = "prod") -> String {
  """
  apiVersion: networking.istio.io/v1
  kind: ServiceEntry
  metadata: {name: \(name), namespace: \(namespace)}
  spec: {hosts: [\(host)]}

  """
}

@Suite struct DirectoryStateTests {
  @Test func firstLookReplacesEveryKindAndCompletes() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    let report = directory.look()
    #expect(directory.served == ["ServiceEntry prod/a"])
    #expect(report.resources == 1)
    guard case .complete? = report.updates.last?.kind else {
      Issue.record("the first look does not complete")
      return
    }
    let described = Kinds.all.filter { Schema.istio.contains(message: $0.bodyMessage) }
    #expect(report.updates.count == described.count + 1)
  }

  @Test func anEmptyDirectoryAtFirstIsAnAnswer() {
    var directory = PretendDirectory()
    let report = directory.look()
    #expect(report.fault == nil)
    #expect(directory.merge.isComplete)
  }

  @Test func changesCarryOnlyWhatChanged() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a") + "---\n" + entry("b"))
    directory.look()
    directory.write("a.yaml", entry("a", host: "y.com") + "---\n" + entry("b"))
    let report = directory.look()
    #expect(report.updates.count == 1)
    guard case .change(_, let upserts, let removals)? = report.updates.first?.kind else {
      Issue.record("no change was reported")
      return
    }
    #expect(upserts.map(\.wireName) == ["prod/a"])
    #expect(removals == [])
  }

  @Test func unchangedFilesAreNotReadAgain() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.write("b.yaml", entry("b"))
    directory.look()
    directory.write("b.yaml", entry("b", host: "y.com"))
    directory.look()
    #expect(directory.lastRead == ["b.yaml"])
    #expect(directory.look().updates.isEmpty)
    #expect(directory.lastRead == [])
  }

  @Test func touchedButEqualContentChangesNothing() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.look(at: 1000)
    directory.write("a.yaml", "# a comment\n" + entry("a"))
    #expect(directory.look(at: 2000).updates.isEmpty)
  }

  @Test func aRemovedFileRemovesItsObjects() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.write("b.yaml", entry("b"))
    directory.look()
    directory.remove("a.yaml")
    directory.look()
    #expect(directory.served == ["ServiceEntry prod/b"])
  }

  @Test func aDirectoryThatTurnsEmptyIsAFault() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.look()
    directory.remove("a.yaml")
    let report = directory.look()
    #expect(report.fault == .empty(path: "manifests", held: 1))
    #expect(directory.served == ["ServiceEntry prod/a"])
    directory.write("none.yaml", "# all gone on purpose\n")
    #expect(directory.look().fault == nil)
    #expect(directory.served == [])
  }

  @Test func anOperatorsWordMakesAnEmptyDirectoryADeletionOnce() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.look()
    directory.remove("a.yaml")
    directory.state.acceptsEmpty = true
    #expect(directory.look().fault == nil)
    #expect(directory.served == [])
    directory.write("b.yaml", entry("b"))
    directory.look()
    directory.remove("b.yaml")
    #expect(directory.look().fault != nil)
  }

  // MARK: Bad files

  static let badFiles = [
    "a: b: c: [", "kind: ServiceEntry", entry("a") + "  {{ .Values }}", "\u{0}\u{1}", "- just\n- a list",
    entry("a").replacing("hosts", with: "hots"), "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
    entry("a") + "spec: {hosts: [again]}\n",
  ]

  @Test(arguments: badFiles.indices)
  func aBadFileKeepsItsLastGoodVersionAndStopsNobody(_ index: Int) {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.write("b.yaml", entry("b"))
    directory.look()
    let good = directory.resource("ServiceEntry", "prod/a")
    directory.write("a.yaml", Self.badFiles[index])
    directory.write("b.yaml", entry("b", host: "new.com"))
    directory.write("c.yaml", entry("c"))
    let report = directory.look()
    #expect(!report.rejected.isEmpty)
    #expect(report.rejected.allSatisfy { $0.place.hasPrefix("manifests/a.yaml:") })
    #expect(directory.resource("ServiceEntry", "prod/b")?.version != nil)
    let isSecret = index == 6
    #expect(
      directory.served == (isSecret ? [] : ["ServiceEntry prod/a"]) + [
        "ServiceEntry prod/b", "ServiceEntry prod/c",
      ])
    if !isSecret { #expect(directory.resource("ServiceEntry", "prod/a")?.version == good?.version) }
    directory.write("a.yaml", entry("a", host: "fixed.com"))
    #expect(directory.look().rejected.isEmpty)
    #expect(directory.resource("ServiceEntry", "prod/a")?.version != good?.version)
  }

  @Test func oneBadDocumentKeepsOnlyItself() {
    var directory = PretendDirectory()
    directory.write("a.yaml", [entry("a"), entry("b"), entry("c")].joined(separator: "---\n"))
    directory.look()
    directory.write(
      "a.yaml", entry("a", host: "new.com") + "---\n" + entry("b").replacing("[x.com]", with: "7"))
    let report = directory.look()
    #expect(directory.served == ["ServiceEntry prod/a", "ServiceEntry prod/b"])
    #expect(report.rejected.map(\.resource) == ["networking.istio.io/ServiceEntry prod/b"])
    #expect(report.rejected.first?.place == "manifests/a.yaml:9:15")
  }

  @Test func aMisspeltKindKeepsTheObjectOfItsNames() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a") + "---\n" + entry("b"))
    directory.look()
    directory.write("a.yaml", entry("a").replacing("kind: ServiceEntry", with: "kind: ServiceEntri"))
    let report = directory.look()
    #expect(directory.served == ["ServiceEntry prod/a"])
    #expect(report.rejected.first?.reason.contains("write kind: ServiceEntry") == true)
  }

  @Test func aFileRenamedAndBrokenAtOnceKeepsItsObjects() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.write("z.yaml", entry("z"))
    directory.look()
    directory.remove("a.yaml")
    directory.write("b.yaml", "a: b: c")
    directory.look()
    #expect(directory.served == ["ServiceEntry prod/a", "ServiceEntry prod/z"])
    directory.remove("b.yaml")
    directory.look()
    #expect(directory.served == ["ServiceEntry prod/z"])
  }

  @Test func aFileThatIsEmptiedKeepsItsObjectsUntilItSaysSo() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.write("b.yaml", "")
    directory.look()
    directory.write("a.yaml", "")
    let report = directory.look()
    #expect(directory.served == ["ServiceEntry prod/a"])
    #expect(report.rejected.map(\.place) == ["manifests/a.yaml:1:1"])
    directory.write("a.yaml", "# nothing any more\n")
    #expect(directory.look().rejected.isEmpty)
    #expect(directory.served == [])
  }

  @Test func anOldBadFileDoesNotHoldUpDeletions() {
    var directory = PretendDirectory()
    directory.write("bad.yaml", "a: b: c")
    directory.write("a.yaml", entry("a"))
    directory.write("b.yaml", entry("b"))
    directory.look()
    directory.remove("a.yaml")
    directory.look()
    #expect(directory.served == ["ServiceEntry prod/b"])
  }

  @Test func unreadableFilesAndFoldersKeepWhatTheyHeld() {
    var directory = PretendDirectory()
    directory.write("team/a.yaml", entry("a"))
    directory.write("b.yaml", entry("b"))
    directory.look()
    directory.set("b.yaml", .unreadable("Permission denied"))
    directory.hide("team")
    let report = directory.look()
    #expect(directory.served == ["ServiceEntry prod/a", "ServiceEntry prod/b"])
    #expect(report.rejected.map(\.place) == ["manifests/b.yaml:1:1", "manifests/team"])
    #expect(report.fault == nil)
  }

  @Test func aFileBeingWrittenCountsAsItWas() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.look()
    directory.set("a.yaml", .unsettled)
    directory.set("new.yaml", .unsettled)
    let report = directory.look()
    #expect(report.updates.isEmpty)
    #expect(report.rejected.isEmpty)
    directory.look()
    #expect(directory.lastRead == ["a.yaml", "new.yaml"])
  }

  @Test func textOfFilesCannotForgeALogLine() {
    var directory = PretendDirectory()
    directory.write("a\n.yaml", entry("a").replacing("hosts", with: "\"ho\\nts\\u001b\""))
    let rejection = directory.look().rejected.first
    #expect(rejection?.place == "manifests/a\\u{a}.yaml:4:8")
    #expect(rejection?.reason.contains("ho\\u{a}ts\\u{1b}") == true)
  }

  // MARK: Duplicates

  @Test func theFirstOfTwoEqualNamesWinsAndBothPlacesAreNamed() {
    var directory = PretendDirectory()
    directory.write("b.yaml", entry("x", host: "b.com"))
    directory.write("a.yaml", entry("x", host: "a.com"))
    let report = directory.look()
    #expect(directory.served == ["ServiceEntry prod/x"])
    #expect(report.rejected.count == 1)
    #expect(report.rejected.first?.place == "manifests/b.yaml:1:1")
    #expect(report.rejected.first?.reason.contains("manifests/a.yaml:1:1") == true)
    let first = directory.resource("ServiceEntry", "prod/x")?.version
    directory.remove("a.yaml")
    #expect(directory.look().rejected.isEmpty)
    #expect(directory.resource("ServiceEntry", "prod/x")?.version != first)
  }

  @Test func versionsOfOneKindAreOneObject() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("x") + "---\n" + entry("x").replacing("io/v1", with: "io/v1alpha3"))
    #expect(directory.look().rejected.count == 1)
    #expect(directory.served == ["ServiceEntry prod/x"])
  }

  @Test func anObjectThatMovesToAnotherFileStays() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("x"))
    directory.write("b.yaml", entry("b"))
    directory.look()
    directory.remove("a.yaml")
    directory.write("b.yaml", entry("b") + "---\n" + entry("x"))
    let report = directory.look()
    #expect(report.updates.isEmpty)
    #expect(report.rejected.isEmpty)
  }

  // MARK: Creation times and restarts

  @Test func creationTimeIsTheManifestsOrTheFirstSight() {
    var directory = PretendDirectory()
    directory.write("a.yaml", entry("a"))
    directory.write(
      "b.yaml", entry("b").replacing("name: b", with: "name: b, creationTimestamp: '2024-01-02T03:04:05Z'"))
    directory.look(at: 1000)
    directory.write("a.yaml", entry("a", host: "new.com"))
    directory.look(at: 2000)
    #expect(directory.resource("ServiceEntry", "prod/a")?.createTime == Timestamp(seconds: 1000))
    #expect(
      directory.resource("ServiceEntry", "prod/b")?.createTime == Timestamp(rfc3339: "2024-01-02T03:04:05Z"))
  }

  private func previous() throws -> [Resource] {
    var before = PretendDirectory()
    before.write("a.yaml", entry("a"))
    before.write("b.yaml", entry("b"))
    before.look(at: 500)
    return [
      try #require(before.resource("ServiceEntry", "prod/a")),
      try #require(before.resource("ServiceEntry", "prod/b")),
    ]
  }

  @Test func afterARestartABadFileStillHasItsLastGoodVersion() throws {
    var directory = PretendDirectory(previous: try previous())
    directory.write("a.yaml", "a: b: c")
    directory.write("c.yaml", entry("c"))
    directory.look()
    #expect(directory.served == ["ServiceEntry prod/a", "ServiceEntry prod/b", "ServiceEntry prod/c"])
    directory.write("a.yaml", entry("a"))
    directory.look()
    #expect(directory.served == ["ServiceEntry prod/a", "ServiceEntry prod/c"])
  }

  @Test func afterARestartTimesStayAndWhatIsGoneIsGone() throws {
    var directory = PretendDirectory(previous: try previous())
    directory.write("a.yaml", entry("a"))
    directory.look(at: 9000)
    #expect(directory.served == ["ServiceEntry prod/a"])
    #expect(directory.resource("ServiceEntry", "prod/a")?.createTime == Timestamp(seconds: 500))
  }

  @Test func afterARestartAnEmptyDirectoryIsAFault() throws {
    var directory = PretendDirectory(previous: try previous())
    #expect(directory.look().fault == .empty(path: "manifests", held: 2))
  }
}
