// One look at a directory without watching it: what `check` prints, and where `explain` finds one object.

public import Manifests
public import Primitives
import Snapshots

extension DirectoryReport {
  /// Reads `path` as a relay would at its start. Blocks.
  /// - Parameter object: set: only what concerns this object is read and reported, for who asks for one among many.
  public static func once(
    source: String, path: String, limits: Limits, now: Timestamp, about object: ObjectIdentity? = nil
  ) -> DirectoryReport {
    let settings = DirectorySettings(path: path)
    var mention: Mention?
    if let object {
      mention = Mention(
        of: object, isBare: Kinds[object.type]?.isBare == true,
        defaultNamespace: ManifestOptions().defaultNamespace)
    }
    return DirectoryScan(
      path: path, state: DirectoryState(source: source, folder: path, limits: limits),
      limits: settings.limits, fileBytesMax: settings.fileBytesMax, watch: nil, unsettled: [],
      settling: nil, now: now, mention: mention
    ).run().report
  }
}
