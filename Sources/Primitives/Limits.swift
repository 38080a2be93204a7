// Every bound of the program in one value. A limit that is not here does not exist; a queue without one is a bug.

/// Bounds with unit, default and reason. Each is a key of `limits` in the configuration file.
public struct Limits: Sendable, Equatable {
  /// Connected clients in all. Reason: about 60 KiB each; the default fits 1 GiB.
  public var clients = 10_000
  /// Clients of one SPIFFE ID. Reason: a stolen or looping identity must not use up `clients`.
  public var clientsPerIdentity = 64
  /// Concurrent calls of one connection. Reason: istiod uses one, tools a handful.
  public var streamsPerConnection = 32
  /// Decoded request header bytes. Reason: gRPC over HTTP/2 suggests 8 KiB.
  public var headerBytes = 16 * 1024
  /// CONTINUATION frames after one HEADERS. Reason: CVE-2024-28182.
  public var continuations = 8
  /// Streams reset by the peer, per second. Reason: CVE-2023-44487 (rapid reset).
  public var resetsPerSecond = 100
  /// SETTINGS frames by the peer, per second.
  public var settingsPerSecond = 10
  /// PING frames by the peer, per second. Reason: istiod pings each 30 s, some clients each 10 s.
  public var pingsPerSecond = 10
  /// One message from an upstream, bytes. Reason: state of the world puts a whole type in one message.
  public var messageBytes = 256 * 1024 * 1024
  /// One request from a client, bytes. Reason: gRPC's own default; requests carry names only.
  public var requestBytes = 4 * 1024 * 1024
  /// One resource's encoded bytes. Reason: etcd and Kubernetes stop at 1 to 1.5 MiB.
  public var resourceBytes = 1024 * 1024
  /// Names in one subscription (and in `initial_resource_versions`).
  public var namesPerSubscription = 100_000
  /// Types subscribed on one stream. Reason: istiod asks for 16, a sink of every kind for under 100.
  public var typesPerStream = 256
  /// TLS handshakes whose first flight is read at once, per loop. Reason: 1 ms of CPU each; more only adds
  /// latency for all.
  public var handshakesAtOnce = 64
  /// Accepted connections that wait for their handshake, per loop. Reason: about 30 KiB each.
  public var handshakesWaiting = 4_096
  /// From accept to a verified peer.
  public var handshake: Duration = .seconds(10)
  /// From a verified peer to its first call.
  public var firstByte: Duration = .seconds(20)
  /// Without any byte from a peer, before we ping it; a client's answer may take `idle` again, a server's 20 s at most.
  public var idle: Duration = .seconds(60)
  /// Messages waiting in the control loop's mailbox. When full: the sender pauses.
  public var controlMailbox = 65_536
  /// Jobs waiting for one worker. When full: the sender retries with the newest state.
  public var workerMailbox = 1_024
  /// Audit records of one loop that wait to be written, bytes. When full: deliveries and new connections wait.
  public var auditBytes = 4 * 1024 * 1024
  /// How long a refused identity is held before its PERMISSION_DENIED, least. Reason: istiod redials at once.
  public var refuseHold: Duration = .seconds(2)
  /// Refused connections held at once. When full: the refusal is sent without a hold.
  public var refusedAtOnce = 1_000
  /// Full answers to repeated requests, per type and stream: one per this time, after `resendBurst`.
  public var resend: Duration = .seconds(10)
  /// Full answers to repeated requests before `resend` paces them.
  public var resendBurst = 3
  /// How long an acknowledgement may hold up the next response of its type.
  public var acknowledgement: Duration = .seconds(10)
  /// After SIGTERM, how long streams may end by themselves.
  public var drain: Duration = .seconds(5)
  /// Ciphertext bytes waiting to be sent on one connection. When full: frames stay in HTTP/2.
  public var sendBufferBytes = 256 * 1024

  public init() {}
}
