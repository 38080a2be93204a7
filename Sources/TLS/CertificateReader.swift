// Reads single fields of an X509 object into Swift values; the C half of `Certificate`.
// Strict where OpenSSL is lenient: an extension that appears twice or does not parse is an error, never "absent".
// Names are taken by length, never as C strings: a NUL inside must not shorten them.

import COpenSSL
import Primitives

struct CertificateReader {
  let certificate: X509Object
  /// Place within a file or chain, for errors.
  let index: Int

  func notBefore() throws(TLSError) -> Timestamp {
    try unsafe timestamp(X509_get0_notBefore(certificate.raw), field: "notBefore")
  }

  func notAfter() throws(TLSError) -> Timestamp {
    try unsafe timestamp(X509_get0_notAfter(certificate.raw), field: "notAfter")
  }

  /// RFC 2253 form, cut at 256 bytes; empty when there is none.
  func subject() -> String {
    guard let sink = unsafe BIO_new(BIO_s_mem()) else { return "" }
    defer { unsafe BIO_free_all(sink) }
    let name = unsafe X509_get_subject_name(certificate.raw)
    guard unsafe copenssl_print_name(sink, name) >= 0 else { return "" }
    var start: UnsafePointer<UInt8>?
    let count = unsafe copenssl_bio_contents(sink, &start)
    return unsafe String(
      decoding: UnsafeBufferPointer(start: start, count: min(max(count, 0), 256)), as: UTF8.self)
  }

  func alternativeNames() throws(TLSError) -> (uris: [String], dns: [String]) {
    guard let found = try unsafe decoded(NID_subject_alt_name, "subjectAltName") else { return ([], []) }
    let names = unsafe OpaquePointer(found.value)
    defer { unsafe GENERAL_NAMES_free(names) }
    var uris: [String] = []
    var dns: [String] = []
    for position in unsafe 0..<max(copenssl_names_count(names), 0) {
      let name = unsafe copenssl_names_at(names, position)
      if let text = unsafe copenssl_name_text(name, GEN_URI) { unsafe uris.append(string(text)) }
      if let text = unsafe copenssl_name_text(name, GEN_DNS) { unsafe dns.append(string(text)) }
    }
    return (uris, dns)
  }

  func isCA() throws(TLSError) -> Bool {
    guard let found = try unsafe decoded(NID_basic_constraints, "basicConstraints") else { return false }
    let constraints = unsafe found.value.assumingMemoryBound(to: BASIC_CONSTRAINTS.self)
    defer { unsafe BASIC_CONSTRAINTS_free(constraints) }
    return unsafe constraints.pointee.ca != 0
  }

  func keyUsage() throws(TLSError) -> (KeyUsage?, isCritical: Bool) {
    guard let found = try unsafe decoded(NID_key_usage, "keyUsage") else { return (nil, false) }
    let bits = unsafe found.value.assumingMemoryBound(to: ASN1_BIT_STRING.self)
    defer { unsafe ASN1_BIT_STRING_free(bits) }
    // Bit 0 of the extension (digitalSignature) is the top bit of its first byte, as in OpenSSL's KU_ constants.
    var usage: UInt32 = 0
    for bit in 0..<8 where unsafe ASN1_BIT_STRING_get_bit(bits, Int32(bit)) == 1 {
      usage |= 0x80 >> UInt32(bit)
    }
    return unsafe (KeyUsage(rawValue: usage), found.isCritical)
  }

  func extendedKeyUsage() throws(TLSError) -> ExtendedKeyUsage? {
    guard let found = try unsafe decoded(NID_ext_key_usage, "extendedKeyUsage") else { return nil }
    let usages = unsafe OpaquePointer(found.value)
    defer { unsafe EXTENDED_KEY_USAGE_free(usages) }
    var result: ExtendedKeyUsage = []
    for position in unsafe 0..<max(copenssl_usages_count(usages), 0) {
      switch unsafe copenssl_usages_nid(usages, position) {
      case NID_server_auth: result.insert(.serverAuth)
      case NID_client_auth: result.insert(.clientAuth)
      case NID_anyExtendedKeyUsage: result.insert(.any)
      default: result.insert(.other)
      }
    }
    return result
  }

  /// The decoded extension, owned by the caller; nil when the certificate has none of this kind.
  private func decoded(
    _ kind: Int32, _ name: String
  ) throws(TLSError) -> (value: UnsafeMutableRawPointer, isCritical: Bool)? {
    // −1: absent, −2: more than once, else the critical flag (also when decoding fails).
    var critical: Int32 = -1
    let value = unsafe X509_get_ext_d2i(certificate.raw, kind, &critical, nil)
    if let value = unsafe value { return unsafe (value, critical == 1) }
    switch critical {
    case -1: return nil
    case -2: throw .certificateUnreadable(index: index, reason: "\(name) is given twice")
    default: throw .certificateUnreadable(index: index, reason: "\(name) is malformed")
    }
  }

  private func timestamp(
    _ time: UnsafePointer<ASN1_TIME>?, field: String
  ) throws(TLSError) -> Timestamp {
    var seconds: Int64 = 0
    guard unsafe copenssl_time_seconds(time, &seconds) == 1 else {
      throw .certificateUnreadable(index: index, reason: "\(field) is no time")
    }
    return Timestamp(seconds: seconds)
  }

  private func string(_ text: UnsafePointer<ASN1_STRING>) -> String {
    let count = unsafe Int(ASN1_STRING_length(text))
    return unsafe String(
      decoding: UnsafeBufferPointer(start: ASN1_STRING_get0_data(text), count: max(count, 0)),
      as: UTF8.self)
  }
}
