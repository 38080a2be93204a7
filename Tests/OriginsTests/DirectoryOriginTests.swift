// Goal: what happens to real files on a real kernel arrives as the right updates, whole and once.
// Method: temporary folders, real inotify, one loop turned by hand; a `Merge` holds what would be served. Where
// the order of threads matters, the worker is one that runs its jobs when the test says so.

import Foundation
import Manifests
import Primitives
import Ring
import Snapshots
import Synchronization
import Testing

@testable import Origins

/// Keeps jobs until told to run them.
final class PatientWorker: Worker {
  private let jobs = Mutex<[@Sendable () -> Void]>([])

  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    jobs.withLock { $0.append(job) }
    return true
  }

  var waiting: Int { jobs.withLock { $0.count } }

  func runAll() {
    let all = jobs.withLock { jobs in
      defer { jobs = [] }
      return jobs
    }
    for job in all { job() }
  }
}

/// A watched temporary folder.
final class WatchedFolder {
  let base: URL
  let root: URL
  let loop: EventLoop
  private(set) var origin: DirectoryOrigin?
  private(set) var reports: [DirectoryReport] = []
  private var merge = Merge(sources: [MergeSource(name: "local", listsEverything: true)])

  init(
    worker: any Worker = InlineWorker(), isWatched: Bool = true, prepare: (URL) throws -> Void = { _ in }
  ) throws {
    base = FileManager.default.temporaryDirectory.appendingPathComponent("meshrelay-" + UUID().uuidString)
    root = base.appendingPathComponent("manifests")
    try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
    try prepare(root)
    loop = EventLoop(driver: try makeDriver(nil))
    var settings = DirectorySettings(path: root.path)
    settings.quiet = .milliseconds(20)
    settings.max = .milliseconds(200)
    settings.isWatched = isWatched
    settings.unwatchedInterval = .milliseconds(50)
    let origin = DirectoryOrigin(
      settings, state: DirectoryState(source: "local", folder: root.path), loop: loop, worker: worker
    ) { [unowned self] report in
      reports.append(report)
      for update in report.updates { _ = merge.apply(update) }
    }
    self.origin = origin
    loop.onWake = { [unowned origin] in origin.collect() }
    origin.start()
  }

  deinit {
    origin?.stop()
    try? FileManager.default.removeItem(at: base)
  }

  /// `ns/name=host` of every ServiceEntry served.
  var served: [String] {
    let entries = merge.held(by: "local").first { $0.key.kind == "ServiceEntry" }?.value.resources ?? []
    return entries.map { entry in
      // Body: field 1 (hosts) first, one short host.
      "\(entry.name)=\(String(decoding: entry.body.dropFirst(2), as: UTF8.self))"
    }
  }

  func url(_ path: String) -> URL { root.appendingPathComponent(path) }

  func write(_ path: String, _ text: String) throws { try Data(text.utf8).write(to: url(path)) }

  /// Turns the loop until `condition` holds; false after ten seconds.
  func wait(until condition: () -> Bool) -> Bool {
    for _ in 0..<1000 {
      if condition() { return true }
      loop.turn(waitingAtMost: .milliseconds(10))
    }
    return condition()
  }

  func waits(for expected: [String], sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(wait { served == expected }, "served \(served)", sourceLocation: sourceLocation)
  }

  /// Long enough for anything that was noticed to arrive.
  func settle() {
    for _ in 0..<50 { loop.turn(waitingAtMost: .milliseconds(10)) }
  }
}

func link(to target: String, at place: URL) throws {
  try FileManager.default.createSymbolicLink(atPath: place.path, withDestinationPath: target)
}

/// rename(2): replaces what is there in one step.
func moveOver(_ from: URL, _ to: URL) -> Bool { unsafe rename(from.path, to.path) == 0 }

func makePipe(_ place: URL) -> Bool { unsafe mkfifo(place.path, 0o600) == 0 }

@Suite(.serialized) struct DirectoryOriginTests {
  @Test func filesThatAreThereAreDelivered() throws {
    let folder = try WatchedFolder { root in
      try Data(entry("a").utf8).write(to: root.appendingPathComponent("a.yaml"))
      let deep = root.appendingPathComponent("x/y")
      try FileManager.default.createDirectory(at: deep, withIntermediateDirectories: true)
      try Data(entry("b").utf8).write(to: deep.appendingPathComponent("b.yml"))
      try Data(entry("no").utf8).write(to: root.appendingPathComponent(".hidden.yaml"))
      try Data(entry("no").utf8).write(to: root.appendingPathComponent("a.yaml~"))
      try Data(entry("no").utf8).write(to: root.appendingPathComponent("notes.txt"))
    }
    folder.waits(for: ["a=x.com", "b=x.com"])
  }

