/* libsystemd for Swift: readiness and watchdog messages, inherited sockets, the journal.
   Everything used imports as it is; the variadic calls (sd_notifyf, sd_journal_send) are not needed. */
#ifndef MESHRELAY_CSYSTEMD_SHIM_H
#define MESHRELAY_CSYSTEMD_SHIM_H

#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

#endif
