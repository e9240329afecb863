// Lanes of a warp that exchange values. Each leaves its operands, waits, and finds its results; the last to come computes those of all.
#include "state.h"

using Deliver = void (*)(Fiber *const *lanes, unsigned mask);

// Wait for the lanes of `mask`; where the last has come, results are delivered.
static void meet(unsigned mask, int line, Deliver deliver) {
  Fiber &fiber = now();
  Warp &warp = *processor.warps[fiber.rank / 32];
  unsigned lane = fiber.rank % 32, there = warp.lanes == 32 ? ~0u : (1u << warp.lanes) - 1;
  if (!(mask >> lane & 1)) return FAIL("line %d: lane %u is not in its own mask %08x", line, lane, mask);
  mask &= there;  // a full mask stands for the lanes that the block's last warp has
  Meeting &meeting = warp.meetings[__builtin_ctz(mask)];
  if (!meeting.arrived) {
    if (warp.busy & mask) return FAIL("warp divergence: lanes meet at line %d while some of them wait for others elsewhere", line);
    meeting.mask = mask;
    meeting.line = line;
    warp.busy |= mask;
  } else if (meeting.line != line || meeting.mask != mask) {
    return FAIL("warp divergence: lanes of one warp are at lines %d and %d, with masks %08x and %08x", meeting.line, line, meeting.mask, mask);
  }
  fiber.meeting = &meeting;
  Wait wait = Wait::MEETING;
  if (++meeting.arrived == (unsigned)__builtin_popcount(mask)) {
    Fiber *const *lanes = &processor.fibers[fiber.rank / 32 * 32];
    if (deliver) deliver(lanes, mask);
    meeting.arrived = 0;
    warp.busy &= ~mask;
    for (unsigned l = 0; l < 32; ++l)
      if (mask >> l & 1) lanes[l]->wait = Wait::NOTHING;
    wait = Wait::NOTHING;  // it takes its turn like the others, so that the order of lanes holds behind a meeting too
  }
  leave(fiber, wait, line);
}

extern "C" void mlc_host_syncwarp(unsigned mask, int line) {
  Warp &warp = *processor.warps[now().rank / 32];
  char *order = &warp.meetings[__builtin_ctz(mask)].order;
  (void)warp, (void)order;
  RELEASE(order);
  meet(mask, line, nullptr);
  ACQUIRE(order);
}

extern "C" uint64_t mlc_host_shuffle(unsigned mask, uint64_t value, int source, int line) {
  Fiber &fiber = now();
  fiber.given[0] = value;
  fiber.given[1] = source & 31;
  meet(mask, line, [](Fiber *const *lanes, unsigned mask) {
    for (unsigned l = 0; l < 32; ++l) {
      if (!(mask >> l & 1)) continue;
      unsigned from = lanes[l]->given[1];
      lanes[l]->got[0] = mask >> from & 1 ? lanes[from]->given[0] : ~0ull;  // of a lane that is not there: undefined, as NaN
    }
  });
  return fiber.got[0];
}

extern "C" void mlc_host_gather(unsigned mask, uint64_t value, uint64_t *values, int line) {
  Fiber &fiber = now();
  fiber.given[0] = value;
  meet(mask, line, [](Fiber *const *lanes, unsigned mask) {
    for (unsigned l = 0; l < 32; ++l)
      for (unsigned from = 0; mask >> l & 1 && from < 32; ++from) lanes[l]->got[from] = mask >> from & 1 ? lanes[from]->given[0] : 0;
  });
  for (int i = 0; i < 32; ++i) values[i] = fiber.got[i];
}

