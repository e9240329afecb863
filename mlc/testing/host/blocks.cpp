// Blocks one after the other; the threads of a block in turns, each up to the next point where it waits for others.
//
// Between two barriers threads run in the order that the settings say. Of a forward and a reverse run one therefore has the reader before the
// writer wherever a barrier is missing between them. Nothing hangs: where no thread can go on, that is a fault with lines and counts.
#include <mutex>
#include <utility>

#include "state.h"

Processor processor;
extern "C" {
mlc_host_thread *mlc_host_now = nullptr;
mlc_host_block mlc_host_block_now;
void (*mlc_host_observer)(const void *, unsigned, int, void *) = nullptr;
}
static std::mutex one_launch;

extern "C" void mlc_host_fiber_main(void) {
  processor.body(processor.argument);
  land_all();
  leave(now(), Wait::NEVER, 0);
  __builtin_trap();
}

extern "C" void mlc_host_barrier(int number, int threads, int line) {
  Fiber &fiber = now();
  if (number < 0 || number >= BARRIERS) return FAIL("line %d: there is no barrier %d, a block has %d", line, number, BARRIERS);
  unsigned expected = threads ? threads : processor.threads;
  if (expected % 32 && threads) return FAIL("line %d: a barrier of %u threads, which is no multiple of 32", line, expected);
  Barrier &barrier = processor.barriers[number];
  if (!barrier.arrived) barrier.line = line, barrier.expected = expected;
  if (barrier.line != line)
    return FAIL("barrier divergence: threads wait in barrier %d at lines %d and %d", number, barrier.line, line);
  if (barrier.expected != expected || barrier.arrived == expected)
    return FAIL("line %d: barrier %d is for %u threads, and more or others arrive", line, number, barrier.expected);
  ++barrier.arrived;
  char *order = &barrier.order[barrier.turn & 1];
  (void)order;
  RELEASE(order);
  fiber.barrier = number;
  leave(fiber, Wait::BARRIER, line);
  ACQUIRE(order);
}

extern "C" void mlc_host_fence(void) {
#if defined(MLC_RACE)  // ThreadSanitizer does not follow fences: each orders itself behind all before it
  RELEASE(&processor.fence);
  ACQUIRE(&processor.fence);
#endif
}

// Orders --------------------------------------------------------------------------------------------------------------
static uint64_t draw() {  // xorshift64*
  uint64_t x = processor.random;
  x ^= x >> 12, x ^= x << 25, x ^= x >> 27;
  processor.random = x;
  return x * 2685821657736338717ull;
}
struct Order {
  std::vector<uint64_t> at;
  void fill(uint64_t count) {
    at.resize(count);
    for (uint64_t i = 0; i < count; ++i) at[i] = processor.settings->order == 1 ? count - 1 - i : i;
    if (processor.settings->order == 2)
      for (uint64_t i = count; i > 1; --i) std::swap(at[i - 1], at[draw() % i]);
  }
};

// One block -----------------------------------------------------------------------------------------------------------
static bool ready(Fiber &fiber) {
  return fiber.wait == Wait::NOTHING || (fiber.wait == Wait::MBARRIER && phase_ended(fiber.mbarrier, fiber.parity));
}

static void resume(Fiber &fiber) {
  if (!fiber.stack) {  // its first turn: stacks go round among threads that return without waiting
    if (processor.stacks.empty()) {
      char *stack = new_stack();
      if (!stack) return report("no memory for the stacks of %u threads", processor.threads);
      processor.stacks.push_back(stack);
    }
    fiber.stack = processor.stacks.back();
    processor.stacks.pop_back();
    make_context(fiber.context, fiber.stack);
  }
  mlc_host_now = &fiber;
  fiber.wait = Wait::NOTHING;
  processor.settings->switches++;
#if defined(MLC_RACE)
  __tsan_switch_to_fiber(fiber.tsan, UNORDERED);
#endif
  switch_context(processor.scheduler, fiber.context);
  if (fiber.wait == Wait::NEVER) {
    processor.stacks.push_back(fiber.stack);
    fiber.stack = nullptr;
  }
}

