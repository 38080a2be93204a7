// The process's pulse: every second it looks whether all loops answer, feeds systemd's watchdog while they
// do, and keeps the line in `systemctl status` true.

import CLinux
import Primitives
import Ring
import Tier

final class Pulse: TimerHandler {
  private static let interval: Duration = .seconds(1)
  /// Beats between two questions to the kernel about its clock.
  private static let clockEvery = 60

  private let loop: EventLoop
  private let control: ControlLoop
  private let notifier: SystemdNotifier
  private var lastFed: Instant
  private var lastLine = ""
  private var beats = 0

  init(on loop: EventLoop, control: ControlLoop, notifier: SystemdNotifier) {
    self.loop = loop
    self.control = control
    self.notifier = notifier
    lastFed = loop.now
    _ = loop.schedule(at: loop.now + Pulse.interval, self, tag: 0)
  }

  func timerFired(_ id: TimerID, tag: Int) {
    _ = loop.schedule(at: loop.now + Pulse.interval, self, tag: 0)
    if beats % Pulse.clockEvery == 0 {
      let answer = linux_clock_synchronised()
      control.note(clockSynchronised: answer < 0 ? nil : answer == 1)
    }
    beats += 1
    control.beat()
    if let interval = notifier.watchdogInterval, loop.now - lastFed >= min(interval, .seconds(10)),
      control.everyLoopAnswers
    {
      lastFed = loop.now
      notifier.watchdog()
    }
    let line = control.statusLine
    if line != lastLine {
      lastLine = line
      notifier.status(line)
    }
  }
}
