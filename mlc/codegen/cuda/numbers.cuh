// Arithmetic that C leaves open or lacks, as mlc computes it on every target. Plain C++: what needs PTX is in device.cuh.
#pragma once

// The bits of a number as a number of another type of the same size.
template <typename To, typename From>
static __device__ __forceinline__ To mlc_bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "types of one size");
  To r;
  memcpy(&r, &x, sizeof r);
  return r;
}

// The nearest integer towards zero; the last one of its type beyond that, 0 for NaN.
template <typename To, typename From>
static __device__ __forceinline__ To mlc_whole(From x) {
  constexpr bool sign = To(-1) < To(0);
  constexpr int bits = 8 * sizeof(To) - sign;
  constexpr To most = sign ? To(~(1ull << bits)) : To(~0ull);
  const From end = From(1ull << (bits - 1)) * From(2);
  if (x != x) return 0;
  if (x >= end) return most;
  if (x <= (sign ? -end : From(0))) return sign ? To(-most - 1) : To(0);
  return To(x);
}

// By squaring; a negative exponent gives the reciprocal, which is 0 unless the base is 1 or -1. Products wrap.
template <typename T>
static __device__ __forceinline__ T mlc_power(T base, T exponent) {
  if (exponent < 0) return base == 1 ? T(1) : base == T(-1) ? (exponent & 1 ? T(-1) : T(1)) : T(0);
  unsigned long long power = 1, square = (unsigned long long)base;
  for (T rest = exponent; rest > 0; rest >>= 1, square *= square)
    if (rest & 1) power *= square;
  return T(power);
}

// The upper half of a product of two numbers without (u) and with (s) a sign.
static __device__ __forceinline__ int32_t mlc_high_u(int32_t a, int32_t b) {
  return (int32_t)((uint64_t)(uint32_t)a * (uint32_t)b >> 32);
}
static __device__ __forceinline__ int64_t mlc_high_u(int64_t a, int64_t b) {
  const uint64_t x = (uint64_t)a, y = (uint64_t)b, low = (x & 0xffffffffu) * (y & 0xffffffffu);
  const uint64_t one = (x >> 32) * (y & 0xffffffffu) + (low >> 32), other = (x & 0xffffffffu) * (y >> 32) + (one & 0xffffffffu);
  return (int64_t)((x >> 32) * (y >> 32) + (one >> 32) + (other >> 32));
}

static __device__ __forceinline__ int32_t mlc_high_s(int32_t a, int32_t b) { return (int32_t)((int64_t)a * b >> 32); }
static __device__ __forceinline__ int64_t mlc_high_s(int64_t a, int64_t b) {
  return (int64_t)((uint64_t)mlc_high_u(a, b) - (a < 0 ? (uint64_t)b : 0) - (b < 0 ? (uint64_t)a : 0));
}

// Zeros before the first bit that is set, and behind the last; bits that are set.
template <int Bits, typename T>
static __device__ __forceinline__ int mlc_ctlz(T x) {
  int count = 0;
  for (int bit = Bits - 1; bit >= 0 && !(x >> bit & 1); --bit) ++count;
  return count;
}

template <int Bits, typename T>
static __device__ __forceinline__ int mlc_cttz(T x) {
  int count = 0;
  for (int bit = 0; bit < Bits && !(x >> bit & 1); ++bit) ++count;
  return count;
}

template <int Bits, typename T>
static __device__ __forceinline__ int mlc_ctpop(T x) {
  int count = 0;
  for (int bit = 0; bit < Bits; ++bit) count += (int)(x >> bit & 1);
  return count;
}

// x Phi(x), Phi the distribution function of the normal distribution; NaN at -inf.
static __device__ __forceinline__ float mlc_gelu(float x) { return x * normcdff(x); }
static __device__ __forceinline__ double mlc_gelu(double x) { return x * normcdf(x); }

