// What was sent of one type on one stream, and what the client said of it.
//
//     idle ──sent──► waiting ──ACK or NACK──► idle
//                       └─────10 s without either──► no longer in the way
//
// A nonce is an answer to one response; ACK and NACK of an older one than the last are stale unless it
// is still waiting (a narrowing overtakes). Nonces die with the stream.

internal import Primitives
internal import Snapshots

/// Bookkeeping of responses and their answers.
struct Deliveries {
  struct Sent {
    let nonce: String
    let version: String
    let at: Instant
    let content: Content
    /// It takes away what a grant no longer covers.
    let isWithdrawal: Bool
  }

  /// What the client refuses if it refuses the response.
  enum Content {
    case set(Collection)
    case changes([Resource])
  }

  enum Answer {
    case acknowledged(Sent)
    case refused(Sent)
    /// Of the last response once more, which has its answer: a request about names alone.
    case known
    /// Of a response that no longer waits, or never was.
    case stale
  }

  /// Responses without an answer, oldest first.
  private var waiting: [Sent] = []
  private(set) var sent: String?
  private var lastNonce = ""
  private(set) var acknowledged: String?
  private(set) var refusals = 0
  private(set) var lastRefusal: String?

  /// Responses that may wait for an answer at once. Reason: istiod never answers some; older ones are
  /// forgotten, which makes a late answer stale.
  private static let waitingMax = 16
  /// Bytes kept of a client's reason.
  private static let reasonBytesMax = 1024

  /// Something has been sent on this stream.
  var hasSent: Bool { sent != nil }

  mutating func record(_ response: Sent) {
    waiting.append(response)
    if waiting.count > Deliveries.waitingMax { waiting.removeFirst() }
    sent = response.version
    lastNonce = response.nonce
  }

  mutating func receive(nonce: String, fault: RequestFault?) -> Answer {
    guard let index = waiting.firstIndex(where: { $0.nonce == nonce }) else {
      return nonce == lastNonce ? .known : .stale
    }
    let answered = waiting[index]
    // An answer speaks for everything before it, too.
    waiting.removeSubrange(...index)
    guard let fault else {
      acknowledged = answered.version
      return .acknowledged(answered)
    }
    refusals += 1
    lastRefusal = Deliveries.cut(fault.message)
    return .refused(answered)
  }

  /// Until when the missing answer to the last response holds up the next; nil when nothing waits.
  func blockedUntil(limits: Limits) -> Instant? {
    waiting.last.map { $0.at + limits.acknowledgement }
  }

  private static func cut(_ text: String) -> String {
    text.utf8.count <= reasonBytesMax
      ? text : String(decoding: text.utf8.prefix(reasonBytesMax), as: UTF8.self)
  }
}
