// What the runtime keeps of a block that runs: its threads, warps, barriers, and what each waits for.
#pragma once
#include <stdarg.h>
#include <stdio.h>
#include <vector>

#include "fibers.h"
#include "runtime.h"

#if defined(MLC_RACE)  // a race check: ThreadSanitizer has to know of fibers, and of what orders them
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *object);
void __tsan_release(void *object);
}
constexpr unsigned UNORDERED = 1;  // a switch that orders nothing
#define RELEASE(object) __tsan_release(object)
#define ACQUIRE(object) __tsan_acquire(object)
#else
#define RELEASE(object) ((void)0)
#define ACQUIRE(object) ((void)0)
#endif

enum class Wait : uint8_t { NOTHING, BARRIER, MEETING, MBARRIER, NEVER };  // NEVER: the thread has returned

struct AsyncCopy {
  unsigned char *shared;
  const unsigned char *global;
  int bytes, valid;
  void *place;
};

struct Arrival {
  uint64_t *mbarrier;
  int copies;  // that it waits for: the oldest ones
};

struct Meeting;
struct Fiber : mlc_host_thread {
  Context context;
  Wait wait = Wait::NEVER;
  int line = 0;
  char *stack = nullptr;
  int barrier = 0;                     // BARRIER: which
  Meeting *meeting = nullptr;          // MEETING: which
  const uint64_t *mbarrier = nullptr;  // MBARRIER: which, and the parity of the phase whose end it waits for
  int parity = 0;
  uint64_t given[4], got[32];    // of a meeting: operands and results
  std::vector<AsyncCopy> copies;  // issued and not landed, oldest first
  std::vector<int> groups;        // sizes of the groups among them, committed
  int open = 0;                   // copies behind the last commit
  std::vector<Arrival> arrivals;  // mbarriers that hear when copies have landed, oldest first
#if defined(MLC_RACE)
  void *tsan = nullptr;
#endif
};

// Lanes of one warp that wait for each other: those of `mask`, at one line of the source.
struct Meeting {
  unsigned mask = 0, arrived = 0;
  int line = 0;
  char order;  // what a race check knows it by
};
struct Warp {
  unsigned lanes = 0;   // that it has
  unsigned busy = 0;    // lanes of meetings that are under way
  Meeting meetings[32];  // by the lowest lane of their mask
};
struct Barrier {
  unsigned arrived = 0, expected = 0;
  int line = 0;
  char order[2];  // by turns
  unsigned turn = 0;
};

constexpr int BARRIERS = 16;
struct Processor {
  Context scheduler;
  std::vector<Fiber *> fibers;
  std::vector<Warp *> warps;
  std::vector<char *> stacks;  // free ones
  Barrier barriers[BARRIERS];
  unsigned threads = 0;
  void (*body)(void *) = nullptr;
  void *argument = nullptr;
  mlc_host_settings *settings = nullptr;
  uint64_t random = 0;
  char *error = nullptr;
  size_t error_bytes = 0;
  bool failed = false;
#if defined(MLC_RACE)
  void *tsan = nullptr;
  char blocks, fence;  // what orders blocks, and __threadfence
#endif
};
extern Processor processor __attribute__((visibility("hidden")));

static inline Fiber &now() { return *(Fiber *)mlc_host_now; }

// Back to the scheduler, which resumes the thread once what it waits for has come.
static inline void leave(Fiber &fiber, Wait wait, int line) {
  fiber.wait = wait;
  fiber.line = line;
#if defined(MLC_RACE)
  __tsan_switch_to_fiber(processor.tsan, UNORDERED);
#endif
  switch_context(fiber.context, processor.scheduler);
}

__attribute__((format(printf, 1, 2))) static inline void report(const char *format, ...) {
  if (processor.failed) return;  // the first fault is the one to tell
  processor.failed = true;
  va_list rest;
  va_start(rest, format);
  vsnprintf(processor.error, processor.error_bytes, format, rest);
  va_end(rest);
}
// A thread that broke a rule does not go on.
#define FAIL(...) (report(__VA_ARGS__), leave(now(), Wait::NEVER, 0))

static inline void saw(const void *address, unsigned bytes, bool writes, void *place) {
  if (mlc_host_observer) mlc_host_observer(address, bytes, writes, place);
}

// copies.cpp, for the scheduler.
bool phase_ended(const uint64_t *mbarrier, int parity) __attribute__((visibility("hidden")));
void land_all() __attribute__((visibility("hidden")));
bool land_for_arrivals() __attribute__((visibility("hidden")));
