// What can be asked of a running relay, as values: the paths and parameters of the admin interface.
//
// Reading a request needs no socket, so the server, the console and the tests share this file. Which
// listener may carry which request is decided here too (`isOpen`), so that no server can forget it.

public import Primitives

/// One request, understood and complete.
public enum AdminRequest: Sendable, Equatable {
  /// Whether every loop answers.
  case healthz
  case readyz
  case metrics
  case status
  /// What `identity` is served now; `type` (group/Kind) narrows it.
  case dump(identity: String, type: String?)
  /// Whether `identity` may see one resource, and which rule says so. `name` is NAMESPACE/NAME.
  case explain(identity: String, type: String, name: String)
  case history
  /// What would change for somebody.
  case diff(DiffQuestion)
  /// Something that changes the relay: POST on the Unix socket only.
  case command(AdminCommand)
  /// A step of `snapshot export` or `snapshot import`.
  case transfer(SnapshotTransfer)

  /// True for what the loopback TCP listener may answer too. Everything else needs access to the Unix
  /// socket, because that access is the authorization.
  public var isOpen: Bool {
    switch self {
    case .healthz, .readyz, .metrics: true
    case .status, .dump, .explain, .history, .diff, .command, .transfer: false
    }
  }
}

/// A change asked for by an operator. VERSION is a snapshot hash or its unique prefix.
public enum AdminCommand: Sendable, Equatable {
  case rollback(version: String, cluster: String?)
  case pin(cluster: String, version: String)
  case unpin(cluster: String)
  case freeze(cluster: String?)
  case thaw(cluster: String?)
  case release(cluster: String, type: String?)
  case adopt(source: String)
}

/// Why a request is no request.
public enum AdminRequestError: Explained, Equatable {
  case noSuchPath(String)
  case wrongMethod(String, path: String, allowed: String)
  case missingParameter(String, path: String)
  /// It is there and says nothing.
  case emptyParameter(String, path: String)
  case notAFlag(String, value: String, path: String)
  case malformedTarget(String)

  public var what: String {
    switch self {
    case .noSuchPath(let path): "There is nothing at \(path)"
    case .wrongMethod(let method, let path, let allowed): "\(path) takes \(allowed), not \(method)"
    case .missingParameter(let name, let path): "\(path) needs the parameter '\(name)'"
    case .emptyParameter(let name, let path): "The parameter '\(name)' of \(path) is empty"
    case .notAFlag(let name, let value, let path): "The parameter '\(name)' of \(path) is '\(value)'"
    case .malformedTarget(let target): "'\(target)' is not a path with an optional query"
    }
  }

  public var howToFix: String {
    switch self {
    case .noSuchPath: "Known paths: " + AdminRequest.paths.joined(separator: " ")
    case .emptyParameter: "Fill it, or leave it out"
    case .notAFlag: "It is yes or true, or left out"
    case .wrongMethod, .missingParameter, .malformedTarget: ""
    }
  }

  public var blame: Blame { .peer }

  /// The HTTP status that says the same.
  public var httpStatus: Int {
    switch self {
    case .noSuchPath: 404
    case .wrongMethod: 405
    case .missingParameter, .emptyParameter, .notAFlag, .malformedTarget: 400
    }
  }
}

extension AdminRequest {
  private static let reads = [
    "/healthz", "/readyz", "/metrics", "/status", "/dump", "/explain", "/history", "/diff",
  ]
  /// `/diff` takes a policy, too.
  private static let both = "/diff"
  private static let writes = ["/rollback", "/pin", "/unpin", "/freeze", "/thaw", "/release", "/adopt"]
  static let paths = reads + writes + SnapshotTransfer.paths

