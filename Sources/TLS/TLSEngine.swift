// One TLS connection as a pure machine: ciphertext in, plaintext out, and the other way. Steps 2-3 of the climb
// and 12 of the descent (docs/ARCHITECTURE.md). No socket, clock or log; bytes go through `CiphertextPort`.
// Source: RFC 8446 (RFC 5246 when 1.2 is allowed). Once failed or closed an engine stays so; OpenSSL is not asked again.

import COpenSSL
public import Primitives

/// Not `Sendable`: belongs to the loop of its connection.
///
///     handshaking ──done──► established ──close_notify──► ended(closedByPeer)
///          └────────failure──────┴────────────failure───► ended(failed)
@safe
public final class TLSEngine {
  public enum Progress: Equatable, Sendable {
    case handshaking
    case established
    /// The peer sent close_notify: nothing more will come.
    case closedByPeer
    case failed(TLSError)
  }

  private let context: TLSContext
  private let connection: OpaquePointer
  private let port = CiphertextPort()
  private var state = Progress.handshaking
  private var sentCloseNotify = false
  /// False until a byte of the peer's data proves that it took our certificate.
  private var heardFromPeer = false
  /// What the verifier was shown: parsed once, kept for whoever asks after the handshake.
  private var judged: [Certificate] = []
  /// Why the verifier said no; set within the handshake, by `verifyPeer`.
  private var rejection: TLSError?

  /// - Parameter serverName: for clients, the name to ask for by SNI. An IP address is left out, as RFC 6066
  ///   demands, and so is a name that DNS cannot have.
  public init(context: TLSContext, serverName: String? = nil) throws(TLSError) {
    ErrorQueue.clear()
    guard let connection = unsafe context.makeConnection() else {
      throw .contextRefused(reason: ErrorQueue.takeReason())
    }
    self.context = context
    unsafe self.connection = connection
    guard let bio = unsafe CiphertextPort.makeBIO(over: port) else {
      throw .contextRefused(reason: "out of memory")
    }
    // The connection owns the BIO from here on; one object serves both directions.
    unsafe SSL_set_bio(connection, bio, bio)
    unsafe SSL_set_ex_data(connection, 0, Unmanaged.passUnretained(self).toOpaque())
    switch context.role {
    case .server:
      unsafe SSL_set_accept_state(connection)
      // Without a key OpenSSL would have nothing to seal with, and end the handshake over it.
      if let terms = context.tickets, terms.keys() == nil { unsafe copenssl_forbid_tickets(connection) }
    case .client:
      unsafe SSL_set_connect_state(connection)
      if let name = serverName.flatMap(ServerName.dnsName(from:)) {
        unsafe _ = copenssl_set_server_name(connection, name)
      }
    }
  }

  deinit { unsafe SSL_free(connection) }

  /// Where OpenSSL's connection lies: a hint for who fetches memory ahead.
  public var connectionAddress: UInt { unsafe UInt(bitPattern: connection) }

  /// Begins: a client's first flight goes to `output`; a server waits. Call once.
  public func start(output: IOBuffer) -> Progress {
    guard context.role == .client, case .handshaking = state else { return state }
    unsafe port.open(input: UnsafeRawBufferPointer(start: nil, count: 0), output: output)
    defer { port.close() }
    continueHandshake()
    return state
  }

  /// Takes all of `ciphertext`. Decrypted bytes are appended to `plaintext`; whatever must be sent (handshake,
  /// alerts, key updates) to `output`, also when the result is a failure. After the end, bytes are dropped.
  public func receive(
    _ ciphertext: UnsafeRawBufferPointer, plaintext: IOBuffer, output: IOBuffer
  ) -> Progress {
    unsafe port.open(input: ciphertext, output: output)
    defer { port.close() }
    if case .handshaking = state { continueHandshake() }
    if case .established = state { readRecords(into: plaintext) }
    return state
  }

  /// Tells the engine that no ciphertext will follow: an end without close_notify is a failure.
  public func receivedEnd() -> Progress {
    switch state {
    case .handshaking: state = .failed(.closedEarly)
    case .established: state = .failed(.truncated)
    case .closedByPeer, .failed: break
    }
    return state
  }

