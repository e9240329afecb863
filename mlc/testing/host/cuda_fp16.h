// __half and __half2, as CUDA's header of this name has them: arithmetic in f32, rounded once.
#pragma once

struct alignas(2) __half {
  unsigned short bits;
  __half() = default;
  __half(float x) : bits(mlc_f32_to_f16(x)) {}
  __half(double x) : bits(mlc_f64_to_f16(x)) {}
  __half(int x) : bits(mlc_f64_to_f16(x)) {}
  operator float() const { return mlc_f16_to_f32(bits); }
};
struct alignas(4) __half2 {
  __half x, y;
};
typedef __half half;
typedef __half2 half2;
#define MLC_HALF __half
#define MLC_HALF2 __half2
#include "half_functions.h"
#undef MLC_HALF
#undef MLC_HALF2
static inline __half __float2half(float x) { return __half(x); }
static inline __half __float2half_rn(float x) { return __half(x); }
static inline __half __double2half(double x) { return __half(x); }
static inline float __half2float(__half x) { return x; }
static inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
static inline __half2 __float2half2_rn(float x) { return {__half(x), __half(x)}; }
static inline __half2 __half2half2(__half x) { return {x, x}; }
static inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
static inline float2 __half22float2(__half2 v) { return make_float2(v.x, v.y); }
static inline unsigned short __half_as_ushort(__half x) { return x.bits; }
static inline __half __ushort_as_half(unsigned short bits) { return mlc_host_bits<__half>(bits); }
