// CUDA C as C++ of this machine: included before the text of a kernel, which g++ compiles as it stands.
//
//   mlc_host.h   keywords, built-in variables, vectors, launches      numbers.h   functions of one thread
//   warp.h       barriers, shuffles, votes                            device.h    what mlc/codegen/cuda/device.cuh has for GPUs
//   runtime.h    what all of it asks of the runtime                   cuda_fp16.h, cuda_bf16.h   where a kernel includes them
//
// With -DMLC_FLUSH kernels compute as nvcc's -ftz=true has it: numbers too small for full precision are zero.
#pragma once
#define MLC_HOST 1

#include <math.h>
#include <string.h>

#include "runtime.h"
#if defined(MLC_FLUSH) && defined(__SSE2__)
#include <pmmintrin.h>
#endif

// Keywords ------------------------------------------------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)  // MLC_HOST_KERNEL has it from the text
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static  // AddressSanitizer puts red zones around it
#else
#define __shared__ static __attribute__((section("mlc_shared")))  // all together, so that each block finds NaN there
#endif
extern "C" {
extern unsigned char __start_mlc_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_mlc_shared[] __attribute__((weak, visibility("hidden")));
}

#define threadIdx (mlc_host_now->index)
#define blockIdx (mlc_host_block_now.index)
#define blockDim (mlc_host_block_now.threads)
#define gridDim (mlc_host_block_now.blocks)
constexpr int warpSize = 32;

// Vectors -------------------------------------------------------------------------------------------------------------
#define MLC_VECTORS(T, NAME, PAIR, QUAD)                                                   \
  struct NAME##1 { T x; };                                                                 \
  struct alignas(PAIR) NAME##2 { T x, y; };                                                \
  struct NAME##3 { T x, y, z; };                                                           \
  struct alignas(QUAD) NAME##4 { T x, y, z, w; };                                          \
  static inline NAME##1 make_##NAME##1(T x) { return {x}; }                                \
  static inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                        \
  static inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }                \
  static inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
MLC_VECTORS(float, float, 8, 16)
MLC_VECTORS(double, double, 16, 16)
MLC_VECTORS(int, int, 8, 16)
MLC_VECTORS(signed char, char, 2, 4)
MLC_VECTORS(unsigned char, uchar, 2, 4)
MLC_VECTORS(short, short, 4, 8)
MLC_VECTORS(unsigned short, ushort, 4, 8)
MLC_VECTORS(long long, longlong, 16, 16)
MLC_VECTORS(unsigned long long, ulonglong, 16, 16)
#undef MLC_VECTORS
struct uint1 { unsigned x; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

#include "numbers.h"
#include "warp.h"
#include "device.h"

// Launches ------------------------------------------------------------------------------------------------------------
template <class T, T VALUE> struct mlc_host_constant { static constexpr T value = VALUE; };
template <class T> struct mlc_host_is_float : mlc_host_constant<bool, false> {};
template <> struct mlc_host_is_float<float> : mlc_host_constant<bool, true> {};
template <> struct mlc_host_is_float<double> : mlc_host_constant<bool, true> {};
template <class T> struct mlc_host_plain { using type = T; };
template <class T> struct mlc_host_plain<const T> { using type = T; };
template <class T> struct mlc_host_is_void : mlc_host_constant<bool, false> {};
template <> struct mlc_host_is_void<void> : mlc_host_constant<bool, true> {};
template <class T> struct mlc_host_pointer { static constexpr bool is = false; };
template <class T> struct mlc_host_pointer<T *> {
  static constexpr bool is = true;
  using pointee = typename mlc_host_plain<T>::type;
  static constexpr bool constant = !__is_same(T, pointee);
};
template <class T> constexpr mlc_host_parameter mlc_host_parameter_of() {
  if constexpr (mlc_host_pointer<T>::is) {
    constexpr mlc_host_parameter to = mlc_host_parameter_of<typename mlc_host_pointer<T>::pointee>();
    return {sizeof(T), to.bytes, 'p', to.kind, mlc_host_pointer<T>::constant};
  } else if constexpr (mlc_host_is_void<T>::value) {
    return {0, 0, 'v', 0, false};
  } else if constexpr (__is_class(T) || __is_union(T)) {
    return {sizeof(T), 0, 's', 0, false};
  } else if constexpr (mlc_host_is_float<T>::value) {
    return {sizeof(T), 0, 'f', 0, false};
  } else {
    return {sizeof(T), 0, T(-1) < T(0) ? 'i' : 'u', 0, false};
  }
}

template <unsigned... I> struct mlc_host_numbers {};
template <unsigned N, unsigned... I> struct mlc_host_count : mlc_host_count<N - 1, N - 1, I...> {};
template <unsigned... I> struct mlc_host_count<0, I...> { using numbers = mlc_host_numbers<I...>; };

// A kernel with its parameters. A launch calls it once for each thread, with the arguments that the array points at.
template <auto KERNEL> struct mlc_host_entry;
template <class... P, void (*KERNEL)(P...)> struct mlc_host_entry<KERNEL> {
  static constexpr mlc_host_parameter parameters[] = {mlc_host_parameter_of<typename mlc_host_plain<P>::type>()..., {0, 0, 0, 0, false}};
  static constexpr unsigned count = sizeof...(P);
  template <unsigned... I> static void call(void **arguments, mlc_host_numbers<I...>) {
    (void)arguments;
    KERNEL(*(typename mlc_host_plain<P>::type *)arguments[I]...);
  }
  static void body(void *arguments) { call((void **)arguments, typename mlc_host_count<count>::numbers()); }
  template <unsigned THREADS>
  static int launch(const unsigned *geometry, size_t shared, void **arguments, mlc_host_settings *settings, char *error, size_t error_bytes) {
#if defined(MLC_FLUSH) && defined(__SSE2__)
    struct Flush {
      unsigned before = _mm_getcsr();
      Flush() { _mm_setcsr(before | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON); }
      ~Flush() { _mm_setcsr(before); }
    } flush;
#endif
    return mlc_host_launch(geometry, shared, settings, THREADS, __start_mlc_shared, __stop_mlc_shared - __start_mlc_shared, body, arguments, error,
                           error_bytes);
  }
};
// One line for each kernel, behind the text; more than one number where __launch_bounds__ has more.
constexpr unsigned mlc_host_first(unsigned first, ...) { return first; }
#define MLC_HOST_KERNEL(NAME, ...)                                                                                       \
  extern "C" {                                                                                                           \
  extern const mlc_host_kernel mlc_kernel_##NAME __attribute__((visibility("default")));                                 \
  const mlc_host_kernel mlc_kernel_##NAME = {mlc_host_entry<NAME>::launch<mlc_host_first(__VA_ARGS__)>, mlc_host_entry<NAME>::parameters, \
                                             mlc_host_entry<NAME>::count, mlc_host_first(__VA_ARGS__), __start_mlc_shared,        \
                                             __stop_mlc_shared};                                                         \
  }