// Every warp as far as it comes; whether anything moved.
static bool run_warps(Order &warps, Order &lanes) {
  bool moved = false;
  warps.fill((processor.threads + 31) / 32);
  for (uint64_t number : warps.at) {
    lanes.fill(processor.warps[number]->lanes);
    for (bool again = true; again;) {
      again = false;
      for (uint64_t lane : lanes.at) {
        Fiber &fiber = *processor.fibers[number * 32 + lane];
        if (!ready(fiber)) continue;
        resume(fiber);
        if (processor.failed) return false;
        again = moved = true;
      }
    }
  }
  return moved;
}

// Let go whoever waits at a barrier that all have reached. Not before nobody else can move: the order of threads begins anew behind it.
static bool open_barriers() {
  bool opened = false;
  for (int number = 0; number < BARRIERS; ++number) {
    Barrier &barrier = processor.barriers[number];
    if (!barrier.arrived || barrier.arrived < barrier.expected) continue;
    barrier.arrived = 0;
    barrier.turn++;
    for (unsigned i = 0; i < processor.threads; ++i) {
      Fiber &fiber = *processor.fibers[i];
      if (fiber.wait == Wait::BARRIER && fiber.barrier == number) fiber.wait = Wait::NOTHING;
    }
    opened = true;
  }
  return opened;
}

// Nobody can go on: say who waits for whom, or that all have returned.
static bool finished() {
  unsigned returned = 0, waiting[5] = {};
  int line[5] = {};
  for (unsigned i = 0; i < processor.threads; ++i) {
    Fiber &fiber = *processor.fibers[i];
    int kind = (int)fiber.wait;
    if (fiber.wait == Wait::NEVER) returned++;
    if (!waiting[kind]++) line[kind] = fiber.line;
  }
  if (returned == processor.threads) return true;
  unsigned met = waiting[(int)Wait::MEETING], at = waiting[(int)Wait::BARRIER], phase = waiting[(int)Wait::MBARRIER];
  if (met)
    report("warp divergence: %u lanes wait at line %d for lanes that have returned or wait elsewhere", met, line[(int)Wait::MEETING]);
  else if (phase)
    report("deadlock: %u threads wait at line %d for an mbarrier, and nobody arrives there any more", phase, line[(int)Wait::MBARRIER]);
  else
    report("barrier divergence: %u threads wait at line %d, %u have returned or wait elsewhere", at, line[(int)Wait::BARRIER],
           processor.threads - at);
  return true;
}

static void run_block(Order &warps, Order &lanes) {
  uint3 index = {0, 0, 0};
  const dim3 &size = mlc_host_block_now.threads;
  for (unsigned i = 0; i < processor.threads; ++i) {
    Fiber &fiber = *processor.fibers[i];
    fiber.index = index;
    fiber.rank = i;
    fiber.wait = Wait::NOTHING;
    fiber.copies.clear(), fiber.groups.clear(), fiber.open = 0, fiber.arrivals.clear();
#if defined(MLC_RACE)
    fiber.tsan = __tsan_create_fiber(0);
#endif
    if (++index.x == size.x) index.x = 0, ++index.y;
    if (index.y == size.y) index.y = 0, ++index.z;
  }
  for (unsigned i = 0; i * 32 < processor.threads; ++i) {
    Warp &warp = *processor.warps[i];
    warp.lanes = processor.threads - i * 32 < 32 ? processor.threads - i * 32 : 32;
    warp.busy = 0;
    for (Meeting &meeting : warp.meetings) meeting.arrived = 0;
  }
  for (Barrier &barrier : processor.barriers) barrier.arrived = 0;
  while (!processor.failed) {
    if (run_warps(warps, lanes) || processor.failed) continue;
    if (land_for_arrivals() || open_barriers()) continue;
    if (finished()) break;
  }
#if defined(MLC_RACE)  // Blocks share the memory that stands for shared memory, so they are ordered one after the other.
  for (unsigned i = 0; i < processor.threads; ++i) {
    __tsan_switch_to_fiber(processor.fibers[i]->tsan, UNORDERED);
    RELEASE(&processor.blocks);
    __tsan_switch_to_fiber(processor.tsan, UNORDERED);
    __tsan_destroy_fiber(processor.fibers[i]->tsan);
  }
  ACQUIRE(&processor.blocks);
#endif
  if (processor.failed)  // threads that are abandoned where they stand
    for (unsigned i = 0; i < processor.threads; ++i)
      if (Fiber &fiber = *processor.fibers[i]; fiber.stack) processor.stacks.push_back(fiber.stack), fiber.stack = nullptr;
}