  @Test func writesRenamesAndRemovalsArrive() throws {
    let folder = try WatchedFolder()
    #expect(folder.wait { !folder.reports.isEmpty })
    try folder.write("a.yaml", entry("a"))
    folder.waits(for: ["a=x.com"])
    try folder.write("a.yaml", entry("a", host: "y.com"))
    folder.waits(for: ["a=y.com"])
    try Data(entry("a", host: "z.com").utf8).write(to: folder.base.appendingPathComponent("new"))
    #expect(moveOver(folder.base.appendingPathComponent("new"), folder.url("a.yaml")))
    folder.waits(for: ["a=z.com"])
    try folder.write(
      "b.json", #"{"apiVersion":"networking.istio.io/v1","kind":"ServiceEntry","metadata":{"name":"b"}}"#)
    folder.waits(for: ["b=", "a=z.com"])
    try FileManager.default.removeItem(at: folder.url("a.yaml"))
    folder.waits(for: ["b="])
  }

  @Test func otherLimitsCountFromTheNextLookOn() throws {
    let folder = try WatchedFolder()
    #expect(folder.wait { !folder.reports.isEmpty })
    let long = String(repeating: "x", count: 2000) + ".com"
    try folder.write("a.yaml", entry("a", host: long))
    #expect(folder.wait { folder.served.count == 1 })
    var limits = Limits()
    limits.resourceBytes = 1000
    folder.origin?.adopt(quiet: .milliseconds(1), max: .milliseconds(10), limits: limits)
    try folder.write("b.yaml", entry("b", host: long))
    #expect(folder.wait { folder.reports.last?.rejected.isEmpty == false })
    #expect(folder.served.count == 1, "what was read before stays")
  }

  @Test func newFoldersAreWatchedAtOnce() throws {
    let folder = try WatchedFolder()
    #expect(folder.wait { !folder.reports.isEmpty })
    try FileManager.default.createDirectory(at: folder.url("x/y/z"), withIntermediateDirectories: true)
    try folder.write("x/y/z/a.yaml", entry("a"))
    folder.waits(for: ["a=x.com"])
    try folder.write("x/y/z/a.yaml", entry("a", host: "y.com"))
    folder.waits(for: ["a=y.com"])
    try folder.write("b.yaml", entry("b"))
    try FileManager.default.removeItem(at: folder.url("x"))
    folder.waits(for: ["b=x.com"])
  }

  /// A volume as Kubernetes makes it: files are links through `..data`, which is swapped by one rename.
  @Test func volumeSwapsAreOneChange() throws {
    func fill(_ root: URL, _ version: String, host: String) throws {
      let data = root.appendingPathComponent("..\(version)")
      try FileManager.default.createDirectory(at: data, withIntermediateDirectories: true)
      for name in ["a", "b"] {
        try Data(entry(name, host: host).utf8).write(to: data.appendingPathComponent("\(name).yaml"))
      }
      let temporary = root.appendingPathComponent("..data_tmp")
      try link(to: "..\(version)", at: temporary)
      #expect(moveOver(temporary, root.appendingPathComponent("..data")))
    }
    let folder = try WatchedFolder { root in
      try fill(root, "v1", host: "v1.com")
      for name in ["a", "b"] {
        try link(to: "..data/\(name).yaml", at: root.appendingPathComponent("\(name).yaml"))
      }
    }
    folder.waits(for: ["a=v1.com", "b=v1.com"])
    let before = folder.reports.count
    try fill(folder.root, "v2", host: "v2.com")
    try FileManager.default.removeItem(at: folder.url("..v1"))
    folder.waits(for: ["a=v2.com", "b=v2.com"])
    folder.settle()
    #expect(folder.reports.count == before + 1)
  }

  @Test func aFileBeingWrittenIsNotReadBeforeItIsClosed() throws {
    let folder = try WatchedFolder()
    #expect(folder.wait { !folder.reports.isEmpty })
    try folder.write("a.yaml", entry("a") + "---\n" + entry("b"))
    folder.waits(for: ["a=x.com", "b=x.com"])
    let handle = try FileHandle(forWritingTo: folder.url("a.yaml"))
    try handle.truncate(atOffset: 0)
    try handle.write(contentsOf: Data(entry("a", host: "y.com").utf8))
    folder.loop.turn(waitingAtMost: .milliseconds(10))
    try folder.write("c.yaml", entry("c"))
    folder.waits(for: ["a=x.com", "b=x.com", "c=x.com"])
    try handle.write(contentsOf: Data(("---\n" + entry("b", host: "y.com")).utf8))
    try handle.close()
    folder.waits(for: ["a=y.com", "b=y.com", "c=x.com"])
    #expect(!folder.reports.contains { !$0.rejected.isEmpty })
  }

  @Test func whatWasReadWhileSomebodyWroteIsNotBelieved() throws {
    let worker = PatientWorker()
    let folder = try WatchedFolder(worker: worker)
    worker.runAll()
    #expect(folder.wait { !folder.reports.isEmpty })
    try folder.write("a.yaml", entry("a") + "---\n" + entry("b"))
    #expect(folder.wait { worker.waiting == 1 })
    // The writer comes between the event that led to the look and the look itself.
    let handle = try FileHandle(forWritingTo: folder.url("a.yaml"))
    try handle.truncate(atOffset: 0)
    try handle.write(contentsOf: Data(entry("a", host: "half.com").utf8))
    worker.runAll()
    #expect(folder.wait { worker.waiting == 1 })
    #expect(folder.served == [])
    try handle.write(contentsOf: Data(("---\n" + entry("b", host: "whole.com")).utf8))
    try handle.close()
    for _ in 0..<5 {
      worker.runAll()
      folder.settle()
    }
    #expect(folder.served == ["a=half.com", "b=whole.com"])
    #expect(!folder.reports.contains { $0.resources == 1 })
  }

  @Test func aDirectoryThatVanishesKeepsItsObjectsAndMayComeBack() throws {
    let folder = try WatchedFolder { root in
      try Data(entry("a").utf8).write(to: root.appendingPathComponent("a.yaml"))
    }
    folder.waits(for: ["a=x.com"])
    let away = folder.base.appendingPathComponent("away")
    try FileManager.default.moveItem(at: folder.root, to: away)
    #expect(folder.wait { folder.reports.last?.fault != nil })
    guard case .missing? = folder.reports.last?.fault else {
      Issue.record("the fault is \(String(describing: folder.reports.last?.fault))")
      return
    }
    #expect(folder.served == ["a=x.com"])
    try FileManager.default.moveItem(at: away, to: folder.root)
    #expect(folder.wait { folder.reports.last?.fault == nil })
    try folder.write("a.yaml", entry("a", host: "y.com"))
    folder.waits(for: ["a=y.com"])
    try FileManager.default.removeItem(at: folder.url("a.yaml"))
    #expect(folder.wait { folder.reports.last?.fault == .empty(path: folder.root.path, held: 1) })
    #expect(folder.served == ["a=y.com"])
  }

  @Test func linksAreFollowedButNeverInCircles() throws {
    var outside = URL(fileURLWithPath: "/")
    let folder = try WatchedFolder { root in
      outside = root.deletingLastPathComponent().appendingPathComponent("outside")
      try FileManager.default.createDirectory(at: outside, withIntermediateDirectories: true)
      try Data(entry("a").utf8).write(to: outside.appendingPathComponent("a.yaml"))
      try Data(entry("b").utf8).write(to: outside.appendingPathComponent("real-b"))
      try link(to: "../manifests", at: outside.appendingPathComponent("back"))
      try link(to: "../outside", at: root.appendingPathComponent("linked"))
      try link(to: ".", at: root.appendingPathComponent("self"))
      try link(to: "../outside/real-b", at: root.appendingPathComponent("b.yaml"))
      try link(to: "nowhere", at: root.appendingPathComponent("dangling.yaml"))
    }
    folder.waits(for: ["a=x.com", "b=x.com"])
    #expect(folder.reports.last?.rejected.map(\.place) == [folder.url("dangling.yaml").path + ":1:1"])
    try Data(entry("b", host: "y.com").utf8).write(to: outside.appendingPathComponent("real-b"))
    folder.waits(for: ["a=x.com", "b=y.com"])
  }

  @Test func whatIsNoFileNeverHangs() throws {
    let folder = try WatchedFolder { root in
      #expect(makePipe(root.appendingPathComponent("pipe.yaml")))
      try FileManager.default.createDirectory(
        at: root.appendingPathComponent("folder.yaml"), withIntermediateDirectories: true)
      try Data(entry("a").utf8).write(to: root.appendingPathComponent("folder.yaml/a.yaml"))
    }
    folder.waits(for: ["a=x.com"])
  }

  @Test func manyChangesAreGathered() throws {
    let folder = try WatchedFolder()
    #expect(folder.wait { !folder.reports.isEmpty })
    for index in 0..<200 { try folder.write("\(index).yaml", entry("e\(index)")) }
    #expect(folder.wait { folder.served.count == 200 })
    #expect(folder.reports.count < 20)
  }

  @Test func aCheckReadsOnceAndNamesEveryProblem() throws {
    let folder = try WatchedFolder { root in
      try Data(entry("a").utf8).write(to: root.appendingPathComponent("a.yaml"))
      try Data((entry("b") + "---\n" + entry("c").replacing("hosts", with: "hots")).utf8)
        .write(to: root.appendingPathComponent("b.yaml"))
    }
    let report = check(folder.root.path)
    #expect(report.resources == 2)
    #expect(report.rejected.map(\.place) == [folder.url("b.yaml").path + ":9:8"])
    #expect(
      check("/nowhere/at/all").fault
        == .missing(path: "/nowhere/at/all", reason: "No such file or directory"))
  }

  private func check(_ path: String) -> DirectoryReport {
    DirectoryReport.once(source: "local", path: path, limits: Limits(), now: Timestamp(seconds: 1))
  }

  @Test func withoutWatchesChangesAreFoundByLooking() throws {
    let folder = try WatchedFolder(isWatched: false)
    #expect(folder.wait { !folder.reports.isEmpty })
    try folder.write("a.yaml", entry("a"))
    folder.waits(for: ["a=x.com"])
  }

  @Test func afterStopNothingIsDelivered() throws {
    let folder = try WatchedFolder()
    #expect(folder.wait { !folder.reports.isEmpty })
    folder.origin?.stop()
    try folder.write("a.yaml", entry("a"))
    folder.settle()
    #expect(folder.served == [])
  }
}