  /// Encrypts all of `plaintext` into `output`, in records of up to 16 KiB: gather small pieces first, a record
  /// costs about 0.6 µs whatever its size.
  public func send(_ plaintext: UnsafeRawBufferPointer, output: IOBuffer) throws(TLSError) {
    guard case .established = state, !sentCloseNotify else { throw .notEstablished }
    guard unsafe !plaintext.isEmpty else { return }
    unsafe port.open(input: UnsafeRawBufferPointer(start: nil, count: 0), output: output)
    defer { port.close() }
    ErrorQueue.clear()
    var written = 0
    let result = unsafe SSL_write_ex(connection, plaintext.baseAddress, plaintext.count, &written)
    guard result == 1, written == plaintext.count else {
      let error = TLSError.malformed(reason: ErrorQueue.takeReason())
      state = .failed(error)
      throw error
    }
  }

  /// Sends close_notify, once, if the connection is still good enough for it. The peer may go on sending.
  public func close(output: IOBuffer) {
    guard !sentCloseNotify, state == .established || state == .closedByPeer else { return }
    sentCloseNotify = true
    unsafe port.open(input: UnsafeRawBufferPointer(start: nil, count: 0), output: output)
    defer { port.close() }
    ErrorQueue.clear()
    unsafe _ = SSL_shutdown(connection)
    ErrorQueue.clear()
  }

  /// What the context's tickets are given on.
  var ticketTerms: TicketTerms? { context.tickets }

  /// The peer came back with a ticket that counts: it is who it was. A full handshake that follows all the same
  /// judges anew.
  func resumed(as chain: [Certificate]) { judged = chain }

  /// The handshake was short: the peer came back with a ticket.
  public var isResumed: Bool { unsafe SSL_session_reused(connection) == 1 }

  /// The chain the peer presented, leaf first, as the verifier saw it. Empty before that, and when it is unreadable.
  public var peerChain: [Certificate] {
    guard judged.isEmpty else { return judged }
    var objects = unsafe CertificateStack.objects(in: SSL_get_peer_cert_chain(connection))
    // OpenSSL leaves the leaf out of this list on servers only.
    if context.role == .server, let leaf = unsafe SSL_get0_peer_certificate(connection) {
      unsafe objects.insert(X509Object(sharing: leaf), at: 0)
    }
    return (try? TLSEngine.certificates(objects)) ?? []
  }

  /// What ALPN agreed on; nil when the peer took no part in it.
  public var applicationProtocol: String? {
    var name: UnsafePointer<UInt8>?
    var length: UInt32 = 0
    unsafe SSL_get0_alpn_selected(connection, &name, &length)
    guard let name = unsafe name, length > 0 else { return nil }
    return unsafe String(decoding: UnsafeBufferPointer(start: name, count: Int(length)), as: UTF8.self)
  }

  /// The version agreed on, e.g. `TLSv1.3`.
  public var version: String { unsafe String(cString: SSL_get_version(connection)) }
}

extension TLSEngine {
  /// Most plaintext bytes of one record. RFC 8446, section 5.1.
  private static let recordBytesMax = 16 * 1024

  private func continueHandshake() {
    ErrorQueue.clear()
    let result = unsafe SSL_do_handshake(connection)
    if result == 1 {
      state = .established
    } else if unsafe SSL_get_error(connection, result) != SSL_ERROR_WANT_READ {
      state = .failed(explainFailure())
    }
  }

  private func readRecords(into plaintext: IOBuffer) {
    while unsafe port.unreadBytes > 0 || SSL_pending(connection) > 0 {
      let expected = unsafe max(port.unreadBytes, Int(SSL_pending(connection)))
      let space = unsafe plaintext.writable(minimum: min(expected, TLSEngine.recordBytesMax))
      ErrorQueue.clear()
      var count = 0
      let result = unsafe SSL_read_ex(connection, space.baseAddress, space.count, &count)
      if result == 1 {
        plaintext.commit(count)
        heardFromPeer = true
        continue
      }
      switch unsafe SSL_get_error(connection, result) {
      case SSL_ERROR_WANT_READ: return
      case SSL_ERROR_ZERO_RETURN:
        state = .closedByPeer
        return
      default:
        state = .failed(explainFailure())
        return
      }
    }
  }

