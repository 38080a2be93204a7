// The authority of an upstream that has no SVID: a PEM file of certificates, replaced from outside at any moment.
// Who watches it, and when to load again, is decided above; nothing here keeps state or a clock.

public import TLS
internal import Trust

/// Where the certificates are. A value: loading twice reads twice.
public struct AuthorityFile: Sendable, Equatable {
  public let path: String

  public init(path: String) { self.path = path }

  /// Changes whenever the file is replaced, edited, removed or appears. Compare for equality only.
  public func fingerprint() -> String { FileStamp(path: path)?.text ?? "absent" }

  /// All certificates of the file, at least one, all of them authorities.
  public func load() throws(IdentityError) -> [Certificate] {
    let text = try SmallFile.read(path)
    let certificates: [Certificate]
    do throws(TLSError) {
      certificates = try Certificate.parse(pem: text)
    } catch {
      throw .authority(path: path, error)
    }
    // A leaf in this file would be a mistake that no handshake would ever name.
    guard let leaf = certificates.first(where: { !$0.isCA }) else { return certificates }
    throw .noAuthority(path: path, subject: leaf.subject)
  }
}
