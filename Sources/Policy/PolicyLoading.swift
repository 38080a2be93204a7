// From a path to rules: a file, or a folder of files that are merged. Blocks on the disk: for start, reload
// and commands, never for a loop.

public import Documents

extension PolicyRules {
  /// Endings of policy files in a folder; others are left alone.
  static let fileEndings = [".yaml", ".yml", ".json"]

  /// What came of reading files.
  public typealias Loaded = (rules: PolicyRules?, problems: [Problem], texts: [FileText])

  /// Reads a policy file or folder. `rules` is nil when there is any error: then the caller keeps what it
  /// had or uses `denyAll`. Warnings alone leave rules. `texts` is what was read, good or bad.
  public static func load(path: String) -> Loaded { load(texts(path: path)) }

  private static func load(_ read: (texts: [FileText], problems: [Problem])) -> Loaded {
    let parsed = parse(read.texts)
    let isWhole = read.problems.isEmpty
    return (isWhole ? parsed.rules : nil, read.problems + parsed.problems, read.texts)
  }

  /// The texts of a policy file, or of those in a folder. Any problem: they are not all.
  public static func texts(path: String) -> (texts: [FileText], problems: [Problem]) {
    guard TextFile.isFolder(path) else { return texts(files: [path]) }
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
      return texts(files: names.map { folder + $0 })
    } catch {
      return ([], [error])
    }
  }

  private static func texts(files: [String]) -> (texts: [FileText], problems: [Problem]) {
    var (texts, problems): ([FileText], [Problem]) = ([], [])
    for file in files {
      do throws(Problem) {
        texts.append(FileText(path: file, bytes: try TextFile.read(file)))
      } catch {
        problems.append(error)
      }
    }
    return (texts, problems)
  }

  /// Merges files, and those of folders, in the given order.
  public static func load(files: [String]) -> Loaded {
    let read = files.map { texts(path: $0) }
    let all = read.flatMap(\.texts)
    var problems = read.flatMap(\.problems)
    // Everything in it would be told to stand there twice.
    let copies = Dictionary(grouping: all, by: \.path).filter { $0.value.count > 1 }
    guard copies.isEmpty else {
      problems += copies.keys.sorted().map {
        Problem(.start(of: $0), "the file is given twice", howToFix: "name it once")
      }
      return (nil, problems, all)
    }
    return load((all, problems))
  }

  /// Merges texts in the given order.
  public static func parse(_ texts: [FileText]) -> (rules: PolicyRules?, problems: [Problem]) {
    var reader = PolicyReader()
    for text in texts { reader.read(text.bytes, file: text.path) }
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
