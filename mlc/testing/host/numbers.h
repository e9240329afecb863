// CUDA's functions of one thread: bits, arithmetic that says how it rounds, the lesser and the greater, memory, atomics.
// Those of the C library (expf, tanh, fmaf, ...) are the C library's.
#pragma once

// Bits ----------------------------------------------------------------------------------------------------------------
template <class T, class F> static inline T mlc_host_bits(F value) {
  static_assert(sizeof(T) == sizeof(F), "the same bytes");
  T result;
  memcpy(&result, &value, sizeof result);
  return result;
}
static inline float __uint_as_float(unsigned bits) { return mlc_host_bits<float>(bits); }
static inline float __int_as_float(int bits) { return mlc_host_bits<float>(bits); }
static inline unsigned __float_as_uint(float x) { return mlc_host_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return mlc_host_bits<int>(x); }
static inline long long __double_as_longlong(double x) { return mlc_host_bits<long long>(x); }
static inline double __longlong_as_double(long long bits) { return mlc_host_bits<double>(bits); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (x >> i & 1) << (31 - i);
  return r;
}
static inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector) {
  unsigned long long both = (unsigned long long)high << 32 | low;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) r |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  return r;
}

// Arithmetic ----------------------------------------------------------------------------------------------------------
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
static inline int __mulhi(int a, int b) { return (long long)a * b >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
static inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c = (int)((unsigned)c + (unsigned)((signed char)(a >> i) * (signed char)(b >> i)));
  return c;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
  return c;
}
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float x) { return 1 / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline float rcbrtf(float x) { return 1 / cbrtf(x); }
static inline float normcdff(float x) { return (float)(0.5 * erfc(-(double)x * 0.7071067811865476)); }
static inline double normcdf(double x) { return 0.5 * erfc(-x * 0.7071067811865476); }
static inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
#define __expf(x) expf(x)  // as macros: the C library has symbols of these names
#define __logf(x) logf(x)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __powf(x, y) powf(x, y)

// Conversions: to the nearest, ties to even (rn), toward zero (rz), down (rd), up (ru); beyond the type its ends, NaN is 0 ----------------
template <class T> static inline T mlc_host_to_integer(double x, double low, double high) {
  return x != x ? T(0) : x <= low ? (T)low : x >= high ? (T)(high - 1) : (T)x;
}
#define MLC_CONVERSIONS(F, NAME)                                                                                          \
  static inline int NAME##2int_rn(F x) { return mlc_host_to_integer<int>(nearbyint(x), -0x1p31, 0x1p31); }                     \
  static inline int NAME##2int_rz(F x) { return mlc_host_to_integer<int>(trunc(x), -0x1p31, 0x1p31); }                         \
  static inline int NAME##2int_rd(F x) { return mlc_host_to_integer<int>(floor(x), -0x1p31, 0x1p31); }                         \
  static inline int NAME##2int_ru(F x) { return mlc_host_to_integer<int>(ceil(x), -0x1p31, 0x1p31); }                          \
  static inline unsigned NAME##2uint_rn(F x) { return mlc_host_to_integer<unsigned>(nearbyint(x), 0, 0x1p32); }                \
  static inline unsigned NAME##2uint_rz(F x) { return mlc_host_to_integer<unsigned>(trunc(x), 0, 0x1p32); }                    \
  static inline long long NAME##2ll_rn(F x) { return mlc_host_to_long(nearbyint(x)); }                                         \
  static inline long long NAME##2ll_rz(F x) { return mlc_host_to_long(trunc(x)); }
static inline long long mlc_host_to_long(double x) {
  return x != x ? 0 : x >= 0x1p63 ? 0x7fffffffffffffff : x < -0x1p63 ? -0x7fffffffffffffff - 1 : (long long)x;
}
MLC_CONVERSIONS(float, __float)
MLC_CONVERSIONS(double, __double)
#undef MLC_CONVERSIONS
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline float __ll2float_rn(long long x) { return (float)x; }
static inline double __int2double_rn(int x) { return x; }
static inline float __double2float_rn(double x) { return (float)x; }
static inline float __double2float_rz(double x) {
  float nearest = (float)x;
  return fabs((double)nearest) > fabs(x) ? __uint_as_float(__float_as_uint(nearest) - 1) : nearest;
}

// The lesser and the greater, as C's fmin and fmax for floating point -----------------------------------------------------
#define MLC_ORDERED(T)                                              \
  static inline T min(T a, T b) { return b < a ? b : a; }           \
  static inline T max(T a, T b) { return a < b ? b : a; }
MLC_ORDERED(int)
MLC_ORDERED(unsigned)
MLC_ORDERED(long)
MLC_ORDERED(unsigned long)
MLC_ORDERED(long long)
MLC_ORDERED(unsigned long long)
#undef MLC_ORDERED
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }

// Memory --------------------------------------------------------------------------------------------------------------
template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline void __stcs(T *p, T value) { *p = value; }
template <class T> static inline void __stcg(T *p, T value) { *p = value; }

// Atomics -------------------------------------------------------------------------------------------------------------
template <class T, class F> static inline T mlc_host_atomic(T *p, F next) {
  T old, wanted;
  __atomic_load(p, &old, __ATOMIC_RELAXED);
  do wanted = next(old);
  while (!__atomic_compare_exchange(p, &old, &wanted, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
template <class T> static inline T atomicAdd(T *p, T value) { return mlc_host_atomic(p, [=](T old) { return T(old + value); }); }
template <class T> static inline T atomicSub(T *p, T value) { return mlc_host_atomic(p, [=](T old) { return T(old - value); }); }
template <class T> static inline T atomicMax(T *p, T value) { return mlc_host_atomic(p, [=](T old) { return old < value ? value : old; }); }
template <class T> static inline T atomicMin(T *p, T value) { return mlc_host_atomic(p, [=](T old) { return value < old ? value : old; }); }
template <class T> static inline T atomicAnd(T *p, T value) { return mlc_host_atomic(p, [=](T old) { return T(old & value); }); }
template <class T> static inline T atomicOr(T *p, T value) { return mlc_host_atomic(p, [=](T old) { return T(old | value); }); }
template <class T> static inline T atomicXor(T *p, T value) { return mlc_host_atomic(p, [=](T old) { return T(old ^ value); }); }
template <class T> static inline T atomicExch(T *p, T value) { return mlc_host_atomic(p, [=](T) { return value; }); }
template <class T> static inline T atomicCAS(T *p, T expected, T value) {
  return mlc_host_atomic(p, [=](T old) { return old == expected ? value : old; });
}
static inline unsigned atomicInc(unsigned *p, unsigned limit) {
  return mlc_host_atomic(p, [=](unsigned old) { return old >= limit ? 0 : old + 1; });
}
