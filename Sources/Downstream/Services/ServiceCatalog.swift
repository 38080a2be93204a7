// The files behind the services of this relay, found by name and by what they define. Made once from the embedded
// descriptors (ServiceDescriptors.swift).

import FoundationEssentials
import Primitives
import SwiftProtobuf

struct ServiceCatalog: Sendable {
  struct File: Sendable {
    let name: String
    /// A serialized FileDescriptorProto.
    let bytes: Data
    let imports: [String]
  }

  static let shared = ServiceCatalog()

  private var files: [String: File] = [:]
  /// Messages, enums, fields, services and methods by full name, without a leading dot.
  private var fileOfSymbol: [String: String] = [:]

  private init() {
    // Part of the program, so a failure is a broken build.
    let text = ServiceDescriptors.base64.withUTF8Buffer { unsafe Array($0) }
    guard let bytes = Base64.decode(text),
      let set = try? Google_Protobuf_FileDescriptorSet(serializedBytes: bytes)
    else { preconditionFailure("the embedded service descriptors cannot be read") }
    for file in set.file { add(file) }
  }

  /// The file that defines a symbol.
  func file(of symbol: String) -> String? {
    fileOfSymbol[symbol.hasPrefix(".") ? String(symbol.dropFirst()) : symbol]
  }

  /// A file after everything it imports; nil when there is none of this name.
  func files(neededFor name: String) -> [File]? {
    guard files[name] != nil else { return nil }
    var found: [File] = []
    var seen: Set<String> = []
    collect(name, &found, &seen)
    return found
  }

  private func collect(_ name: String, _ found: inout [File], _ seen: inout Set<String>) {
    guard seen.insert(name).inserted, let file = files[name] else { return }
    for imported in file.imports { collect(imported, &found, &seen) }
    found.append(file)
  }

  private mutating func add(_ file: Google_Protobuf_FileDescriptorProto) {
    guard let bytes: Data = try? file.serializedBytes() else {
      preconditionFailure("an embedded file descriptor cannot be encoded again")
    }
    files[file.name] = File(name: file.name, bytes: bytes, imports: file.dependency)
    let package = file.package.isEmpty ? "" : file.package + "."
    for message in file.messageType { add(message, in: package, of: file.name) }
    for kind in file.enumType { fileOfSymbol[package + kind.name] = file.name }
    for service in file.service {
      fileOfSymbol[package + service.name] = file.name
      for method in service.method { fileOfSymbol[package + service.name + "." + method.name] = file.name }
    }
  }

  private mutating func add(_ message: Google_Protobuf_DescriptorProto, in scope: String, of file: String) {
    let name = scope + message.name
    fileOfSymbol[name] = file
    for field in message.field { fileOfSymbol[name + "." + field.name] = file }
    for kind in message.enumType { fileOfSymbol[name + "." + kind.name] = file }
    for nested in message.nestedType { add(nested, in: name + ".", of: file) }
  }
}