// A launch ------------------------------------------------------------------------------------------------------------
static void check(const unsigned *g, size_t shared, const mlc_host_settings &settings, unsigned most) {
  uint64_t threads = (uint64_t)g[3] * g[4] * g[5];
  if (!g[0] || !g[1] || !g[2] || g[0] > 0x7fffffffu || g[1] > 65535 || g[2] > 65535)
    report("a grid of %u x %u x %u blocks: 1 to 2147483647, 65535 and 65535 are possible", g[0], g[1], g[2]);
  else if (!threads || g[3] > 1024 || g[4] > 1024 || g[5] > 64 || threads > 1024)
    report("a block of %u x %u x %u threads: at most 1024, 1024 and 64 are possible, and 1024 together", g[3], g[4], g[5]);
  else if (threads > most)
    report("a block of %u threads, and __launch_bounds__ of the kernel says %u", (unsigned)threads, most);
  else if (shared > settings.shared_limit)
    report("%zu bytes of dynamic shared memory, and a block has %zu", shared, (size_t)settings.shared_limit);
}

extern "C" int mlc_host_launch(const unsigned *g, size_t shared, mlc_host_settings *settings, unsigned most, unsigned char *static_shared,
                               size_t static_bytes, void (*body)(void *), void *argument, char *error, size_t error_bytes) {
  std::lock_guard<std::mutex> lock(one_launch);
  Processor &p = processor;
  p.body = body, p.argument = argument, p.settings = settings, p.error = error, p.error_bytes = error_bytes, p.failed = false;
  p.random = settings->seed * 2654435761u + 1;
  settings->switches = 0;
  check(g, shared, *settings, most);
  if (p.failed) return 1;
  p.threads = g[3] * g[4] * g[5];
  mlc_host_block_now.blocks = dim3(g[0], g[1], g[2]);
  mlc_host_block_now.threads = dim3(g[3], g[4], g[5]);
  while (p.fibers.size() < p.threads) p.fibers.push_back(new Fiber);
  while (p.warps.size() * 32 < p.threads) p.warps.push_back(new Warp);
  void *dynamic = nullptr;  // of the exact size: AddressSanitizer has its red zone right behind it
  if (posix_memalign(&dynamic, 1024, shared ? shared : 1)) return report("no memory"), 1;
  mlc_host_block_now.shared = (unsigned char *)dynamic;
#if defined(MLC_RACE)
  p.tsan = __tsan_get_current_fiber();
#endif
  Order blocks, warps, lanes;
  blocks.fill((uint64_t)g[0] * g[1] * g[2]);
  for (uint64_t at : blocks.at) {
    mlc_host_block_now.index = {(unsigned)(at % g[0]), (unsigned)(at / g[0] % g[1]), (unsigned)(at / ((uint64_t)g[0] * g[1]))};
    memset(dynamic, 0xff, shared);  // NaN in every format: what nobody wrote shows
    if (static_shared) memset(static_shared, 0xff, static_bytes);
    run_block(warps, lanes);
    if (p.failed) break;
  }
  free(dynamic);
  return p.failed;
}