  /// Reads an HTTP method and request target (`/dump?as=…`). Unknown parameters are ignored.
  public init(method: String, target: String, body: [UInt8] = []) throws(AdminRequestError) {
    guard let parsed = RequestTarget(target) else { throw .malformedTarget(target) }
    let path = parsed.path
    guard AdminRequest.paths.contains(path) else { throw .noSuchPath(path) }
    let allowed = AdminRequest.reads.contains(path) ? "GET" : "POST"
    guard method == allowed || (path == AdminRequest.both && method == "POST") else {
      throw .wrongMethod(method, path: path, allowed: allowed)
    }
    switch path {
    case "/healthz": self = .healthz
    case "/readyz": self = .readyz
    case "/metrics": self = .metrics
    case "/status": self = .status
    case "/history": self = .history
    case "/dump": self = .dump(identity: try parsed.required("as"), type: try parsed.optional("type"))
    case "/explain":
      self = .explain(
        identity: try parsed.required("as"), type: try parsed.required("type"),
        name: try parsed.required("name"))
    case "/diff":
      self = .diff(try DiffQuestion(parsed, method: method, body: body))
    case _ where SnapshotTransfer.paths.contains(path):
      self = .transfer(try SnapshotTransfer(parsed, body: body))
    default: self = .command(try AdminCommand(parsed))
    }
  }

  /// Bytes of the longest body that a request to this target may have. Reason: an import comes in pieces of half a MiB;
  /// a policy to compare comes whole, and one file of it may have 8 MiB.
  public static func bodyBytesMost(target: String) -> Int {
    (RequestTarget(target)?.path == both ? 8 : 1) * 1024 * 1024
  }

  public var method: String {
    switch self {
    case .command, .transfer: "POST"
    case .diff(let question): question.method
    default: "GET"
    }
  }

  /// What follows the head of the request.
  public var body: [UInt8] {
    switch self {
    case .diff(let question): question.body
    case .transfer(.writeImport(_, _, let bytes)): bytes
    default: []
    }
  }

  /// The request target that reads back as this request.
  public var target: String {
    switch self {
    case .healthz: "/healthz"
    case .readyz: "/readyz"
    case .metrics: "/metrics"
    case .status: "/status"
    case .history: "/history"
    case .dump(let identity, let type):
      RequestTarget(path: "/dump", query: [("as", identity), ("type", type)]).text
    case .explain(let identity, let type, let name):
      RequestTarget(path: "/explain", query: [("as", identity), ("type", type), ("name", name)]).text
    case .diff(let question): question.target.text
    case .command(let command): command.requestTarget.text
    case .transfer(let transfer): transfer.requestTarget.text
    }
  }
}

extension AdminCommand {
  init(_ target: RequestTarget) throws(AdminRequestError) {
    let cluster = try target.optional("cluster")
    switch target.path {
    case "/rollback": self = .rollback(version: try target.required("version"), cluster: cluster)
    case "/pin": self = .pin(cluster: try target.required("cluster"), version: try target.required("version"))
    case "/unpin": self = .unpin(cluster: try target.required("cluster"))
    case "/freeze": self = .freeze(cluster: cluster)
    case "/thaw": self = .thaw(cluster: cluster)
    case "/release":
      self = .release(cluster: try target.required("cluster"), type: try target.optional("type"))
    case "/adopt": self = .adopt(source: try target.required("source"))
    default: throw .noSuchPath(target.path)
    }
  }

  var requestTarget: RequestTarget {
    switch self {
    case .rollback(let version, let cluster):
      RequestTarget(path: "/rollback", query: [("version", version), ("cluster", cluster)])
    case .pin(let cluster, let version):
      RequestTarget(path: "/pin", query: [("cluster", cluster), ("version", version)])
    case .unpin(let cluster): RequestTarget(path: "/unpin", query: [("cluster", cluster)])
    case .freeze(let cluster): RequestTarget(path: "/freeze", query: [("cluster", cluster)])
    case .thaw(let cluster): RequestTarget(path: "/thaw", query: [("cluster", cluster)])
    case .release(let cluster, let type):
      RequestTarget(path: "/release", query: [("cluster", cluster), ("type", type)])
    case .adopt(let source): RequestTarget(path: "/adopt", query: [("source", source)])
    }
  }
}