// Matrices ------------------------------------------------------------------------------------------------------------
extern "C" void mlc_host_ldmatrix(unsigned *r, const void *row, int matrices, int transposed, int line) {
  Fiber &fiber = now();
  if ((uintptr_t)row & 15) return FAIL("line %d: ldmatrix of a row that is not on a boundary of 16 bytes", line);
  unsigned lane = fiber.rank % 32;
  void *place = __builtin_return_address(0);
  if (lane < 8u * matrices) saw(row, 16, false, place);
  fiber.given[0] = (uint64_t)row;
  meet(~0u, line, [](Fiber *const *lanes, unsigned mask) {
    if (mask != ~0u) return FAIL("ldmatrix in a warp of fewer than 32 lanes");
    for (unsigned l = 0; l < 32; ++l)
      for (unsigned from = 0; from < 32; ++from) lanes[l]->got[from] = lanes[from]->given[0];
  });
  for (int m = 0; m < matrices; ++m) {
    unsigned elements[2];
    for (unsigned i = 0; i < 2; ++i) {
      unsigned at = 2 * (lane & 3) + i, other = lane >> 2;
      elements[i] = ((const uint16_t *)fiber.got[m * 8 + (transposed ? at : other)])[transposed ? other : at];
    }
    r[m] = elements[0] | elements[1] << 16;
  }
}

static float f32_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
static float f16_of(unsigned bits) {
  unsigned sign = bits >> 15 << 31, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return f32_of(sign | 0x7f800000u | mantissa << 13);
  if (exponent) return f32_of(sign | (exponent + 112) << 23 | mantissa << 13);
  float value = mantissa * 0x1p-24f;
  return sign ? -value : value;
}

// Element `i` of a register of four bytes, by kind: tf32, f16, bf16, s8. A tensor core does not see the last 13 bits of an f32.
static double element(int kind, unsigned word, int i) {
  switch (kind) {
    case 0: return f32_of(word & ~0x1fffu);
    case 1: return f16_of(word >> 16 * i & 0xffff);
    case 2: return f32_of(word >> 16 * i << 16);
    default: return (int8_t)(word >> 8 * i);
  }
}

// Products of elements are exact; their sum over K, taken in double precision, is rounded once as it joins d.
template <int KIND, int PER_WORD>
static void multiply(Fiber *const *lanes, unsigned mask) {
  if (mask != ~0u) return FAIL("mma in a warp of fewer than 32 lanes");
  constexpr int K = 8 * PER_WORD;
  double a[16][K], b[K][8], d[16][8] = {};
  for (int l = 0; l < 32; ++l) {
    int group = l >> 2, member = (l & 3) * PER_WORD;
    const unsigned *words = (const unsigned *)lanes[l]->given;
    for (int e = 0; e < PER_WORD; ++e) {
      for (int i = 0; i < 4; ++i) a[group + 8 * (i & 1)][member + e + K / 2 * (i >> 1)] = element(KIND, words[i], e);
      for (int i = 0; i < 2; ++i) b[member + e + K / 2 * i][group] = element(KIND, words[4 + i], e);
    }
  }
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < 8; ++j) d[i][j] += a[i][k] * b[k][j];
  for (int l = 0; l < 32; ++l)
    for (int i = 0; i < 4; ++i) memcpy(&lanes[l]->got[i], &d[(l >> 2) + 8 * (i >> 1)][2 * (l & 3) + (i & 1)], 8);
}

extern "C" void mlc_host_mma(int kind, void *d, const unsigned *a, const unsigned *b, int line) {
  Fiber &fiber = now();
  unsigned *words = (unsigned *)fiber.given;
  for (int i = 0; i < 6; ++i) words[i] = i < 4 ? a[i] : b[i - 4];
  static const Deliver products[] = {multiply<0, 1>, multiply<1, 2>, multiply<2, 2>, multiply<3, 4>};
  meet(~0u, line, products[kind]);
  for (int i = 0; i < 4; ++i) {
    double sum;
    memcpy(&sum, &fiber.got[i], 8);
    if (kind == 3) ((int *)d)[i] = (int)((unsigned)((int *)d)[i] + (unsigned)(int)sum);  // wraps around
    else ((float *)d)[i] = (float)(((float *)d)[i] + sum);
  }
}