// log(1 + exp(x)), which overflows for no x.
static __device__ __forceinline__ float mlc_softplus(float x) {
  return x != x ? x : (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x)));
}
static __device__ __forceinline__ double mlc_softplus(double x) {
  return x != x ? x : (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x)));
}

static __device__ __forceinline__ float mlc_rsqrt(float x) { return 1.0f / sqrtf(x); }
static __device__ __forceinline__ double mlc_rsqrt(double x) { return 1.0 / sqrt(x); }

// sin, cos and tan of every finite number: x = q pi/2 + r + low, |r| <= pi/4, with the method and the constants of mlc/passes/loops/angles.py.
// CUDA's own take stack. The lower bits of the result are q.
static __device__ __forceinline__ void mlc_add_quarters(double product, double &total, double &error) {
  const double part = fma(rint(product * 0.25), -4.0, product), sum = total + part, back = sum - total;  // whole turns vanish
  error += (total - (sum - back)) + (part - back);
  total = sum;
}
static __device__ __forceinline__ int32_t mlc_quadrant(float x, float &r, float &low) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  if (fabsf(x) < 1048576.0f) {
    const float shifted = fmaf(x, 6.3661975e-01f, magic), q = shifted - magic;
    r = fmaf(q, -7.5497894e-08f, fmaf(q, -1.5707963e+00f, x));
    low = q * -5.390303e-15f;
    return mlc_bits<int32_t>(shifted);
  }
  // x times 196 bits of 2/pi in pieces whose products are exact (Payne, Hanek 1983)
  const double d = x;
  double total = 0.0, error = 0.0;
  mlc_add_quarters(d * 0xa2f9836p-28, total, error);
  mlc_add_quarters(d * 0xe4e4415p-56, total, error);
  mlc_add_quarters(d * 0x29fc275p-84, total, error);
  mlc_add_quarters(d * 0x7d1f534p-112, total, error);
  mlc_add_quarters(d * 0xddc0db6p-140, total, error);
  mlc_add_quarters(d * 0x295993cp-168, total, error);
  mlc_add_quarters(d * 0x439041fp-196, total, error);
  const double q = rint(total), rest = (total - q + error) * 1.5707963267948966;
  r = (float)rest;
  low = (float)(rest - r);
  return mlc_bits<int32_t>((float)q + magic);
}
static __device__ __forceinline__ void mlc_sin_cos(float r, float low, float &sine, float &cosine) {
  const float square = r * r;
  sine = copysignf(r + fmaf(square * r, fmaf(fmaf(-1.9515296e-04f, square, 8.332161e-03f), square, -1.6666655e-01f), low), r);  // of -0 too
  cosine = fmaf(square * square, fmaf(fmaf(2.4433157e-05f, square, -1.3887316e-03f), square, 4.1666646e-02f), fmaf(square, -0.5f, 1.0f));
}
// sin(x + turned pi/2)
static __device__ __forceinline__ float mlc_turned(float x, int32_t turned) {
  float r, low, sine, cosine;
  const int32_t q = mlc_quadrant(x, r, low) + turned;
  mlc_sin_cos(r, low, sine, cosine);
  const float value = q & 1 ? cosine : sine;
  return q & 2 ? -value : value;
}
static __device__ __forceinline__ float mlc_sin(float x) { return mlc_turned(x, 0); }
static __device__ __forceinline__ float mlc_cos(float x) { return mlc_turned(x, 1); }
static __device__ __forceinline__ float mlc_tan(float x) {
  float r, low, sine, cosine;
  const int32_t q = mlc_quadrant(x, r, low);
  mlc_sin_cos(r, low, sine, cosine);
  return q & 1 ? -cosine / sine : sine / cosine;
}
static __device__ __forceinline__ double mlc_sin(double x) { return sin(x); }
static __device__ __forceinline__ double mlc_cos(double x) { return cos(x); }
static __device__ __forceinline__ double mlc_tan(double x) { return tan(x); }

