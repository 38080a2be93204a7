// Where a configuration file says that other things lie, read even from a file with errors: so that `check` can
// go on to policy and manifests, and a start can find the last good files.

internal import Documents

/// Paths a configuration file names; what is missing or cannot be read is left out.
public struct ConfigurationPaths: Sendable {
  public var state: String?
  /// A file or a folder.
  public var policy: String?
  /// Directory sources, in their order.
  public var directories: [(source: String, path: String)] = []

  /// `file`: what relative paths are relative to.
  public init(_ text: [UInt8], file: String) {
    guard let root = YAML.parseSingle(yaml: text, file: file).root else { return }
    // What is wrong is told by who reads the whole.
    let ignored = ProblemList([])
    _ = MappingReader.read(root, problems: ignored) { reader in
      state = reader.path("state")
      policy = reader.path("policy")
      _ = reader.mappings("sources") { source in
        let name = source.string("name")?.value ?? ""
        if let path = source.mapping("directory", { $0.path("path") }) { directories.append((name, path)) }
        return name
      }
    }
  }
}
