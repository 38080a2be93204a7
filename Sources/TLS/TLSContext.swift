// What all connections of one loop share for one generation of credentials: certificate, key, versions,
// ciphers, the verifier. Decided here once: mutual TLS always, tickets on the terms of SessionTickets.swift or none, no
// session cache, no early data, no renegotiation, no compression. Sources: RFC 8446, RFC 7301, SPIFFE X.509-SVID section 5.

import COpenSSL

/// Which end of the connection we are (or, in verification, the peer is).
public enum TLSRole: Sendable {
  case server
  case client
}

/// The oldest version of TLS that is accepted.
public enum TLSVersion: String, Sendable {
  case tls12 = "1.2"
  case tls13 = "1.3"
}

/// What a verifier says of a peer's chain.
public enum TLSVerdict: Sendable {
  case accept
  /// Ends the handshake with `alert`; `reason` goes to our log, never to the peer.
  case reject(TLSAlert, reason: String, result: HandshakeResult = .untrusted)
}

/// Judges the chain a peer presented: leaf first, as it came. Runs within the handshake, on the loop, for
/// every full handshake; who comes back with a ticket is judged by its terms.
///
/// Peers that are no SPIFFE workloads (an authority and a DNS name to check) are another verifier over the same
/// chain: `CertificatePath` for the authority, `Certificate.dnsNames` for the name.
public typealias PeerVerifier = (_ chain: [Certificate]) -> TLSVerdict

/// Not `Sendable`: made on the loop that uses it. Engines keep it alive.
@safe
public final class TLSContext {
  /// The one application protocol that connections of the mesh speak.
  static let meshProtocol = "h2"

  public let role: TLSRole
  let verifier: PeerVerifier
  let tickets: TicketTerms?
  /// What ALPN offers or accepts.
  private let applicationProtocol: String
  private let context: OpaquePointer

  /// - Parameters:
  ///   - chain: our certificates as DER, leaf first, without the root.
  ///   - key: the leaf's; it must match. Shared, not copied.
  ///   - tickets: for servers, on what terms clients may come back; nil: a full handshake each time.
  ///   - verifier: asked once for every full handshake; tickets ask through their terms.
  public convenience init(
    role: TLSRole, chain: [[UInt8]], key: PrivateKey, minimum: TLSVersion = .tls13,
    tickets: TicketTerms? = nil,
    verifier: @escaping PeerVerifier
  ) throws(TLSError) {
    try self.init(
      role: role, speaking: TLSContext.meshProtocol, minimum: minimum, tickets: tickets, verifier: verifier)
    try configureCredentials(chain: chain, key: key)
  }

  /// A client that shows no certificate, for servers that are no part of the mesh, such as bundle endpoints.
  /// - Parameter name: of the application protocol.
  public convenience init(
    anonymousClientOf name: String, verifier: @escaping PeerVerifier
  ) throws(TLSError) {
    try self.init(role: .client, speaking: name, minimum: .tls12, tickets: nil, verifier: verifier)
  }

  private init(
    role: TLSRole, speaking name: String, minimum: TLSVersion, tickets: TicketTerms?,
    verifier: @escaping PeerVerifier
  ) throws(TLSError) {
    ErrorQueue.clear()
    let method = unsafe role == .server ? TLS_server_method() : TLS_client_method()
    guard let context = unsafe SSL_CTX_new(method) else {
      throw .contextRefused(reason: ErrorQueue.takeReason())
    }
    self.role = role
    self.verifier = verifier
    self.tickets = role == .server ? tickets : nil
    applicationProtocol = name
    unsafe self.context = context
    try configureProtocol(minimum: minimum)
    if let tickets = self.tickets { try require(unsafe tickets.configure(context) ? 1 : 0) }
    configureVerification()
    try configureApplicationProtocol()
  }

  deinit { unsafe SSL_CTX_free(context) }

  /// A connection object that shares these settings; freed by the caller.
  func makeConnection() -> OpaquePointer? { unsafe SSL_new(context) }
}

extension TLSContext {
  private static let ciphersTLS13 =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
  /// Forward secrecy and authenticated encryption only.
  private static let ciphersTLS12 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    + "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
  private static let groups = "X25519:P-256"
  /// Bytes of certificates a peer may present. Reason: an SVID chain has 1 to 3 certificates of about 1 KiB.
  private static let peerChainBytesMax = 64 * 1024

