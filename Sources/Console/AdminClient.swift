// Asks a running relay one question: the console's side of the admin interface.
//
// A blocking call with a time limit, because a command has nothing else to do meanwhile. The answer is
// read as RFC 9112 has it, as far as the relay's own server uses it: a status line, headers, a
// Content-Length. Must never print, and never retry what changes the relay.

public import Admin
import FoundationEssentials
import Glibc
public import Primitives

public struct AdminClient: Sendable {
  public struct Answer: Sendable, Equatable {
    public var status: Int
    public var body: [UInt8]
  }

  /// Bytes of the longest answer that is read. Reason: a dump of everything stays below `messageBytes`.
  static let answerBytesMax = 512 * 1024 * 1024
  static let headBytesMax = 64 * 1024

  public let address: AdminAddress
  /// For each wait: connecting, and each time until some bytes come.
  public let patience: Duration

  public init(_ address: AdminAddress, patience: Duration = .seconds(10)) {
    self.address = address
    self.patience = patience
  }

  /// Any status is an answer; what fails is the way to it. See `body(of:)` for 2xx or an error.
  public func ask(_ request: AdminRequest) throws(AdminClientError) -> Answer {
    let most = AdminRequest.bodyBytesMost(target: request.target)
    guard request.body.count <= most else { throw .tooLarge(bytes: request.body.count, most: most) }
    let connection = try AdminStream(to: address, patience: patience)
    let text =
      "\(request.method) \(request.target) HTTP/1.1\r\nHost: meshrelay\r\nConnection: close\r\n"
      + (request.method == "POST" ? "Content-Length: \(request.body.count)\r\n\r\n" : "\r\n")
    try connection.send(Array(text.utf8) + request.body)
    return try readAnswer(from: connection)
  }

  /// The body of a 2xx answer; anything else becomes `refused` with the relay's own words.
  public func body(of request: AdminRequest) throws(AdminClientError) -> [UInt8] {
    try AdminClient.body(of: try ask(request))
  }

  static func body(of answer: Answer) throws(AdminClientError) -> [UInt8] {
    guard (200...299).contains(answer.status) else {
      throw .refused(status: answer.status, message: words(of: answer.body))
    }
    return answer.body
  }

  /// What `{"error": "…"}` says, a line for each of its own; anything else as it is.
  private static func words(of body: [UInt8]) -> String {
    struct Refusal: Decodable { let error: String }
    guard let refusal = try? JSONDecoder().decode(Refusal.self, from: Data(body)) else {
      return ForeignText.line(String(decoding: body, as: UTF8.self))
    }
    return refusal.error.split(separator: "\n").map { ForeignText.line(String($0)) }.joined(separator: "\n")
  }

  private func readAnswer(from connection: borrowing AdminStream) throws(AdminClientError) -> Answer {
    var bytes: [UInt8] = []
    var head: AnswerHead?
    while head == nil {
      guard bytes.count <= AdminClient.headBytesMax, try connection.receive(into: &bytes) > 0 else {
        throw .noAnswer(address, reason: "the connection ended before an HTTP answer")
      }
      head = try AnswerHead(bytes, from: address)
    }
    guard let head, head.bodyBytes <= AdminClient.answerBytesMax else {
      throw .noAnswer(address, reason: "the answer is too long")
    }
    while bytes.count < head.bytes + head.bodyBytes {
      guard try connection.receive(into: &bytes) > 0 else {
        throw .noAnswer(address, reason: "the answer was cut short")
      }
    }
    return Answer(status: head.status, body: Array(bytes[head.bytes..<head.bytes + head.bodyBytes]))
  }
}

/// Status line and headers of an answer.
private struct AnswerHead {
  let status: Int
  /// Up to and with the empty line.
  let bytes: Int
  let bodyBytes: Int

  /// Nil when the empty line has not come yet.
  init?(_ received: [UInt8], from address: AdminAddress) throws(AdminClientError) {
    let mark = Array("\r\n\r\n".utf8)
    guard received.count >= mark.count,
      let end = (0...received.count - mark.count).first(where: { received[$0..<$0 + 4].elementsEqual(mark) })
    else { return nil }
    let lines = String(decoding: received[..<end], as: UTF8.self).split(separator: "\r\n")
    let words = lines.first?.split(separator: " ") ?? []
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]),
      (200...599).contains(status)
    else { throw .noAnswer(address, reason: "what answers there does not speak HTTP") }
    var length = 0
    for line in lines.dropFirst() {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard parts.count == 2, parts[0].lowercased() == "content-length" else { continue }
      let digits = parts[1].filter { $0 != " " }
      guard let value = Int(digits), value >= 0 else {
        throw .noAnswer(address, reason: "its Content-Length is no length")
      }
      length = value
    }
    self.status = status
    self.bytes = end + mark.count
    self.bodyBytes = length
  }
}

public enum AdminClientError: Explained, Equatable {
  /// Nothing listens there.
  case notRunning(AdminAddress)
  /// This user may not use the socket.
  case notPermitted(AdminAddress)
  case noAnswer(AdminAddress, reason: String)
  /// What would have to be sent; nothing was.
  case tooLarge(bytes: Int, most: Int)
  /// The relay answered, with something else than success.
  case refused(status: Int, message: String)

  public var what: String {
    switch self {
    case .notRunning(let address): "No relay listens on \(address)"
    case .notPermitted(let address): "This user may not use \(address)"
    case .noAnswer(let address, let reason): "No answer from the relay on \(address): \(reason)"
    case .tooLarge(let bytes, let most):
      "The relay takes \(most) bytes in one request, and this one has \(bytes)"
    case .refused(let status, let message):
      // Many lines are a list, and each stands for itself.
      "The relay answered \(status):" + (message.contains("\n") ? "\n" : " ") + message
    }
  }

  public var howToFix: String {
    switch self {
    case .notRunning: "Start it (systemctl start meshrelay), or name its address with --admin"
    case .notPermitted: "Join the group meshrelay-admin and log in again, or use sudo"
    case .noAnswer: "Look at its log (journalctl -u meshrelay)"
    case .tooLarge: "Compare files alone, with --config"
    case .refused: ""
    }
  }

  public var blame: Blame { .operator }

  /// What a question exits with whose answer may be "no": 1 for what is one (a blocked identity, a policy with problems),
  /// 64 when what is asked for cannot be, and 69 when there is no answer now, so that neither is taken for it.
  public var questionExitCode: Int32 {
    switch self {
    case .refused(403, _), .refused(422, _): 1
    case .refused(500..., _), .notRunning, .notPermitted, .noAnswer: 69
    case .refused, .tooLarge: 64
    }
  }

  /// What the command exits with: 69 when the relay cannot be reached, 1 when it said no.
  public var exitCode: Int32 {
    switch self {
    case .notRunning, .notPermitted, .noAnswer: 69
    case .refused, .tooLarge: 1
    }
  }
}
