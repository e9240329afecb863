// Barriers, and what lanes of a warp exchange. Every one of them carries the line that it is called at: faults name it.
#pragma once

#define MLC_LINE int line = __builtin_LINE()

static inline void __syncthreads(MLC_LINE) { mlc_host_barrier(0, 0, line); }
static inline void __syncwarp(unsigned mask = ~0u, MLC_LINE) { mlc_host_syncwarp(mask, line); }
static inline void __threadfence() { mlc_host_fence(); }
static inline void __threadfence_block() { mlc_host_fence(); }

// Shuffles ------------------------------------------------------------------------------------------------------------
template <class T> static inline T mlc_host_shuffle(unsigned mask, T value, int source, int line) {
  static_assert(sizeof(T) <= 8, "a shuffle moves at most eight bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = mlc_host_shuffle(mask, bits, source, line);
  memcpy(&value, &bits, sizeof value);
  return value;
}
static inline int mlc_host_lane() { return mlc_host_now->rank & 31; }
// Segments of `width` lanes exchange among themselves; a lane whose partner is outside keeps its own value.
template <class T> static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, MLC_LINE) {
  return mlc_host_shuffle(mask, value, (mlc_host_lane() & -width) | (source & (width - 1)), line);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, MLC_LINE) {
  int lane = mlc_host_lane(), source = lane ^ bits;
  return mlc_host_shuffle(mask, value, source < (lane & -width) + width ? source : lane, line);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, MLC_LINE) {
  int lane = mlc_host_lane();
  return mlc_host_shuffle(mask, value, (lane & (width - 1)) + (int)by < width ? lane + (int)by : lane, line);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, MLC_LINE) {
  int lane = mlc_host_lane();
  return mlc_host_shuffle(mask, value, (lane & (width - 1)) >= (int)by ? lane - (int)by : lane, line);
}

// Votes and sums of integers ------------------------------------------------------------------------------------------
static inline unsigned __ballot_sync(unsigned mask, int predicate, MLC_LINE) {
  uint64_t all[32];
  unsigned votes = 0;
  mlc_host_gather(mask, predicate != 0, all, line);
  for (int lane = 0; lane < 32; ++lane) votes |= (unsigned)all[lane] << lane;
  return votes;
}
static inline int __any_sync(unsigned mask, int predicate, MLC_LINE) { return __ballot_sync(mask, predicate, line) != 0; }
static inline int __all_sync(unsigned mask, int predicate, MLC_LINE) { return __ballot_sync(mask, !predicate, line) == 0; }
template <class T, class F> static inline T mlc_host_reduce(unsigned mask, T value, int line, F join) {
  uint64_t all[32];
  mlc_host_gather(mask, (uint64_t)value, all, line);
  T total = value;  // its own is there; the others join it
  for (int lane = 0; lane < 32; ++lane)
    if (mask >> lane & 1 && lane != mlc_host_lane() && (mlc_host_now->rank & ~31u) + lane < blockDim.x * blockDim.y * blockDim.z)
      total = join(total, (T)all[lane]);
  return total;
}
#define MLC_REDUCE(NAME, T, EXPRESSION)                              \
  static inline T NAME(unsigned mask, T value, MLC_LINE) {           \
    return mlc_host_reduce(mask, value, line, [](T a, T b) { return (T)(EXPRESSION); }); \
  }
MLC_REDUCE(__reduce_add_sync, unsigned, a + b)
MLC_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
MLC_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
MLC_REDUCE(__reduce_add_sync, int, (unsigned)a + (unsigned)b)
MLC_REDUCE(__reduce_min_sync, int, a < b ? a : b)
MLC_REDUCE(__reduce_max_sync, int, a > b ? a : b)
MLC_REDUCE(__reduce_and_sync, unsigned, a &b)
MLC_REDUCE(__reduce_or_sync, unsigned, a | b)
MLC_REDUCE(__reduce_xor_sync, unsigned, a ^ b)
#undef MLC_REDUCE
