// Readings that several sections of the file share: paths, secrets, addresses, identities, patterns of kinds.

import Documents
import Policy
import SPIFFE

/// Where a secret is: never the secret itself.
public enum SecretLocation: Hashable, Sendable {
  case file(String)
  /// The name of a systemd credential; its file is in the folder that systemd names.
  case credential(String)

  /// Nil for a credential when there is no folder of credentials.
  public func path(credentialsFolder: String?) -> String? {
    switch self {
    case .file(let path): path
    case .credential(let name): credentialsFolder.map { $0 + "/" + name }
    }
  }
}

extension MappingReader {
  /// A path, made relative to the folder of this file.
  func path(_ key: String, required: Bool = false) -> String? {
    string(key, required: required).flatMap { path(from: $0, name: name(key)) }
  }

  func path(from text: Located<String>, name: String) -> String? {
    guard !text.value.contains("-----BEGIN") else {
      problems.report(
        text.position, "\(name) holds a key or certificate", howToFix: "put it into a file and write its path"
      )
      return nil
    }
    guard !text.value.contains("://") else {
      problems.report(
        text.position, "\(name) is \(Problem.quote(text.value)), a URL", howToFix: "write a path")
      return nil
    }
    return TextFile.resolve(text.value, besideFile: text.position.file)
  }

  /// A path, `{file: PATH}` or `{credential: NAME}`.
  func secret(_ key: String) -> SecretLocation? {
    guard let node = node(key, required: true) else { return nil }
    guard node.mapping != nil else {
      return string(of: node, name: name(key)).flatMap { path(from: $0, name: name(key)) }.map { .file($0) }
    }
    return MappingReader.read(node, path: name(key), problems: problems) { reader in
      let file = reader.path("file")
      let credential = reader.string("credential")
      guard let credential else {
        if file == nil, reader.entry("file") == nil {
          problems.report(node.position, "\(name(key)) must be {file: PATH} or {credential: NAME}")
        }
        return file.map { .file($0) }
      }
      guard reader.entry("file") == nil, !credential.value.contains("/") else {
        problems.report(
          credential.position, "\(name(key)) must be {file: PATH} or {credential: NAME}",
          why: "a credential is a name, and only one of both can be meant")
        return nil
      }
      return .credential(credential.value)
    }
  }

  /// An address to dial or, with `listening`, to listen on: then an IP address, and port 0 is allowed.
  func address(from text: Located<String>, name: String, listening: Bool) -> NetworkAddress? {
    do throws(NetworkAddress.Fault) {
      let address = try NetworkAddress(parsing: text.value)
      guard listening || address.port != 0 else { throw NetworkAddress.Fault("has the port 0") }
      guard !listening || address.isIPAddress else {
        throw NetworkAddress.Fault("has a host name", "write an IP address of this host")
      }
      return address
    } catch {
      problems.report(
        text.position, "\(name) is \(Problem.quote(text.value)), which \(error.what)",
        howToFix: error.howToFix)
      return nil
    }
  }

  func identityPattern(_ key: String) -> SPIFFEPattern? {
    guard let text = string(key, required: true) else { return nil }
    do throws(SPIFFEError) {
      return try SPIFFEPattern(parsing: text.value)
    } catch {
      problems.report(
        text.position, "\(name(key)) is \(Problem.quote(text.value)), which is no SPIFFE ID or pattern",
        why: error.what, howToFix: error.howToFix)
      return nil
    }
  }

  /// A DNS name without wildcard, not an address.
  func hostName(_ key: String, required: Bool = false, example: String) -> String? {
    guard let text = string(key, required: required) else { return nil }
    guard NetworkAddress.isName(text.value) else {
      problems.report(
        text.position, "\(name(key)) is \(Problem.quote(text.value)), which is no DNS name",
        howToFix: example.isEmpty ? "" : "write it like \(example)")
      return nil
    }
    return text.value
  }

  /// The addresses of one server in order of preference, each once.
  func addresses(_ key: String) -> [NetworkAddress]? {
    guard let texts = strings(key, required: true) else { return nil }
    var known: Set<NetworkAddress> = []
    return texts.compactMap { text in
      guard let address = address(from: text, name: "an item of \(name(key))", listening: false) else {
        return nil
      }
      if !known.insert(address).inserted {
        problems.report(
          text.position, "\(address) stands twice in \(name(key))", howToFix: "remove one of them")
      }
      return address
    }
  }

  func types(_ key: String) -> [TypePattern]? {
    strings(key)?.compactMap { TypePattern.read($0, problems: problems) }
  }
}
