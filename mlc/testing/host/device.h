// What mlc/codegen/cuda/device.cuh offers generated code, for this machine: the same names with the same effect.
#pragma once

#define MLC_DEVICE static inline
#define MLC_DYNAMIC_SHARED(T, name) T *name = reinterpret_cast<T *>(mlc_host_block_now.shared)

MLC_DEVICE float mlc_max(float a, float b) { return a != a || a > b || (a == b && !signbit(a)) ? a : b; }
MLC_DEVICE float mlc_min(float a, float b) { return a != a || a < b || (a == b && signbit(a)) ? a : b; }
MLC_DEVICE double mlc_max(double a, double b) { return a != a || a > b || (a == b && !signbit(a)) ? a : b; }
MLC_DEVICE double mlc_min(double a, double b) { return a != a || a < b || (a == b && signbit(a)) ? a : b; }

// Numbers of 16 bits --------------------------------------------------------------------------------------------------
MLC_DEVICE float mlc_f16_to_f32(unsigned short bits) {
  unsigned sign = (unsigned)(bits >> 15) << 31, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | mantissa << 13);
  if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | mantissa << 13);
  return __uint_as_float(sign | __float_as_uint(mantissa * 0x1p-24f));
}
MLC_DEVICE unsigned short mlc_f64_to_f16(double x) {
  unsigned short sign = signbit(x) ? 0x8000 : 0;
  double size = fabs(x);
  if (x != x) return 0x7fff;
  if (size >= 65520) return sign | 0x7c00;
  if (size < 0x1p-14) return sign | (unsigned short)nearbyint(size * 0x1p24);
  int exponent;
  double fraction = frexp(size, &exponent);  // in [0.5, 1)
  return sign | (unsigned short)(((exponent + 14) << 10) + (int)nearbyint(fraction * 2048) - 1024);
}
MLC_DEVICE unsigned short mlc_f32_to_f16(float x) { return mlc_f64_to_f16(x); }
MLC_DEVICE float mlc_bf16_to_f32(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }
MLC_DEVICE unsigned short mlc_f32_to_bf16(float x) {
  unsigned bits = __float_as_uint(x);
  return x != x ? 0x7fff : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
MLC_DEVICE unsigned short mlc_f64_to_bf16(double x) {  // to f32 by rounding to odd, so that only the second rounding counts
  float nearest = (float)x;
  if (x != x || (double)nearest == x) return mlc_f32_to_bf16(nearest);
  unsigned bits = __float_as_uint(nearest) - (fabs((double)nearest) > fabs(x));
  return mlc_f32_to_bf16(__uint_as_float(bits | 1u));
}
MLC_DEVICE unsigned mlc_f32_to_tf32(float x) {
  unsigned bits = __float_as_uint(x);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
}

// Copies --------------------------------------------------------------------------------------------------------------
MLC_DEVICE void mlc_cp_async4(void *shared, const void *global, int valid = 4, MLC_LINE) { mlc_host_copy(shared, global, 4, valid, line); }
MLC_DEVICE void mlc_cp_async8(void *shared, const void *global, int valid = 8, MLC_LINE) { mlc_host_copy(shared, global, 8, valid, line); }
MLC_DEVICE void mlc_cp_async16(void *shared, const void *global, int valid = 16, MLC_LINE) { mlc_host_copy(shared, global, 16, valid, line); }
MLC_DEVICE void mlc_cp_async_commit() { mlc_host_copy_commit(); }
template <int N> MLC_DEVICE void mlc_cp_async_wait() { mlc_host_copy_wait(N); }

// Matrices ------------------------------------------------------------------------------------------------------------
MLC_DEVICE void mlc_ldmatrix_x2(unsigned (&r)[2], const void *row, MLC_LINE) { mlc_host_ldmatrix(r, row, 2, 0, line); }
MLC_DEVICE void mlc_ldmatrix_x2_trans(unsigned (&r)[2], const void *row, MLC_LINE) { mlc_host_ldmatrix(r, row, 2, 1, line); }
MLC_DEVICE void mlc_ldmatrix_x4(unsigned (&r)[4], const void *row, MLC_LINE) { mlc_host_ldmatrix(r, row, 4, 0, line); }
MLC_DEVICE void mlc_ldmatrix_x4_trans(unsigned (&r)[4], const void *row, MLC_LINE) { mlc_host_ldmatrix(r, row, 4, 1, line); }
#define MLC_MMA(NAME, NUMBER, KIND) \
  MLC_DEVICE void NAME(NUMBER(&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], MLC_LINE) { mlc_host_mma(KIND, d, a, b, line); }
MLC_MMA(mlc_mma_m16n8k8_tf32, float, 0)
MLC_MMA(mlc_mma_m16n8k16_f16, float, 1)
MLC_MMA(mlc_mma_m16n8k16_bf16, float, 2)
MLC_MMA(mlc_mma_m16n8k32_s8, int, 3)
#undef MLC_MMA

// Barriers ------------------------------------------------------------------------------------------------------------
MLC_DEVICE void mlc_barrier_sync(int number, int threads, MLC_LINE) { mlc_host_barrier(number, threads, line); }
MLC_DEVICE void mlc_mbarrier_init(unsigned long long *barrier, int count, MLC_LINE) { mlc_host_mbarrier_init(barrier, count, line); }
MLC_DEVICE void mlc_mbarrier_arrive(unsigned long long *barrier, MLC_LINE) { mlc_host_mbarrier_arrive(barrier, line); }
MLC_DEVICE void mlc_cp_async_arrive(unsigned long long *barrier, MLC_LINE) { mlc_host_copy_arrive(barrier, line); }
MLC_DEVICE void mlc_mbarrier_wait(unsigned long long *barrier, int parity, MLC_LINE) { mlc_host_mbarrier_wait(barrier, parity, line); }
