// Goal: digests are those of FIPS 180-4, however the bytes arrive. Method: published test vectors, splits at every place.

import Digest
import Primitives
import Testing

@Test(arguments: [
  ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
  ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
  (
    "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
  ),
])
func publishedVectors(_ text: String, _ digest: String) {
  let bytes = Array(text.utf8)
  #expect(Hex.encode(SHA256.hash(bytes)) == digest)
  for split in 0...bytes.count {
    var stream = SHA256Stream()
    stream.update(Array(bytes[..<split]))
    stream.update(Array(bytes[split...]))
    #expect(Hex.encode(stream.finish()) == digest)
  }
}

@Test func aFinishedStreamBeginsAnew() {
  var stream = SHA256Stream()
  stream.update(Array("first".utf8))
  _ = stream.finish()
  stream.update(Array("abc".utf8))
  #expect(stream.finish() == SHA256.hash(Array("abc".utf8)))
}

@Test func copiesOfAStreamGoTheirOwnWay() {
  var stream = SHA256Stream()
  stream.update(Array("ab".utf8))
  var copy = stream
  copy.update(Array("x".utf8))
  stream.update(Array("c".utf8))
  #expect(stream.finish() == SHA256.hash(Array("abc".utf8)))
  #expect(copy.finish() == SHA256.hash(Array("abx".utf8)))
}

@Test func anUnreadableCertificateIsNamed() {
  #expect(throws: SignatureError.certificateUnreadable) {
    try Signature.verify([1], of: [1], certificate: [0x30])
  }
}
