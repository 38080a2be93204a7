// What was sent of one type on one stream, and what the client said of it.
//
//     idle ──sent──► waiting ──ACK or NACK──► idle
//                       └─────10 s without either──► no longer in the way
//
// A nonce is an answer to one response; ACK and NACK of an older one than the last are stale unless it
// is still waiting (a narrowing overtakes). Nonces die with the stream. The same in every dialect.

public import Primitives

/// Bookkeeping of responses and their answers.
public struct Deliveries: Sendable {
  public struct Sent: Sendable {
    public let nonce: String
    public let version: String
    public let at: Instant
    public let content: Content
    /// It takes away what a grant no longer covers.
    public let isWithdrawal: Bool

    public init(nonce: String, version: String, at: Instant, content: Content, isWithdrawal: Bool) {
      self.nonce = nonce
      self.version = version
      self.at = at
      self.content = content
      self.isWithdrawal = isWithdrawal
    }
  }

  /// What the client refuses if it refuses the response.
  public enum Content: Sendable {
    case set(Collection)
    case changes([Resource])
  }

  public enum Answer: Sendable {
    case acknowledged(Sent)
    case refused(Sent)
    /// Of the last response once more, which has its answer: a request about names alone.
    case known
    /// Of a response that no longer waits, or never was.
    case stale
  }

  /// Responses without an answer, oldest first.
  private var waiting: [Sent] = []
  /// Version of the last response; nil before the first.
  public private(set) var sent: String?
  private var lastNonce = ""
  /// Version of the last response the client accepted.
  public private(set) var acknowledged: String?
  /// Responses the client refused.
  public private(set) var refusals = 0
  /// The client's reason for its last refusal.
  public private(set) var lastRefusal: String?

  /// Responses that may wait for an answer at once. Reason: istiod never answers some; older ones are
  /// forgotten, which makes a late answer stale.
  private static let waitingMax = 16
  /// Bytes kept of a client's reason.
  private static let reasonBytesMax = 1024

  /// What the client said of the last response it answered.
  private var lastAnswer: Standing?

  public init() {}

  /// Of the last response; nil before the first.
  public var standing: Standing? {
    guard sent != nil else { return nil }
    return waiting.isEmpty ? lastAnswer : .unanswered
  }

  /// The contents that wait for an answer, in the form in which one can be looked up.
  var unanswered: Refusals {
    var contents = Refusals()
    for response in waiting { _ = contents.insert(response.content, limit: .max) }
    return contents
  }

  /// Something has been sent, and nothing waits for its answer.
  public var isAnswered: Bool { sent != nil && waiting.isEmpty }

  /// Something has been sent on this stream.
  public var hasSent: Bool { sent != nil }

  public mutating func record(_ response: Sent) {
    waiting.append(response)
    if waiting.count > Deliveries.waitingMax { waiting.removeFirst() }
    sent = response.version
    lastNonce = response.nonce
  }

  /// A response with this nonce waits for its answer, or was the last one.
  public func knows(_ nonce: String) -> Bool {
    nonce == lastNonce || waiting.contains { $0.nonce == nonce }
  }

  public mutating func receive(nonce: String, fault: RequestFault?) -> Answer {
    guard let index = waiting.firstIndex(where: { $0.nonce == nonce }) else {
      return nonce == lastNonce ? .known : .stale
    }
    let answered = waiting[index]
    // An answer speaks for everything before it, too.
    waiting.removeSubrange(...index)
    guard let fault else {
      acknowledged = answered.version
      lastAnswer = .acknowledged
      return .acknowledged(answered)
    }
    refusals += 1
    lastAnswer = .refused
    lastRefusal = Deliveries.cut(fault.message)
    return .refused(answered)
  }

  /// Until when the missing answer to the last response holds up the next; nil when nothing waits.
  public func blockedUntil(limits: Limits) -> Instant? {
    waiting.last.map { $0.at + limits.acknowledgement }
  }

  /// The last response has waited for its answer for longer than `limits.acknowledgement`.
  public func isOverdue(now: Instant, limits: Limits) -> Bool {
    blockedUntil(limits: limits).map { $0 <= now } ?? false
  }

  private static func cut(_ text: String) -> String {
    text.utf8.count <= reasonBytesMax
      ? text : String(decoding: text.utf8.prefix(reasonBytesMax), as: UTF8.self)
  }
}
