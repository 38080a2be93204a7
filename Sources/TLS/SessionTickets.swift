// Coming back without a full handshake: session tickets of a server. TLS 1.3 only, no early data.
//
// A ticket is what its bearer will be taken for, so it is sealed with keys that live in this process alone and
// change every hour, and says nothing by itself: what it must hold, and whether it still counts, is decided by
// `TicketTerms` on every connection, within the handshake. A ticket that does not count is no error: the client
// goes through a full handshake and never learns why. Sources: RFC 8446 section 4.6.1, RFC 5077 section 4.

import COpenSSL
import Primitives

/// The keys that seal tickets: the newest, and the one before it for tickets that are still out.
public struct TicketKeys: Sendable, CustomReflectable {
  /// How long a key seals. Reason: who learns one can read the tickets of two hours, and not their connections.
  public static let life: Duration = .seconds(3600)

  struct Key: Sendable {
    /// Names the key within a ticket. 16 bytes.
    let name: [UInt8]
    /// 32 bytes that encrypt, then 32 that authenticate, in locked memory.
    let secret: SecretBytes
  }

  /// Newest first, at most two.
  let keys: [Key]

  /// Nil when the system has no randomness to give: then there are no tickets.
  public init?() {
    guard let key = TicketKeys.newKey() else { return nil }
    keys = [key]
  }

  private init(keys: [Key]) { self.keys = keys }

  /// A new key before the newest; the one before that is forgotten.
  public func rotated() -> TicketKeys {
    guard let key = TicketKeys.newKey() else { return self }
    return TicketKeys(keys: [key] + keys.prefix(1))
  }

  public var customMirror: Mirror { Mirror(self, children: ["count": keys.count]) }

  private static func newKey() -> Key? {
    var name = [UInt8](repeating: 0, count: 16)
    guard unsafe RAND_bytes(&name, Int32(name.count)) == 1,
      let secret = unsafe SecretBytes(
        count: 64,
        fill: { bytes in
          unsafe RAND_priv_bytes(
            bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), Int32(bytes.count)) == 1
        })
    else { return nil }
    return Key(name: name, secret: secret)
  }
}

/// What a server's tickets say and when they count. Not `Sendable`: belongs to the loop of its context.
public struct TicketTerms {
  /// Tickets of another listener do not count here.
  public let listener: String
  /// The newest keys; nil: no tickets for now.
  public let keys: () -> TicketKeys?
  /// What goes into the ticket of a client with this chain; nil: it gets none.
  public let seal: (_ chain: [Certificate]) -> [UInt8]?
  /// The chain of the client that a ticket was given to, once it was judged anew; nil: a full handshake.
  public let open: (_ contents: [UInt8]) -> [Certificate]?

  public init(
    listener: String, keys: @escaping () -> TicketKeys?, seal: @escaping ([Certificate]) -> [UInt8]?,
    open: @escaping ([UInt8]) -> [Certificate]?
  ) {
    self.listener = listener
    self.keys = keys
    self.seal = seal
    self.open = open
  }
}

extension TicketTerms {
  /// Bytes of what a ticket holds. Reason: chains of some certificates; with more a full handshake is cheaper to send.
  fileprivate static let contentsMax = 12 * 1024

  /// What OpenSSL compares by itself, 1 to 32 bytes.
  private var sessionContext: [UInt8] {
    Array("meshrelay \(listener)".utf8.prefix(Int(SSL_MAX_SID_CTX_LENGTH)))
  }

  /// Lets a server context give and take tickets.
  func configure(_ context: OpaquePointer) -> Bool {
    unsafe copenssl_allow_tickets(context)
    let name = sessionContext
    guard unsafe SSL_CTX_set_session_id_context(context, name, UInt32(name.count)) == 1,
      unsafe SSL_CTX_set_num_tickets(context, 1) == 1,
      unsafe copenssl_set_ticket_keys(
        context,
        { connection, name, iv, cipher, mac, isSealing in
          unsafe TLSEngine.useTicketKey(connection, name, iv, cipher, mac, isSealing: isSealing != 0)
        }) == 1
    else { return false }
    unsafe _ = SSL_CTX_set_timeout(context, Int(TicketKeys.life.components.seconds))
    return unsafe SSL_CTX_set_session_ticket_cb(
      context, { connection, _ in unsafe TLSEngine.sealTicket(connection) },
      { connection, session, _, _, status, _ in unsafe TLSEngine.openTicket(connection, session, status) },
      nil)
      == 1
  }
}

