// What `diff` asks: for whom, between what, judged by which policy. Files of a policy travel in the request's body,
// each with its path, so that what is wrong with them is told at the operator's own file and line.

/// From what somebody is served now, or a kept version, to the newest snapshot, or a kept version.
public struct DiffQuestion: Sendable, Equatable {
  /// For whom.
  public enum Subject: Sendable, Equatable {
    case identity(String)
    case cluster(String)
    /// Every cluster of either policy.
    case all
  }

  /// What the second side is judged by.
  public enum Judge: Sendable, Equatable {
    /// The policy in force.
    case enforced
    /// The shadow policy.
    case shadow
    /// Files of another policy.
    case files([File])
  }

  public struct File: Sendable, Equatable {
    public var path: String
    public var content: [UInt8]

    public init(path: String, content: [UInt8]) {
      self.path = path
      self.content = content
    }
  }

  public var subject: Subject
  /// Nil: what is served now.
  public var from: String?
  /// Nil: the newest.
  public var to: String?
  public var judge: Judge

  public init(_ subject: Subject, from: String? = nil, to: String? = nil, judge: Judge = .enforced) {
    self.subject = subject
    self.from = from
    self.to = to
    self.judge = judge
  }
}

extension DiffQuestion {
  init(_ target: RequestTarget, method: String, body: [UInt8]) throws(AdminRequestError) {
    let subject: Subject
    if try target.flag("all") {
      subject = .all
    } else if let cluster = try target.optional("cluster") {
      subject = .cluster(cluster)
    } else if let identity = try target.optional("as") {
      subject = .identity(identity)
    } else {
      throw .missingParameter("as=ID, cluster=NAME or all=true", path: target.path)
    }
    let judge: Judge =
      method == "POST" ? .files(File.decoded(body)) : try target.flag("shadow") ? .shadow : .enforced
    self.init(
      subject, from: try target.optional("from"), to: try target.optional("to"), judge: judge)
  }

  var target: RequestTarget {
    var query: [(String, String?)] = []
    switch subject {
    case .identity(let id): query.append(("as", id))
    case .cluster(let name): query.append(("cluster", name))
    case .all: query.append(("all", "true"))
    }
    query += [("from", from), ("to", to), ("shadow", judge == .shadow ? "true" : nil)]
    return RequestTarget(path: "/diff", query: query)
  }

  var body: [UInt8] {
    if case .files(let files) = judge { File.encoded(files) } else { [] }
  }

  var method: String {
    if case .files = judge { "POST" } else { "GET" }
  }
}

extension DiffQuestion.File {
  /// First line of a body with several files. No policy begins so.
  private static let mark = Array("#meshrelay-files\n".utf8)

  /// Each file: its path, a line; the count of its bytes, a line; its bytes.
  static func encoded(_ files: [DiffQuestion.File]) -> [UInt8] {
    files.reduce(into: mark) { body, file in
      let path = file.path.utf8.map { $0 == UInt8(ascii: "\n") ? UInt8(ascii: "?") : $0 }
      body += path + Array("\n\(file.content.count)\n".utf8) + file.content
    }
  }

  /// A body without the mark is one file, and so is one whose frame is broken: then reading it as a policy tells.
  static func decoded(_ body: [UInt8]) -> [DiffQuestion.File] {
    let whole = [DiffQuestion.File(path: "policy", content: body)]
    guard body.starts(with: mark) else { return whole }
    var files: [DiffQuestion.File] = []
    var rest = body.dropFirst(mark.count)
    func line() -> String? {
      guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
      defer { rest = rest[(end + 1)...] }
      return String(decoding: rest[..<end], as: UTF8.self)
    }
    while !rest.isEmpty {
      guard let path = line(), let count = line().flatMap({ Int($0) }), count >= 0, count <= rest.count else {
        return whole
      }
      files.append(DiffQuestion.File(path: path, content: Array(rest.prefix(count))))
      rest = rest.dropFirst(count)
    }
    return files
  }
}