// Elements that a thread moves at a time, 16 bytes of them where there are as many: one load and one store.
template <typename T, int N>
struct alignas(sizeof(T) * N > 16 ? 16 : sizeof(T) * N) mlc_vector {
  T at[N];
};
template <int N, typename T>
static __device__ __forceinline__ mlc_vector<T, N> mlc_load(const T *p) {
  return *reinterpret_cast<const mlc_vector<T, N> *>(p);
}
// Elements that lie STEP apart, one after the other.
template <int N, int STEP, typename T>
static __device__ __forceinline__ mlc_vector<T, N> mlc_load(const T *p) {
  mlc_vector<T, N> r;
#pragma unroll
  for (int l = 0; l < N; ++l) r.at[l] = p[l * STEP];
  return r;
}
template <int STEP, typename T, int N>
static __device__ __forceinline__ void mlc_store(T *p, const mlc_vector<T, N> &v) {
#pragma unroll
  for (int l = 0; l < N; ++l) p[l * STEP] = v.at[l];
}
template <typename T, int N>
static __device__ __forceinline__ void mlc_store(T *p, const mlc_vector<T, N> &v) {
  *reinterpret_cast<mlc_vector<T, N> *>(p) = v;
}

struct mlc_sum_of {
  template <typename T>
  static __device__ __forceinline__ T fold(T a, T b) { return a + b; }
};
struct mlc_product_of {
  template <typename T>
  static __device__ __forceinline__ T fold(T a, T b) { return a * b; }
};
struct mlc_max_of {
  template <typename T>
  static __device__ __forceinline__ T fold(T a, T b) { return mlc_max(a, b); }
};
struct mlc_min_of {
  template <typename T>
  static __device__ __forceinline__ T fold(T a, T b) { return mlc_min(a, b); }
};

// One value of all lanes that THREADS neighbouring threads hold; every one of them has it. Pairs fold in one order, whatever runs first. A block
// of several warps hands on what each found through shared memory; the first barrier keeps one fold from the one before.
template <typename How, int THREADS, typename T, int N>
static __device__ __forceinline__ T mlc_fold(const mlc_vector<T, N> &v) {
  T x = v.at[0];
#pragma unroll
  for (int l = 1; l < N; ++l) x = How::fold(x, v.at[l]);
#pragma unroll
  for (int apart = 16; apart; apart >>= 1) x = How::fold(x, __shfl_xor_sync(0xffffffffu, x, apart));
  if (THREADS > 32) {
    __shared__ T warps[THREADS / 32];
    __syncthreads();
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = warps[0];
    for (int w = 1; w < THREADS / 32; ++w) x = How::fold(x, warps[w]);
  }
  return x;
}

// One value of LANES neighbouring lanes of a warp; every one of them has it.
template <typename How, int LANES, typename T>
static __device__ __forceinline__ T mlc_fold_lanes(T x) {
#pragma unroll
  for (int apart = 1; apart < LANES; apart <<= 1) x = How::fold(x, __shfl_xor_sync(0xffffffffu, x, apart));
  return x;
}

// Registers that one instruction of a tensor core takes, out of a thread's array of them.
template <typename T, int N, typename From>
static __device__ __forceinline__ T (&mlc_row(From *p))[N] {
  return *reinterpret_cast<T(*)[N]>(p);
}

// Two numbers of 16 bits in a register, the first in its lower half: as they lie in memory, or rounded.
static __device__ __forceinline__ int32_t mlc_pair(const uint16_t *p) { return *reinterpret_cast<const int32_t *>(p); }
static __device__ __forceinline__ unsigned mlc_pack_bf16(float x, float y) {
  return (unsigned)mlc_f32_to_bf16(x) | (unsigned)mlc_f32_to_bf16(y) << 16;
}
static __device__ __forceinline__ unsigned mlc_pack_f16(float x, float y) {
  return (unsigned)mlc_f32_to_f16(x) | (unsigned)mlc_f32_to_f16(y) << 16;
}