// OpenSSL's questions within a handshake, each on the loop of its connection.
extension TLSEngine {
  private static func engine(of connection: OpaquePointer?) -> TLSEngine? {
    guard let pointer = unsafe connection.flatMap({ unsafe SSL_get_ex_data($0, 0) }) else { return nil }
    return unsafe Unmanaged<TLSEngine>.fromOpaque(pointer).takeUnretainedValue()
  }

  /// 1 use it, 2 use it and give a newer ticket, 0 there is no such key, -1 failed.
  static func useTicketKey(
    _ connection: OpaquePointer?, _ name: UnsafeMutablePointer<UInt8>?, _ iv: UnsafeMutablePointer<UInt8>?,
    _ cipher: OpaquePointer?, _ mac: OpaquePointer?, isSealing: Bool
  ) -> Int32 {
    guard let name = unsafe name, let keys = unsafe engine(of: connection)?.ticketTerms?.keys()?.keys else {
      return isSealing ? -1 : 0
    }
    let named = unsafe UnsafeMutableBufferPointer(start: name, count: 16)
    guard let index = isSealing ? 0 : keys.firstIndex(where: { unsafe named.elementsEqual($0.name) }),
      index < keys.count
    else { return 0 }
    let key = keys[index]
    if isSealing { for (place, byte) in key.name.enumerated() { unsafe named[place] = byte } }
    let isUsed = unsafe key.secret.withBytes { bytes in
      let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
      return unsafe copenssl_use_ticket_key(
        cipher, mac, start, start.map { unsafe $0 + 32 }, iv, isSealing ? 1 : 0) == 1
    }
    guard isUsed else { return -1 }
    return index == 0 ? 1 : 2
  }

  /// Puts the terms' contents into a ticket that is about to be sealed. 0 would end the connection.
  static func sealTicket(_ connection: OpaquePointer?) -> Int32 {
    guard let engine = unsafe engine(of: connection), let terms = engine.ticketTerms,
      unsafe SSL_version(connection) >= TLS1_3_VERSION, let contents = terms.seal(engine.peerChain),
      contents.count <= TicketTerms.contentsMax
    else { return 1 }
    // Without contents a ticket is never taken back.
    return unsafe SSL_SESSION_set1_ticket_appdata(SSL_get_session(connection), contents, contents.count)
  }

  /// Judges who comes back with a ticket, as a full handshake would.
  static func openTicket(
    _ connection: OpaquePointer?, _ session: OpaquePointer?, _ status: SSL_TICKET_STATUS
  ) -> SSL_TICKET_RETURN {
    guard status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW,
      unsafe SSL_version(connection) >= TLS1_3_VERSION, let engine = unsafe engine(of: connection),
      let terms = engine.ticketTerms
    else { return SSL_TICKET_RETURN(SSL_TICKET_RETURN_IGNORE_RENEW) }
    var data: UnsafeMutableRawPointer?
    var count = 0
    guard unsafe SSL_SESSION_get0_ticket_appdata(session, &data, &count) == 1, let data = unsafe data,
      count > 0
    else { return SSL_TICKET_RETURN(SSL_TICKET_RETURN_IGNORE_RENEW) }
    let contents = unsafe Array(UnsafeRawBufferPointer(start: data, count: count))
    guard let chain = terms.open(contents) else { return SSL_TICKET_RETURN(SSL_TICKET_RETURN_IGNORE_RENEW) }
    engine.resumed(as: chain)
    return SSL_TICKET_RETURN(SSL_TICKET_RETURN_USE_RENEW)
  }
}
