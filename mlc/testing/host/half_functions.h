// Arithmetic and comparisons of one type of 16 bits, MLC_HALF, and of pairs, MLC_HALF2. Included once for each.
#define MLC_PAIRED(NAME, EXPRESSION)                                                        \
  static inline MLC_HALF NAME(MLC_HALF a, MLC_HALF b) { return MLC_HALF(EXPRESSION); }      \
  static inline MLC_HALF2 NAME##2(MLC_HALF2 a, MLC_HALF2 b) { return {NAME(a.x, b.x), NAME(a.y, b.y)}; }
MLC_PAIRED(__hadd, (float)a + (float)b)
MLC_PAIRED(__hsub, (float)a - (float)b)
MLC_PAIRED(__hmul, (float)a * (float)b)
MLC_PAIRED(__hmax, fmaxf(a, b))
MLC_PAIRED(__hmin, fminf(a, b))
MLC_PAIRED(__hmax_nan, mlc_max((float)a, (float)b))
MLC_PAIRED(__hmin_nan, mlc_min((float)a, (float)b))
#undef MLC_PAIRED
static inline MLC_HALF __hdiv(MLC_HALF a, MLC_HALF b) { return MLC_HALF((float)a / (float)b); }
static inline MLC_HALF2 __h2div(MLC_HALF2 a, MLC_HALF2 b) { return {__hdiv(a.x, b.x), __hdiv(a.y, b.y)}; }
static inline MLC_HALF __hneg(MLC_HALF a) { return MLC_HALF(-(float)a); }
static inline MLC_HALF __habs(MLC_HALF a) { return MLC_HALF(fabsf(a)); }
// The product of two is exact in f64, and so is its sum with a third as far as a number of 16 bits tells.
static inline MLC_HALF __hfma(MLC_HALF a, MLC_HALF b, MLC_HALF c) { return MLC_HALF(fma((double)(float)a, (double)(float)b, (double)(float)c)); }
static inline MLC_HALF2 __hfma2(MLC_HALF2 a, MLC_HALF2 b, MLC_HALF2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
static inline MLC_HALF operator+(MLC_HALF a, MLC_HALF b) { return __hadd(a, b); }
static inline MLC_HALF operator-(MLC_HALF a, MLC_HALF b) { return __hsub(a, b); }
static inline MLC_HALF operator*(MLC_HALF a, MLC_HALF b) { return __hmul(a, b); }
static inline MLC_HALF operator/(MLC_HALF a, MLC_HALF b) { return __hdiv(a, b); }
static inline MLC_HALF operator-(MLC_HALF a) { return __hneg(a); }
static inline MLC_HALF &operator+=(MLC_HALF &a, MLC_HALF b) { return a = a + b; }
static inline MLC_HALF &operator-=(MLC_HALF &a, MLC_HALF b) { return a = a - b; }
static inline MLC_HALF &operator*=(MLC_HALF &a, MLC_HALF b) { return a = a * b; }
static inline MLC_HALF2 operator+(MLC_HALF2 a, MLC_HALF2 b) { return __hadd2(a, b); }
static inline MLC_HALF2 operator-(MLC_HALF2 a, MLC_HALF2 b) { return __hsub2(a, b); }
static inline MLC_HALF2 operator*(MLC_HALF2 a, MLC_HALF2 b) { return __hmul2(a, b); }
static inline bool operator==(MLC_HALF a, MLC_HALF b) { return (float)a == (float)b; }
static inline bool operator!=(MLC_HALF a, MLC_HALF b) { return (float)a != (float)b; }
static inline bool operator<(MLC_HALF a, MLC_HALF b) { return (float)a < (float)b; }
static inline bool operator>(MLC_HALF a, MLC_HALF b) { return (float)a > (float)b; }
static inline bool operator<=(MLC_HALF a, MLC_HALF b) { return (float)a <= (float)b; }
static inline bool operator>=(MLC_HALF a, MLC_HALF b) { return (float)a >= (float)b; }
static inline MLC_HALF hexp(MLC_HALF a) { return MLC_HALF(expf(a)); }
static inline MLC_HALF hlog(MLC_HALF a) { return MLC_HALF(logf(a)); }
static inline MLC_HALF hsqrt(MLC_HALF a) { return MLC_HALF(sqrtf(a)); }
static inline MLC_HALF hrsqrt(MLC_HALF a) { return MLC_HALF(rsqrtf(a)); }
