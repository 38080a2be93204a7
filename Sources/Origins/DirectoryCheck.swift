// One look at a directory without watching it: what `check` prints.

public import Primitives

extension DirectoryReport {
  /// Reads `path` as a relay would at its start. Blocks.
  /// - Parameter mentioning: set: only documents that hold this text, for who asks for one object.
  public static func once(
    source: String, path: String, limits: Limits, now: Timestamp, mentioning: String? = nil
  ) -> DirectoryReport {
    let settings = DirectorySettings(path: path)
    return DirectoryScan(
      path: path, state: DirectoryState(source: source, folder: path, limits: limits),
      limits: settings.limits, fileBytesMax: settings.fileBytesMax, watch: nil, unsettled: [],
      settling: nil, now: now, mentioning: mentioning.map { Array($0.utf8) }
    ).run().report
  }
}
