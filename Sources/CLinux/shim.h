/* Linux calls that Swift's Glibc module hides, because it is built without _GNU_SOURCE, or cannot import,
   because they are variadic. GNU-only functions are declared here by hand and wrapped as linux_…; nothing
   decides anything. <sys/select.h> comes first for the same reason as in CLiburing. */
#ifndef MESHRELAY_CLINUX_SHIM_H
#define MESHRELAY_CLINUX_SHIM_H

#include <sys/select.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

extern int accept4(int, struct sockaddr *__restrict, socklen_t *__restrict, int);
extern int pipe2(int[2], int);
extern int sched_setaffinity(pid_t, size_t, const cpu_set_t *);
extern int sched_getaffinity(pid_t, size_t, cpu_set_t *);
extern const char *strerrorname_np(int);
extern long syscall(long, ...);
extern void *memmem(const void *, size_t, const void *, size_t);

static inline int linux_accept4(int descriptor, int flags) {
  return accept4(descriptor, NULL, NULL, flags);
}

static inline int linux_pipe2(int descriptors[2], int flags) { return pipe2(descriptors, flags); }

/* Asks for `lines` cache lines from `address` on, without waiting; reads nothing. */
static inline void linux_prefetch(uintptr_t address, uintptr_t lines) {
  for (uintptr_t line = 0; line < lines; line++) __builtin_prefetch((const void *)(address + 64 * line), 1, 3);
}

/* Offset of the first `word` in `text`; -1 when there is none. */
static inline ptrdiff_t linux_find(const void *text, size_t length, const void *word, size_t word_length) {
  const char *found = memmem(text, length, word, word_length);
  return found == NULL ? -1 : found - (const char *)text;
}

/* "ECONNREFUSED"; NULL for a number that is no errno. */
static inline const char *linux_errno_name(int number) { return strerrorname_np(number); }

/* No core dumps and no ptrace by the same user: keys stay in this process. */
static inline int linux_set_dumpable(int dumpable) { return prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0); }

/* Freed memory stays with the process up to `kept` bytes at the end of each heap, and blocks below `separate` bytes are
   not mapped on their own. */
static inline int linux_keep_memory(int kept, int separate) {
  return mallopt(M_TRIM_THRESHOLD, kept) == 1 && mallopt(M_MMAP_THRESHOLD, separate) == 1;
}

/* A child gets `signal` when its parent dies. */
static inline int linux_set_parent_death_signal(int signal) {
  return prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0);
}

/* Whoever started this process wants `signal` ignored, as shells do with SIGINT for what runs in the background. */
static inline int linux_ignores_signal(int signal) {
  struct sigaction now;
  return sigaction(signal, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
}

/* Names the calling thread, as `ps -L` shows it. Fifteen bytes are kept. */
static inline int linux_name_thread(const char *name) { return prctl(PR_SET_NAME, (unsigned long)name, 0, 0, 0); }

/* Binds the calling thread to one processor, 0 … 1023. */
static inline int linux_pin_thread(int processor) {
  unsigned long set[1024 / (8 * sizeof(unsigned long))];
  if (processor < 0 || processor >= 1024) {
    errno = EINVAL;
    return -1;
  }
  memset(set, 0, sizeof set);
  set[(size_t)processor / (8 * sizeof(unsigned long))] |=
      1UL << ((size_t)processor % (8 * sizeof(unsigned long)));
  return sched_setaffinity(0, sizeof set, (const cpu_set_t *)(const void *)set);
}

/* Processors this thread may run on; -1 with errno when the kernel does not say. */
static inline int linux_allowed_processors(void) {
  unsigned long set[1024 / (8 * sizeof(unsigned long))];
  int count = 0;
  memset(set, 0, sizeof set);
  if (sched_getaffinity(0, sizeof set, (cpu_set_t *)(void *)set) != 0) return -1;
  for (size_t index = 0; index < sizeof set / sizeof set[0]; index++)
    count += __builtin_popcountl(set[index]);
  return count;
}

/* Nanoseconds of CLOCK_MONOTONIC or CLOCK_REALTIME; enough until the year 2262. */
static inline int64_t linux_clock_nanoseconds(int clock) {
  struct timespec now = {0, 0};
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* 1: somebody keeps the clock right, 0: nobody does, -1: the kernel does not say (a seccomp filter). Changes nothing. */
static inline int linux_clock_synchronised(void) {
  struct timex state;
  memset(&state, 0, sizeof state);
  int found = adjtimex(&state);
  if (found < 0) return -1;
  return found != TIME_ERROR && (state.status & STA_UNSYNC) == 0;
}

static inline pid_t linux_thread_id(void) { return (pid_t)syscall(SYS_gettid); }

#endif