  /// Offset of alert numbers among OpenSSL's reasons ("the peer sent alert N").
  private static let alertReasonOffset: Int32 = 1000

  /// Names the failure that OpenSSL has just reported.
  private func explainFailure() -> TLSError {
    let code = ErrorQueue.take()
    if let rejection { return rejection }
    guard code != 0 else { return .closedEarly }
    let reason = ERR_GET_REASON(code)
    if let number = UInt8(exactly: reason - TLSEngine.alertReasonOffset) {
      let alert = TLSAlert(rawValue: number)
      return alert.concernsOurCertificate && !heardFromPeer ? .refusedByPeer(alert) : .peerAlert(alert)
    }
    switch reason {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return .noPeerCertificate
    case SSL_R_NO_APPLICATION_PROTOCOL: return .noCommonProtocol
    default: return .malformed(reason: ErrorQueue.reason(of: code))
    }
  }
}

extension TLSEngine {
  /// OpenSSL's question within the handshake: is this chain good? 1 yes, 0 no with the alert set.
  static func verifyPeer(_ store: OpaquePointer?) -> Int32 {
    guard let store = unsafe store,
      let connection = unsafe X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()),
      let pointer = unsafe SSL_get_ex_data(OpaquePointer(connection), 0)
    else { return 0 }
    let engine = unsafe Unmanaged<TLSEngine>.fromOpaque(pointer).takeUnretainedValue()
    // The "untrusted" certificates are the chain exactly as it was presented, leaf first.
    let presented = unsafe CertificateStack.objects(in: X509_STORE_CTX_get0_untrusted(store))
    switch engine.judge(presented) {
    case .accept:
      unsafe X509_STORE_CTX_set_error(store, X509_V_OK)
      return 1
    case .reject(let alert, let reason, let result):
      engine.rejection = .peerRejected(alert: alert, reason: reason, result: result)
      unsafe X509_STORE_CTX_set_error(store, verifyError(for: alert))
      return 0
    }
  }

  private func judge(_ presented: [X509Object]) -> TLSVerdict {
    do {
      judged = try TLSEngine.certificates(presented)
      return context.verifier(judged)
    } catch {
      return .reject(.badCertificate, reason: error.what, result: .badID)
    }
  }

  private static func certificates(_ objects: [X509Object]) throws(TLSError) -> [Certificate] {
    var certificates: [Certificate] = []
    for object in objects {
      certificates.append(try Certificate(object, der: object.der, index: certificates.count))
    }
    return certificates
  }

  /// The verification error that OpenSSL turns into `alert`. What it has no error for becomes certificate_unknown.
  private static func verifyError(for alert: TLSAlert) -> Int32 {
    switch alert {
    case .badCertificate: X509_V_ERR_CERT_REJECTED
    case .unsupportedCertificate: X509_V_ERR_INVALID_PURPOSE
    case .certificateRevoked: X509_V_ERR_CERT_REVOKED
    case .certificateExpired: X509_V_ERR_CERT_HAS_EXPIRED
    case .unknownCA: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    default: X509_V_ERR_PERMITTED_VIOLATION
    }
  }
}

/// Names fit for SNI. RFC 6066, section 3: DNS names only, no address, no trailing dot.
enum ServerName {
  /// Nil when `text` is an address or no DNS name.
  static func dnsName(from text: String) -> String? {
    let name = text.hasSuffix(".") ? String(text.dropLast()) : text
    let labels = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard name.utf8.count <= 253, labels.allSatisfy({ (1...63).contains($0.count) }),
      name.utf8.allSatisfy(isAllowed), !labels.allSatisfy({ $0.allSatisfy(isDigit) })
    else { return nil }
    return name
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
      true
    default: isDigit(byte)
    }
  }
}
