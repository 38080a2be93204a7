// Reading a directory once, for commands that want to know what is in it and what is wrong with it.

public import Manifests
public import Primitives

public enum DirectoryCheck {
  /// Reads as a running relay would at its start, and remembers nothing. `settings` gives path and limits; waits
  /// for the disk, so not for loop threads.
  public static func read(
    _ settings: DirectorySettings, source: String, options: ManifestOptions = ManifestOptions(),
    limits: Limits = Limits(), now: Timestamp
  ) -> DirectoryReport {
    let state = DirectoryState(source: source, folder: settings.path, options: options, limits: limits)
    let scan = DirectoryScan(
      path: settings.path, state: state, limits: settings.limits, fileBytesMax: settings.fileBytesMax,
      watch: nil,
      unsettled: [], settling: nil, now: now)
    return scan.run().report
  }
}