  private func configureProtocol(minimum: TLSVersion) throws(TLSError) {
    let oldest = minimum == .tls13 ? TLS1_3_VERSION : TLS1_2_VERSION
    try require(unsafe copenssl_set_versions(context, oldest, TLS1_3_VERSION))
    try require(unsafe SSL_CTX_set_ciphersuites(context, TLSContext.ciphersTLS13))
    try require(unsafe SSL_CTX_set_cipher_list(context, TLSContext.ciphersTLS12))
    try require(unsafe copenssl_set_groups(context, TLSContext.groups))
    unsafe copenssl_set_safe_options(context)
    unsafe copenssl_disable_session_cache(context)
    try require(unsafe SSL_CTX_set_num_tickets(context, 0))
    try require(unsafe SSL_CTX_set_max_early_data(context, 0))
    unsafe copenssl_set_max_cert_list(context, TLSContext.peerChainBytesMax)
    // RELEASE_BUFFERS: an idle connection keeps no record buffers. NO_AUTO_CHAIN: what we present is what we
    // were given, never completed from a store.
    unsafe copenssl_set_mode(context, Int(SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN))
  }

  private func configureCredentials(chain: [[UInt8]], key: PrivateKey) throws(TLSError) {
    var certificates: [Certificate] = []
    for der in chain { certificates.append(try Certificate(der: der, index: certificates.count)) }
    guard let leaf = certificates.first else { throw .noCertificates }
    guard let intermediates = CertificateStack(certificates.dropFirst()) else {
      throw .contextRefused(reason: "out of memory")
    }
    ErrorQueue.clear()
    let accepted = unsafe key.withPointer { key in
      unsafe SSL_CTX_use_cert_and_key(context, leaf.object.raw, key, intermediates.raw, 1)
    }
    guard accepted == 1 else {
      let code = ErrorQueue.take()
      let mismatches = [X509_R_KEY_VALUES_MISMATCH, X509_R_KEY_TYPE_MISMATCH, SSL_R_PRIVATE_KEY_MISMATCH]
      if mismatches.contains(ERR_GET_REASON(code)) { throw .keyDoesNotMatch }
      throw .contextRefused(reason: ErrorQueue.reason(of: code))
    }
  }

  private func configureVerification() {
    let mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    unsafe SSL_CTX_set_verify(context, mode, nil)
    // The engine is found through the connection, so no pointer to `self` is handed to C.
    unsafe SSL_CTX_set_cert_verify_callback(
      context, { store, _ in unsafe TLSEngine.verifyPeer(store) }, nil)
  }

  private func configureApplicationProtocol() throws(TLSError) {
    switch role {
    case .client:
      let name = Array(applicationProtocol.utf8)
      // RFC 7301 wire form: length, then name.
      let wire = [UInt8(name.count)] + name
      // This function alone answers 0 for success.
      try require(unsafe SSL_CTX_set_alpn_protos(context, wire, UInt32(wire.count)) == 0 ? 1 : 0)
    case .server:
      // Asked only when the client offers protocols at all; a client without ALPN is accepted.
      unsafe SSL_CTX_set_alpn_select_cb(
        context,
        { _, chosen, chosenLength, offered, offeredLength, _ in
          unsafe TLSContext.chooseProtocol(
            from: UnsafeBufferPointer(start: offered, count: Int(offeredLength)), chosen, chosenLength)
        }, nil)
    }
  }

  /// `offered` is a run of (length, name), checked by OpenSSL; walked with bounds all the same.
  private static func chooseProtocol(
    from offered: UnsafeBufferPointer<UInt8>,
    _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ chosenLength: UnsafeMutablePointer<UInt8>?
  ) -> Int32 {
    var position = 0
    while position < offered.count {
      let length = unsafe Int(offered[position])
      let start = position + 1
      guard start + length <= offered.count else { break }
      let name = unsafe UnsafeBufferPointer(rebasing: offered[start..<start + length])
      if unsafe name.elementsEqual(meshProtocol.utf8) {
        // The choice points into the offer, which OpenSSL keeps until it has copied the choice.
        unsafe chosen?.pointee = name.baseAddress
        unsafe chosenLength?.pointee = UInt8(length)
        return SSL_TLSEXT_ERR_OK
      }
      position = start + length
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
  }

  private func require(_ result: Int32) throws(TLSError) {
    guard result == 1 else { throw .contextRefused(reason: ErrorQueue.takeReason()) }
  }
}
