// Goal: the engine talks to a TLS stack that is not in this process, in both roles.
// Method: openssl s_server and s_client as programs over loopback; certificates in a folder of the test.

import Foundation
import Glibc
import Primitives
import TLS
import TestCertificates
import Testing

/// A folder with the files that the openssl program wants, removed at the end.
private final class ProgramFiles {
  let cast = Cast()
  private let folder = FileManager.default.temporaryDirectory.appending(path: "tls-\(UUID().uuidString)")

  init() throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for (name, identity) in [("client", cast.client), ("server", cast.server)] {
      try identity.chainPEM.write(
        to: folder.appending(path: name + ".pem"), atomically: true, encoding: .utf8)
      try identity.keyPEM.write(to: folder.appending(path: name + ".key"), atomically: true, encoding: .utf8)
    }
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  /// `openssl ARGUMENT…` with certificate and key of `name`; its output comes by the pipe.
  func start(_ arguments: [String], as name: String, input: Pipe, output: Pipe) throws -> Process {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/openssl")
    process.arguments =
      arguments + [
        "-cert", folder.appending(path: name + ".pem").path, "-key",
        folder.appending(path: name + ".key").path,
      ]
    process.standardInput = input
    process.standardOutput = output
    process.standardError = FileHandle.nullDevice
    try process.run()
    return process
  }
}

/// A blocking TCP socket on loopback that gives up after ten seconds of silence.
private final class LoopbackSocket {
  private let descriptor: Int32

  private init(descriptor: Int32) throws {
    try #require(descriptor >= 0)
    self.descriptor = descriptor
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    unsafe setsockopt(
      descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  /// Listens on a port that the kernel chooses.
  static func listening() throws -> (socket: LoopbackSocket, port: UInt16) {
    let socket = try LoopbackSocket(descriptor: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
    try #require(unsafe call(bind, socket.descriptor, &address) == 0)
    try #require(listen(socket.descriptor, 1) == 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    unsafe withUnsafeMutablePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe _ = getsockname(socket.descriptor, $0, &length)
      }
    }
    return (socket, UInt16(bigEndian: address.sin_port))
  }

  static func connected(to port: UInt16) throws -> LoopbackSocket {
    let socket = try LoopbackSocket(descriptor: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = INADDR_LOOPBACK.bigEndian
    address.sin_port = port.bigEndian
    try #require(unsafe call(connect, socket.descriptor, &address) == 0)
    return socket
  }

  func accepted() throws -> LoopbackSocket {
    try LoopbackSocket(descriptor: accept(descriptor, nil, nil))
  }

  /// Carries bytes between `end` and the socket until `isDone`, or the peer is silent or gone.
  func carry(_ end: End, until isDone: () -> Bool) {
    var chunk = [UInt8](repeating: 0, count: 1000)
    while true {
      let bytes = end.output.takeAll()
      if !bytes.isEmpty { unsafe _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }
      if isDone() { return }
      let count = unsafe recv(descriptor, &chunk, chunk.count, 0)
      guard count > 0 else { return }
      end.receive(Array(chunk[..<count]))
    }
  }

  private static func call(
    _ function: (Int32, UnsafePointer<sockaddr>?, socklen_t) -> Int32, _ descriptor: Int32,
    _ address: inout sockaddr_in
  ) -> Int32 {
    unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe function(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
}

@Test(arguments: ["-tls1_3", "-tls1_2"])
func theEngineIsAClientOfTheProgram(_ version: String) throws {
  let files = try ProgramFiles()
  let output = Pipe()
  // -rev answers each line reversed; -Verify demands a client certificate.
  let server = try files.start(
    ["s_server", "-accept", "127.0.0.1:0", "-Verify", "1", "-alpn", "h2", "-rev", "-naccept", "1", version],
    as: "server", input: Pipe(), output: output)
  defer { server.terminate() }
  var announced = ""
  while !announced.contains("\n") || !announced.contains("ACCEPT ") {
    let piece = output.fileHandleForReading.availableData
    try #require(!piece.isEmpty, "s_server ended: \(announced)")
    announced += String(decoding: piece, as: UTF8.self)
  }
  let line = try #require(announced.split(separator: "\n").first { $0.hasPrefix("ACCEPT ") })
  let port = try #require(line.split(separator: ":").last.flatMap { UInt16($0) })
  let client = try End(files.cast.context(.client, minimum: .tls12))
  let socket = try LoopbackSocket.connected(to: port)
  socket.carry(client) { client.progress != .handshaking }
  #expect(client.progress == .established)
  #expect(client.engine.peerChain.map(\.der) == files.cast.server.chain)
  #expect(client.engine.applicationProtocol == "h2")
  try client.send(Array("drawer\n".utf8))
  socket.carry(client) { client.received.contains(UInt8(ascii: "\n")) }
  #expect(client.received == Array("reward\n".utf8))
}

@Test(arguments: ["-tls1_3", "-tls1_2"])
func theEngineIsAServerOfTheProgram(_ version: String) throws {
  let files = try ProgramFiles()
  let (listener, port) = try LoopbackSocket.listening()
  let (input, output) = (Pipe(), Pipe())
  let program = try files.start(
    ["s_client", "-connect", "127.0.0.1:\(port)", "-alpn", "h2", "-quiet", version], as: "client",
    input: input,
    output: output)
  defer { program.terminate() }
  let server = try End(files.cast.context(.server, minimum: .tls12))
  let socket = try listener.accepted()
  socket.carry(server) { server.progress != .handshaking }
  #expect(server.progress == .established)
  #expect(server.engine.peerChain.map(\.der) == files.cast.client.chain)
  #expect(server.engine.applicationProtocol == "h2")
  try input.fileHandleForWriting.write(contentsOf: Data("question\n".utf8))
  socket.carry(server) { server.received.contains(UInt8(ascii: "\n")) }
  #expect(server.received == Array("question\n".utf8))
  try server.send(Array("answer\n".utf8))
  server.engine.close(output: server.output)
  socket.carry(server) { true }
  // The program ends by itself at our close_notify, and its output with it.
  let printed = try output.fileHandleForReading.readToEnd() ?? Data()
  #expect(String(decoding: printed, as: UTF8.self) == "answer\n")
}
