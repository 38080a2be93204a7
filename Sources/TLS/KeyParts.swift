// The numbers of an EC or RSA key, found where they lie, so that they go into OpenSSL's secure heap with no copy on the
// way: its own decoders leave one behind in memory that they give back unwiped. Sources: RFC 5208 (PKCS#8), RFC 5915
// (EC), RFC 8017 appendix A.1.2 (RSA), X.690; EVP_PKEY-EC(7), EVP_PKEY-RSA(7).

import COpenSSL

/// DER elements one after the other, by their places in one run of bytes.
@safe
private struct DERElements {
  private let bytes: UnsafeRawBufferPointer
  private var rest: Range<Int>

  init(_ bytes: UnsafeRawBufferPointer, in range: Range<Int>? = nil) {
    unsafe self.bytes = bytes
    rest = range ?? 0..<bytes.count
  }

  /// The elements inside of one.
  func inside(_ range: Range<Int>) -> DERElements { unsafe DERElements(bytes, in: range) }

  /// The place of the next element's content when it has this tag; else nothing moves.
  mutating func next(_ tag: UInt8) -> Range<Int>? {
    guard rest.count >= 2, unsafe bytes[rest.lowerBound] == tag else { return nil }
    var start = rest.lowerBound + 2
    var length = unsafe Int(bytes[rest.lowerBound + 1])
    if length >= 0x80 {
      let lengthBytes = length & 0x7F
      guard (1...3).contains(lengthBytes), rest.upperBound - start >= lengthBytes else { return nil }
      length = unsafe bytes[start..<start + lengthBytes].reduce(0) { $0 << 8 | Int($1) }
      start += lengthBytes
    }
    guard rest.upperBound - start >= length else { return nil }
    rest = start + length..<rest.upperBound
    return start..<start + length
  }

  /// Whether these bytes stand there.
  func has(_ range: Range<Int>, _ expected: [UInt8]) -> Bool { unsafe bytes[range].elementsEqual(expected) }
}

private enum Tag {
  static let integer: UInt8 = 0x02
  static let bitString: UInt8 = 0x03
  static let octetString: UInt8 = 0x04
  static let objectIdentifier: UInt8 = 0x06
  static let sequence: UInt8 = 0x30
  /// Explicit [0] and [1].
  static let first: UInt8 = 0xA0
  static let second: UInt8 = 0xA1
}

/// Places within the DER of a key.
enum KeyParts {
  /// `curve` by OpenSSL's name, the private number, the public point with its leading form byte.
  case ec(curve: String, number: Range<Int>, point: Range<Int>)
  /// n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p.
  case rsa([Range<Int>])

  private static let ecKey: [UInt8] = [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01]
  private static let rsaKey: [UInt8] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01]
  private static let curves: [(object: [UInt8], name: String, bytes: Int)] = [
    ([0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07], "P-256", 32),
    ([0x2B, 0x81, 0x04, 0x00, 0x22], "P-384", 48),
    ([0x2B, 0x81, 0x04, 0x00, 0x23], "P-521", 66),
  ]

  /// Nil for anything else than a whole key of a known kind.
  init?(_ der: UnsafeRawBufferPointer) {
    var outside = unsafe DERElements(der)
    guard let key = outside.next(Tag.sequence) else { return nil }
    var elements = outside.inside(key)
    guard elements.next(Tag.integer) != nil else { return nil }
    let parts: KeyParts?
    if let algorithm = elements.next(Tag.sequence) {
      parts = KeyParts.wrapped(elements, algorithm)
    } else {
      parts = KeyParts.rsa(outside.inside(key)) ?? KeyParts.ec(outside.inside(key), curve: nil)
    }
    guard let parts else { return nil }
    self = parts
  }

  /// PKCS#8, after its version and algorithm.
  private static func wrapped(_ after: DERElements, _ algorithm: Range<Int>) -> KeyParts? {
    var after = after
    var named = after.inside(algorithm)
    guard let kind = named.next(Tag.objectIdentifier), let octets = after.next(Tag.octetString) else {
      return nil
    }
    var inside = after.inside(octets)
    guard let content = inside.next(Tag.sequence) else { return nil }
    if after.has(kind, rsaKey) { return rsa(after.inside(content)) }
    guard after.has(kind, ecKey) else { return nil }
    return ec(after.inside(content), curve: named.next(Tag.objectIdentifier))
  }

  private static func ec(_ content: DERElements, curve: Range<Int>?) -> KeyParts? {
    var content = content
    guard content.next(Tag.integer) != nil, let number = content.next(Tag.octetString) else { return nil }
    var own: Range<Int>?
    if let parameters = content.next(Tag.first) {
      var inside = content.inside(parameters)
      own = inside.next(Tag.objectIdentifier)
    }
    guard let object = curve ?? own,
      let known = curves.first(where: { content.has(object, $0.object) }), number.count <= known.bytes,
      let outside = content.next(Tag.second)
    else { return nil }
    var inside = content.inside(outside)
    // A bit string begins with how many of its last bits do not count.
    guard let bits = inside.next(Tag.bitString), bits.count > 1,
      inside.has(bits.lowerBound..<bits.lowerBound + 1, [0])
    else { return nil }
    return .ec(curve: known.name, number: number, point: bits.lowerBound + 1..<bits.upperBound)
  }

  private static func rsa(_ content: DERElements) -> KeyParts? {
    var content = content
    guard content.next(Tag.integer) != nil else { return nil }
    var numbers: [Range<Int>] = []
    while let number = content.next(Tag.integer) { numbers.append(number) }
    return numbers.count == 8 ? .rsa(numbers) : nil
  }
}

extension KeyParts {
  /// The key, owned by the caller; nil when OpenSSL does not take it.
  /// - Parameter der: what the parts were found in.
  func makeKey(of der: UnsafeRawBufferPointer) -> OpaquePointer? {
    guard let start = unsafe der.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return nil }
    switch self {
    case .ec(let curve, let number, let point):
      return unsafe copenssl_make_ec_key(
        curve, start + number.lowerBound, number.count, start + point.lowerBound, point.count)
    case .rsa(let numbers):
      let starts = unsafe numbers.map { unsafe UnsafePointer?(start + $0.lowerBound) }
      return unsafe copenssl_make_rsa_key(starts, numbers.map(\.count))
    }
  }
}
