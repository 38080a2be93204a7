// From a path to rules: a file, or a folder of files that are merged. Blocks on the disk: for start, reload
// and commands, never for a loop.

public import Documents

extension PolicyRules {
  /// Endings of policy files in a folder; others are left alone.
  static let fileEndings = [".yaml", ".yml", ".json"]

  /// Reads a policy file or folder. `rules` is nil when there is any error: then the caller keeps what it
  /// had or uses `denyAll`. Warnings alone leave rules.
  public static func load(path: String) -> (rules: PolicyRules?, problems: [Problem]) {
    guard TextFile.isFolder(path) else { return load(files: [path]) }
    let folder = path.hasSuffix("/") ? path : path + "/"
    do throws(Problem) {
      let names = try TextFile.names(inFolder: path).filter { name in
        fileEndings.contains { name.hasSuffix($0) } && !TextFile.isFolder(folder + name)
      }
      guard !names.isEmpty else {
        throw Problem(
          .start(of: path), "the folder has no policy file", why: "files end in .yaml, .yml or .json",
          howToFix: "add one")
      }
      return load(files: names.map { folder + $0 })
    } catch {
      return (nil, [error])
    }
  }

  /// Merges files in the given order.
  public static func load(files: [String]) -> (rules: PolicyRules?, problems: [Problem]) {
    var reader = PolicyReader()
    for file in files {
      do throws(Problem) {
        reader.read(try TextFile.read(file), file: file)
      } catch {
        reader.problems.append([error])
      }
    }
    return reader.finish()
  }

  /// Reads one policy from its text; `file` names it in problems.
  public static func parse(_ text: [UInt8], file: String) -> (rules: PolicyRules?, problems: [Problem]) {
    var reader = PolicyReader()
    reader.read(text, file: file)
    return reader.finish()
  }

  public static func parse(_ text: String, file: String) -> (rules: PolicyRules?, problems: [Problem]) {
    parse(Array(text.utf8), file: file)
  }
}
