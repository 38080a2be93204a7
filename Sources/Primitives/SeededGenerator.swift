// Randomness that can be replayed: every random choice of a protocol core comes from a generator it is given.

/// SplitMix64: 64 bits of state, equal seeds give equal sequences on every machine. Not for secrets.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// `duration` × a factor drawn evenly from 1 − `spread` … 1 + `spread`.
  public mutating func jittered(_ duration: Duration, spread: Double) -> Duration {
    let factor = Double.random(in: (1 - spread)...(1 + spread), using: &self)
    return .nanoseconds(Int64(Double(duration.inNanoseconds) * factor))
  }
}
