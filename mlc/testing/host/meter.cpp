// Counts what a kernel reads and writes. The kernel is compiled with -fsanitize=thread, which has it call a function before each access, and these
// are the functions; ThreadSanitizer itself is not there. Linked into the library of the kernel.
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

struct Access {
  uint64_t place;   // in the library's code
  int64_t offset;   // from the beginning of the array, or of shared memory
  uint32_t block;
  uint16_t thread;
  int16_t array;    // number of the range; -1 static, -2 dynamic shared memory
  uint32_t bytes;
  uint8_t writes, atomic, unused[2];
};
struct Range {
  uintptr_t begin, end;
  uint64_t reads, writes;  // out: bytes
};
struct Meter {
  Range *ranges;
  uint64_t count;
  uintptr_t static_begin, static_end, dynamic_bytes;
  Access *accesses;  // out, from malloc
  uint64_t made, room, limit;  // room: of the memory; limit: 0 for sums alone
  uint64_t lost;               // out: accesses beyond the limit
};
static Meter *meter = nullptr;
static uintptr_t code = 0;

static void record(uintptr_t at, unsigned bytes, int writes, void *place, bool atomic) {
  if (!meter) return;
  int array = -3;
  int64_t offset = 0;
  uintptr_t dynamic = (uintptr_t)mlc_host_block_now.shared;
  if (at - meter->static_begin < meter->static_end - meter->static_begin) array = -1, offset = at - meter->static_begin;
  else if (at - dynamic < meter->dynamic_bytes) array = -2, offset = at - dynamic;
  else
    for (uint64_t i = 0; i < meter->count; ++i) {
      Range &range = meter->ranges[i];
      if (at - range.begin >= range.end - range.begin) continue;
      array = (int)i, offset = at - range.begin;
      (writes ? range.writes : range.reads) += bytes;
      break;
    }
  if (array == -3 || !meter->limit) return;  // a thread's own
  if (meter->made == meter->limit) {
    meter->lost++;
    return;
  }
  if (meter->made == meter->room) {
    meter->room = meter->room ? 2 * meter->room : 1 << 16;
    meter->accesses = (Access *)realloc(meter->accesses, meter->room * sizeof(Access));
    if (!meter->accesses) abort();
  }
  const uint3 &block = mlc_host_block_now.index;
  const dim3 &blocks = mlc_host_block_now.blocks;
  meter->accesses[meter->made++] = {(uintptr_t)place - code, offset, block.x + blocks.x * (block.y + blocks.y * block.z), (uint16_t)mlc_host_now->rank,
                                    (int16_t)array, bytes, (uint8_t)writes, atomic, {0, 0}};
}
static void observe(const void *address, unsigned bytes, int writes, void *place) { record((uintptr_t)address, bytes, writes, place, false); }

extern "C" void mlc_meter_start(Meter *started) {
  Dl_info info;
  code = dladdr((void *)mlc_meter_start, &info) ? (uintptr_t)info.dli_fbase : 0;
  meter = started;
  mlc_host_observer = observe;
}
extern "C" void mlc_meter_stop() {
  mlc_host_observer = nullptr;
  meter = nullptr;
}
extern "C" void mlc_meter_free(Meter *stopped) { free(stopped->accesses); }

// What the compiler calls ---------------------------------------------------------------------------------------------
#define HIDDEN extern "C" __attribute__((visibility("hidden")))
#define HERE __builtin_return_address(0)
HIDDEN void __tsan_init() {}
HIDDEN void __tsan_func_entry(void *) {}
HIDDEN void __tsan_func_exit() {}
HIDDEN void __tsan_vptr_update(void **, void *) {}
HIDDEN void __tsan_vptr_read(void **) {}
HIDDEN void __tsan_read_range(void *p, unsigned long bytes) { record((uintptr_t)p, bytes, 0, HERE, false); }
HIDDEN void __tsan_write_range(void *p, unsigned long bytes) { record((uintptr_t)p, bytes, 1, HERE, false); }
#define PLAIN(N)                                                                                  \
  HIDDEN void __tsan_read##N(void *p) { record((uintptr_t)p, N, 0, HERE, false); }                \
  HIDDEN void __tsan_write##N(void *p) { record((uintptr_t)p, N, 1, HERE, false); }               \
  HIDDEN void __tsan_unaligned_read##N(void *p) { record((uintptr_t)p, N, 0, HERE, false); }      \
  HIDDEN void __tsan_unaligned_write##N(void *p) { record((uintptr_t)p, N, 1, HERE, false); }
PLAIN(1) PLAIN(2) PLAIN(4) PLAIN(8) PLAIN(16)

// An atomic operation of numbers.h: a load, which the exchange behind it counts, and the exchange.
#define ATOMIC(BITS, T)                                                                                                   \
  HIDDEN T __tsan_atomic##BITS##_load(const volatile T *p, int) { return *p; }                                            \
  HIDDEN int __tsan_atomic##BITS##_compare_exchange_strong(volatile T *p, T *expected, T wanted, int, int) {              \
    record((uintptr_t)p, sizeof(T), 0, HERE, true), record((uintptr_t)p, sizeof(T), 1, HERE, true);                       \
    return __atomic_compare_exchange_n(p, expected, wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);                   \
  }
ATOMIC(8, uint8_t) ATOMIC(16, uint16_t) ATOMIC(32, uint32_t) ATOMIC(64, uint64_t)
