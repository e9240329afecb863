// Everything that generated CUDA C cannot say in C: asynchronous copies, matrix products in registers, barriers in shared memory,
// comparisons that keep NaN. Each function is one PTX instruction or a few, named after it; the PTX manual says the rest.
//
// The same kernels run on a CPU: mlc/testing defines MLC_HOST and has a function of every name below, with the same effect.
// No include and no standard type, so that nvcc, NVRTC and pycuda's SourceModule all take it. Needs sm_80.
#pragma once

#if !defined(MLC_HOST)

#define MLC_DEVICE static __device__ __forceinline__

// T *name: the dynamic shared memory of the block, on a boundary of 128 bytes.
#define MLC_DYNAMIC_SHARED(T, name)                                           \
  extern __shared__ __align__(128) unsigned char mlc_dynamic_shared_memory[]; \
  T *name = reinterpret_cast<T *>(mlc_dynamic_shared_memory)

MLC_DEVICE unsigned mlc_shared_address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

// The greater and the lesser, NaN where either is NaN ----------------------------------------------------------------
MLC_DEVICE float mlc_max(float a, float b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
MLC_DEVICE float mlc_min(float a, float b) {
  float r;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(a), "f"(b));
  return r;
}
MLC_DEVICE double mlc_max(double a, double b) { return a != a || a > b || (a == b && __double_as_longlong(a) >= 0) ? a : b; }
MLC_DEVICE double mlc_min(double a, double b) { return a != a || a < b || (a == b && __double_as_longlong(a) < 0) ? a : b; }

// Numbers of 16 bits, kept as their bits; to the nearest, ties to even ------------------------------------------------
MLC_DEVICE float mlc_f16_to_f32(unsigned short bits) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(bits));
  return r;
}
MLC_DEVICE unsigned short mlc_f32_to_f16(float x) {
  unsigned short r;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x));
  return r;
}
MLC_DEVICE unsigned short mlc_f64_to_f16(double x) {
  unsigned short r;
  asm("cvt.rn.f16.f64 %0, %1;" : "=h"(r) : "d"(x));
  return r;
}
MLC_DEVICE float mlc_bf16_to_f32(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }
MLC_DEVICE unsigned short mlc_f32_to_bf16(float x) {
  unsigned short r;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x));
  return r;
}
// PTX has no such conversion: to f32 with the last bit set where it is not exact (round to odd), so that only the second rounding counts.
MLC_DEVICE unsigned short mlc_f64_to_bf16(double x) {
  const float down = __double2float_rz(x);
  const unsigned bits = __float_as_uint(down);
  return mlc_f32_to_bf16((double)down == x || x != x ? down : __uint_as_float(bits | 1u));
}
// To the nearest of the 19 bits that a tensor core reads of an f32, ties away from zero.
MLC_DEVICE unsigned mlc_f32_to_tf32(float x) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}

// Copies from global to shared memory behind the thread's back ---------------------------------------------------------
// The first `valid` bytes, and zeros behind them; with 0 nothing is read. Addresses are multiples of the copy's size.
MLC_DEVICE void mlc_cp_async4(void *shared, const void *global, int valid = 4) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(mlc_shared_address(shared)), "l"(global), "r"(valid) : "memory");
}
MLC_DEVICE void mlc_cp_async8(void *shared, const void *global, int valid = 8) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(mlc_shared_address(shared)), "l"(global), "r"(valid) : "memory");
}
MLC_DEVICE void mlc_cp_async16(void *shared, const void *global, int valid = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(mlc_shared_address(shared)), "l"(global), "r"(valid) : "memory");
}
// The thread's copies since the last commit become a group; wait until at most N groups are under way.
MLC_DEVICE void mlc_cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
MLC_DEVICE void mlc_cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Matrices of a warp: D(16, 8) += A(16, K) B(K, 8), fragments as in the PTX manual -------------------------------------
// Of two (x2) or four (x4) matrices of 8 x 8 elements of 16 bits: lane l gives the address of row l % 8 of matrix l / 8.
MLC_DEVICE void mlc_ldmatrix_x2(unsigned (&r)[2], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(mlc_shared_address(row)) : "memory");
}
MLC_DEVICE void mlc_ldmatrix_x2_trans(unsigned (&r)[2], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(mlc_shared_address(row)) : "memory");
}
MLC_DEVICE void mlc_ldmatrix_x4(unsigned (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(mlc_shared_address(row)) : "memory");
}
MLC_DEVICE void mlc_ldmatrix_x4_trans(unsigned (&r)[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(mlc_shared_address(row)) : "memory");
}
#define MLC_MMA(NAME, TYPES, NUMBER, CONSTRAINT)                                                                         \
  MLC_DEVICE void NAME(NUMBER(&d)[4], const unsigned(&a)[4], const unsigned(&b)[2]) {                                    \
    asm("mma.sync.aligned." TYPES " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                               \
        : "+" CONSTRAINT(d[0]), "+" CONSTRAINT(d[1]), "+" CONSTRAINT(d[2]), "+" CONSTRAINT(d[3])                         \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                                             \
  }
MLC_MMA(mlc_mma_m16n8k8_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32", float, "f")
MLC_MMA(mlc_mma_m16n8k16_f16, "m16n8k16.row.col.f32.f16.f16.f32", float, "f")
MLC_MMA(mlc_mma_m16n8k16_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32", float, "f")
MLC_MMA(mlc_mma_m16n8k32_s8, "m16n8k32.row.col.s32.s8.s8.s32", int, "r")
#undef MLC_MMA

// Barriers --------------------------------------------------------------------------------------------------------------
// One of the block's sixteen, for so many of its threads (a multiple of 32); number 0 is __syncthreads'.
MLC_DEVICE void mlc_barrier_sync(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// A barrier in shared memory: a phase ends with its `count`-th arrival. Phases alternate between parity 0 and 1, beginning with 0.
MLC_DEVICE void mlc_mbarrier_init(unsigned long long *barrier, int count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(mlc_shared_address(barrier)), "r"(count) : "memory");
}
MLC_DEVICE void mlc_mbarrier_arrive(unsigned long long *barrier) {
  asm volatile("{ .reg .b64 state; mbarrier.arrive.shared.b64 state, [%0]; }" ::"r"(mlc_shared_address(barrier)) : "memory");
}
// The thread's copies so far count as one arrival once they have landed.
MLC_DEVICE void mlc_cp_async_arrive(unsigned long long *barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(mlc_shared_address(barrier)) : "memory");
}
// Until the phase of this parity has ended.
MLC_DEVICE void mlc_mbarrier_wait(unsigned long long *barrier, int parity) {
  unsigned ended;
  do {
    asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(ended) : "r"(mlc_shared_address(barrier)), "r"(parity) : "memory");
  } while (!ended);
}

#endif
