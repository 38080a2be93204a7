// One look at a directory, as a job for a worker: walk, read what changed, ask `DirectoryState` what it means.
// Takes the state as a value and gives the next one back, so that the loop may still refuse the result when it
// learns that a file was being written meanwhile.

import Manifests
import Primitives

struct DirectoryScan: Sendable {
  let path: String
  let state: DirectoryState
  let limits: DirectoryLimits
  let fileBytesMax: Int
  let watch: FolderWatch?
  /// Files whose writers have not closed them.
  let unsettled: Set<FileKey>
  /// Set: files modified less than this ago count as being written. For looks that no event led to.
  let settling: Duration?
  let now: Timestamp
  /// Set: only documents that may define this object are looked at.
  var mention: Mention?

  struct Outcome: Sendable {
    let state: DirectoryState
    let report: DirectoryReport
    /// What was read.
    let read: Set<FileKey>
    /// Files were left as they were because somebody is writing them.
    let leftUnsettled: Bool
  }

  func run() -> Outcome {
    var walk = FolderWalk(root: path, limits: limits, watch: watch, needsStamps: mention == nil)
    do {
      try walk.run()
    } catch {
      var report = state.report(fault: error)
      report.watchTrouble = walk.watchTrouble
      return Outcome(state: state, report: report, read: [], leftUnsettled: false)
    }
    if let mention { walk.keep(mentioning: mention, fileBytesMax: fileBytesMax) }
    let listing = walk.listing
    let wanted = Set(state.filesToRead(listing))
    var contents: [String: FileContent] = [:]
    var read: Set<FileKey> = []
    var leftUnsettled = false
    for file in walk.found where wanted.contains(file.listed.path) {
      let content = self.content(of: file)
      if case .unsettled = content { leftUnsettled = true } else { read.insert(file.key) }
      contents[file.listed.path] = content
    }
    var next = state
    var report = next.update(listing, contents: contents, now: now)
    report.watchTrouble = walk.watchTrouble
    return Outcome(state: next, report: report, read: read, leftUnsettled: leftUnsettled)
  }

  private func content(of file: FolderWalk.Found) -> FileContent {
    if unsettled.contains(file.key) || isYoung(file.listed.stamp) { return .unsettled }
    switch SystemCalls.read(file.path, bytesMax: fileBytesMax) {
    case .failure(let error): return .unreadable(error.text)
    case .success(let (bytes, before, after)):
      // The stamp kept for the file is the listed one: what was read must belong to it.
      let isWhole = before == after && before == file.listed.stamp && Int64(bytes.count) == after.size
      guard isWhole else { return .unsettled }
      return .bytes(mention?.reduce(bytes) ?? bytes)
    }
  }

  private func isYoung(_ stamp: FileStamp) -> Bool {
    guard let settling else { return false }
    let age =
      Duration.seconds(now.seconds) + .nanoseconds(Int64(now.nanoseconds)) - .nanoseconds(stamp.modified)
    return age >= .zero && age < settling
  }
}
