// One look at a directory without watching it: what `check` prints.

public import Primitives

extension DirectoryReport {
  /// Reads `path` as a relay would at its start. Blocks.
  public static func once(source: String, path: String, limits: Limits, now: Timestamp) -> DirectoryReport {
    let settings = DirectorySettings(path: path)
    return DirectoryScan(
      path: path, state: DirectoryState(source: source, folder: path, limits: limits),
      limits: settings.limits, fileBytesMax: settings.fileBytesMax, watch: nil, unsettled: [],
      settling: nil, now: now
    ).run().report
  }
}
