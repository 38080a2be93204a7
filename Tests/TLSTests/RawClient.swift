// Peers that our own engine cannot be: clients without a certificate, without ALPN or with other protocols.
// Method: OpenSSL driven directly with memory BIOs.

import COpenSSL
import Primitives
import TLS
import TestCertificates
import Testing

/// A client of OpenSSL's defaults, told what to leave out.
@safe
final class RawClient {
  private let context: OpaquePointer
  private let connection: OpaquePointer
  private let fromServer: OpaquePointer
  private let toServer: OpaquePointer

  init(identity: TestIdentity?, alpn: [UInt8], maximum: Int32 = TLS1_3_VERSION) {
    guard let context = unsafe SSL_CTX_new(TLS_client_method()) else {
      preconditionFailure("OpenSSL refused a client context")
    }
    unsafe _ = copenssl_set_versions(context, TLS1_2_VERSION, maximum)
    if let identity {
      unsafe SSL_CTX_use_certificate_ASN1(context, Int32(identity.chain[0].count), identity.chain[0])
      unsafe SSL_CTX_use_PrivateKey_ASN1(EVP_PKEY_EC, context, identity.key, identity.key.count)
    }
    if !alpn.isEmpty { unsafe SSL_CTX_set_alpn_protos(context, alpn, UInt32(alpn.count)) }
    guard let connection = unsafe SSL_new(context), let fromServer = unsafe BIO_new(BIO_s_mem()),
      let toServer = unsafe BIO_new(BIO_s_mem())
    else { preconditionFailure("OpenSSL refused a client") }
    unsafe SSL_set_bio(connection, fromServer, toServer)
    unsafe SSL_set_connect_state(connection)
    unsafe self.context = context
    unsafe self.connection = connection
    unsafe self.fromServer = fromServer
    unsafe self.toServer = toServer
  }

  deinit {
    unsafe SSL_free(connection)
    unsafe SSL_CTX_free(context)
  }

  /// Steps the handshake (or reads) with what the server said and returns what to say.
  func step(_ bytes: [UInt8]) -> [UInt8] {
    if !bytes.isEmpty { unsafe BIO_write(fromServer, bytes, Int32(bytes.count)) }
    var scratch = [UInt8](repeating: 0, count: 1024)
    unsafe _ = SSL_read(connection, &scratch, 1024)
    ERR_clear_error()
    var start: UnsafePointer<UInt8>?
    let count = unsafe copenssl_bio_contents(toServer, &start)
    let said = unsafe Array(UnsafeBufferPointer(start: start, count: count))
    unsafe _ = BIO_ctrl(toServer, BIO_CTRL_RESET, 0, nil)
    return said
  }
}

/// Runs the handshake to its end.
func meet(_ client: RawClient, _ server: End) {
  var bytes = client.step([])
  while !bytes.isEmpty {
    server.receive(bytes)
    bytes = client.step(server.output.takeAll())
  }
}

private let h2: [UInt8] = [2] + Array("h2".utf8)
private let http11: [UInt8] = [8] + Array("http/1.1".utf8)

@Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
func aClientWithoutACertificateIsNamed(_ version: Int32) throws {
  let server = try End(Cast().context(.server, minimum: .tls12))
  let client = RawClient(identity: nil, alpn: h2, maximum: version)
  meet(client, server)
  #expect(server.progress == .failed(.noPeerCertificate))
}

@Test func aClientOfTLS12IsRefusedByDefault() throws {
  let cast = Cast()
  let server = try End(cast.context(.server))
  let client = RawClient(identity: cast.client, alpn: h2, maximum: TLS1_2_VERSION)
  meet(client, server)
  #expect(server.progress == .failed(.malformed(reason: "unsupported protocol")))
}

@Test func aClientOfTLS12IsServedWhenAllowed() throws {
  let cast = Cast()
  let server = try End(cast.context(.server, minimum: .tls12))
  let client = RawClient(identity: cast.client, alpn: h2, maximum: TLS1_2_VERSION)
  meet(client, server)
  #expect(server.progress == .established)
  #expect(server.engine.version == "TLSv1.2")
  #expect(server.engine.peerChain.map(\.der) == cast.client.chain)
}

@Test(arguments: [
  ([], nil, true), (h2, "h2", true), (http11 + h2, "h2", true), (h2 + http11, "h2", true),
  (http11, nil, false),
  ([3] + Array("h2c".utf8), nil, false),
])
func protocolsByALPN(_ offered: [UInt8], _ agreed: String?, _ accepted: Bool) throws {
  let cast = Cast()
  let server = try End(cast.context(.server))
  let client = RawClient(identity: cast.client, alpn: offered)
  meet(client, server)
  #expect(server.progress == (accepted ? .established : .failed(.noCommonProtocol)))
  #expect(server.engine.applicationProtocol == agreed)
}
