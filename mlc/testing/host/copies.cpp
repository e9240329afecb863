// Asynchronous copies, and barriers in shared memory, which hear of them.
#include "state.h"

// Phases -------------------------------------------------------------------------------------------------------------
// Kept in the eight bytes that the hardware has for them: a mark, the parity of the phase, arrivals that a phase needs and still waits for.
struct Phase {
  uint64_t pending : 20, needed : 20, parity : 1, mark : 23;
};
constexpr uint64_t MARK = 0x2b4c71;
static Phase &phase_of(uint64_t *mbarrier) { return *(Phase *)mbarrier; }

static void arrive(uint64_t *mbarrier) {
  Phase &phase = phase_of(mbarrier);
  if (--phase.pending == 0) phase.parity ^= 1, phase.pending = phase.needed;
}
// Whether the phase of this parity is over: the current one has the other.
bool phase_ended(const uint64_t *mbarrier, int parity) { return phase_of((uint64_t *)mbarrier).parity != (unsigned)parity; }

// Copies --------------------------------------------------------------------------------------------------------------
static void land(const AsyncCopy &copy) {
  if (copy.valid) saw(copy.global, copy.valid, false, copy.place);
  saw(copy.shared, copy.bytes, true, copy.place);
  for (int i = 0; i < copy.bytes; ++i) copy.shared[i] = i < copy.valid ? copy.global[i] : 0;
}
// The oldest copies, as many; barriers that wait for them hear of it.
static void land_first(Fiber &fiber, int count) {
  for (int i = 0; i < count; ++i) land(fiber.copies[i]);
  fiber.copies.erase(fiber.copies.begin(), fiber.copies.begin() + count);
  int left = count;
  for (int &group : fiber.groups) {
    int of_this = group < left ? group : left;
    group -= of_this, left -= of_this;
  }
  fiber.open -= left;
  for (Arrival &arrival : fiber.arrivals) arrival.copies -= count;
  while (!fiber.arrivals.empty() && fiber.arrivals.front().copies <= 0) {
    uint64_t *mbarrier = fiber.arrivals.front().mbarrier;
    fiber.arrivals.erase(fiber.arrivals.begin());
    RELEASE(mbarrier);
    arrive(mbarrier);
  }
}

extern "C" void mlc_host_copy(void *shared, const void *global, int bytes, int valid, int line) {
  if (((uintptr_t)shared | (valid ? (uintptr_t)global : 0)) & (bytes - 1))
    return FAIL("line %d: cp.async of %d bytes at an address that is no multiple of %d", line, bytes, bytes);
  if (valid < 0 || valid > bytes) return FAIL("line %d: cp.async of %d bytes, %d of them valid", line, bytes, valid);
  AsyncCopy copy{(unsigned char *)shared, (const unsigned char *)global, bytes, valid, __builtin_return_address(0)};
  if (processor.settings->early) return land(copy);
  now().copies.push_back(copy);
  now().open++;
}
extern "C" void mlc_host_copy_commit(void) {
  Fiber &fiber = now();
  fiber.groups.push_back(fiber.open);
  fiber.open = 0;
}
extern "C" void mlc_host_copy_wait(int groups) {
  Fiber &fiber = now();
  while ((int)fiber.groups.size() > groups) {
    land_first(fiber, fiber.groups.front());
    fiber.groups.erase(fiber.groups.begin());
  }
}

// Barriers in shared memory -------------------------------------------------------------------------------------------
// A thread that returns: what it never waited for lands now.
void land_all() { land_first(now(), (int)now().copies.size()); }

// Where no thread can move, copies that barriers wait for land; whether there were any.
bool land_for_arrivals() {
  bool any = false;
  for (unsigned i = 0; i < processor.threads; ++i) {
    Fiber &fiber = *processor.fibers[i];
    if (fiber.arrivals.empty()) continue;
    mlc_host_now = &fiber;
#if defined(MLC_RACE)
    __tsan_switch_to_fiber(fiber.tsan, UNORDERED);
#endif
    land_first(fiber, fiber.arrivals.front().copies);
#if defined(MLC_RACE)
    __tsan_switch_to_fiber(processor.tsan, UNORDERED);
#endif
    any = true;
  }
  return any;
}

// What was not initialised, or is not where barriers may be.
static bool usable(uint64_t *mbarrier, int line) {
  if ((uintptr_t)mbarrier & 7) return FAIL("line %d: an mbarrier that is not on a boundary of 8 bytes", line), false;
  if (phase_of(mbarrier).mark != MARK) return FAIL("line %d: an mbarrier that nobody has initialised", line), false;
  return true;
}

extern "C" void mlc_host_mbarrier_init(unsigned long long *barrier, int count, int line) {
  if ((uintptr_t)barrier & 7) return FAIL("line %d: an mbarrier that is not on a boundary of 8 bytes", line);
  if (count < 1 || count >= 1 << 20) return FAIL("line %d: an mbarrier of %d arrivals", line, count);
  saw(barrier, 8, true, __builtin_return_address(0));
  phase_of((uint64_t *)barrier) = {(uint64_t)count, (uint64_t)count, 0, MARK};
}
extern "C" void mlc_host_mbarrier_arrive(unsigned long long *barrier, int line) {
  saw(barrier, 8, false, __builtin_return_address(0));
  if (!usable((uint64_t *)barrier, line)) return;
  RELEASE(barrier);
  arrive((uint64_t *)barrier);
}
extern "C" void mlc_host_copy_arrive(unsigned long long *barrier, int line) {
  saw(barrier, 8, false, __builtin_return_address(0));
  if (!usable((uint64_t *)barrier, line)) return;
  Fiber &fiber = now();
  if (!fiber.copies.empty()) return fiber.arrivals.push_back({(uint64_t *)barrier, (int)fiber.copies.size()});
  RELEASE(barrier);
  arrive((uint64_t *)barrier);
}
extern "C" void mlc_host_mbarrier_wait(unsigned long long *barrier, int parity, int line) {
  saw(barrier, 8, false, __builtin_return_address(0));
  if (!usable((uint64_t *)barrier, line)) return;
  Fiber &fiber = now();
  fiber.mbarrier = (const uint64_t *)barrier;
  fiber.parity = parity;
  if (!phase_ended(fiber.mbarrier, parity)) leave(fiber, Wait::MBARRIER, line);
  ACQUIRE(barrier);
}
