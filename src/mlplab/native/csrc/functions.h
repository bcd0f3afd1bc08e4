/* Elementary functions that compilers vectorize, for T = float, or T = double with DOUBLE.

They have no branches. Fused products are written out and the compiler must not form others
(-ffp-contract=off), so that the bits of a result do not depend on the width of the vectors.
NaN and infinity give what they give in torch. */
#include <math.h>
#include <stdint.h>

#if !defined(__FMA__) && !defined(__ARM_FEATURE_FMA)
#error "this processor has no fused multiply-add"
#endif

#ifdef DOUBLE
typedef double T;
typedef int64_t Bits;
typedef uint64_t Word;
#else
typedef float T;
typedef int32_t Bits;
typedef uint32_t Word;
#endif

#define LANE 32
#define INLINE static inline __attribute__((always_inline))
#define EACH(i, n) _Pragma("GCC ivdep") for (int i = 0; i < (n); i++)

#define v_abs(x) _Generic((x), float: __builtin_fabsf, default: __builtin_fabs)(x)
#define v_sqrt(x) _Generic((x), float: __builtin_sqrtf, default: __builtin_sqrt)(x)
#define is_nan(x) ((x) != (x))

INLINE Bits bits_of(T x) {
  union { T value; Bits bits; } u = {x};
  return u.bits;
}

INLINE T of_bits(Bits bits) {
  union { Bits bits; T value; } u = {bits};
  return u.value;
}

/* Selects by masks: compilers turn ?: into control flow, and then do not vectorize the loop. */
INLINE T select_value(int condition, T yes, T no) {
  const Bits mask = -(Bits)(condition != 0);
  return of_bits((bits_of(yes) & mask) | (bits_of(no) & ~mask));
}

INLINE double select_double(int condition, double yes, double no) { return condition ? yes : no; }

INLINE int select_int(int condition, int yes, int no) {
  const int mask = -(condition != 0);
  return (yes & mask) | (no & ~mask);
}

/* The larger and the smaller of two values; NaN if one of them is NaN. */
INLINE T v_max(T a, T b) { return select_value((a > b) | is_nan(a), a, b); }
INLINE T v_min(T a, T b) { return select_value((a < b) | is_nan(a), a, b); }
INLINE T v_relu(T x) { return select_value(x <= 0, (T)0, x); }

/* -1, 0 or 1; 0 for NaN, as in torch. */
#define v_sign(x) (((x) > 0) - ((x) < 0))

/* The remainder with the sign of the divisor. */
INLINE int whole_remainder(int a, int b) { return (a % b + b) % b; }

/* A function of the C library, for those that nothing here vectorizes. */
#ifdef DOUBLE
#define LIBM(name) name
#else
#define LIBM(name) name##f
#endif

#ifdef DOUBLE
#define v_fma __builtin_fma
#define v_copysign __builtin_copysign
#define MANTISSA 52
#define BIAS 1023
#define ROUNDING 0x1.8p52 /* adding it rounds to an integer, which is then in the lowest bits */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define MAX_EXP 710.0
#define MIN_EXP -746.0
#else
#define v_fma __builtin_fmaf
#define v_copysign __builtin_copysignf
#define MANTISSA 23
#define BIAS 127
#define ROUNDING 0x1.8p23f
#define LN2_HIGH 6.93359375e-1f
#define LN2_LOW -2.12194440e-4f
#define MAX_EXP 89.0f
#define MIN_EXP -104.0f
#endif

INLINE T power_of_two(Bits exponent) { return of_bits((exponent + BIAS) << MANTISSA); }

/* The integer next to x as an integer: shifts and conversions of 64 bits are not in AVX2. */
INLINE Bits rounded(T x) { return bits_of(x + ROUNDING) - bits_of(ROUNDING); }

/* exp(x) = 2^k (1 + q) with |x - k ln 2| <= ln 2 / 2; returns q, which keeps its digits near 0. */
INLINE T reduced_exp(T x, T *exponent) {
  const T k = v_fma(x, (T)1.4426950408889634, ROUNDING) - ROUNDING;
  *exponent = k;
  const T r = v_fma(k, -LN2_LOW, v_fma(k, -LN2_HIGH, x));
#ifdef DOUBLE
  T p = 1.0 / 6227020800.0; /* the Taylor series */
  p = v_fma(p, r, 1.0 / 479001600.0);
  p = v_fma(p, r, 1.0 / 39916800.0);
  p = v_fma(p, r, 1.0 / 3628800.0);
  p = v_fma(p, r, 1.0 / 362880.0);
  p = v_fma(p, r, 1.0 / 40320.0);
  p = v_fma(p, r, 1.0 / 5040.0);
  p = v_fma(p, r, 1.0 / 720.0);
  p = v_fma(p, r, 1.0 / 120.0);
  p = v_fma(p, r, 1.0 / 24.0);
  p = v_fma(p, r, 1.0 / 6.0);
  p = v_fma(p, r, 0.5);
#else
  T p = 1.9875691500e-4f; /* Cephes, expf */
  p = v_fma(p, r, 1.3981999507e-3f);
  p = v_fma(p, r, 8.3334519073e-3f);
  p = v_fma(p, r, 4.1665795894e-2f);
  p = v_fma(p, r, 1.6666665459e-1f);
  p = v_fma(p, r, 5.0000001201e-1f);
#endif
  return v_fma(p * r, r, r);
}

INLINE T v_exp(T x) {
  T k;
  x = select_value(x < MIN_EXP, MIN_EXP, x);
  x = select_value(x > MAX_EXP, MAX_EXP, x);
  const T q = reduced_exp(x, &k);
  const Bits half = rounded(k / 2); /* 2^k in two factors, since a result may be denormal */
  return (q + 1) * power_of_two(half) * power_of_two(rounded(k) - half);
}

/* exp(x) - 1, which keeps its digits near 0. */
INLINE T v_expm1(T x) {
  T k;
  const T least = MANTISSA == 23 ? -30 : -60; /* -1 below */
  T bounded = select_value(x < least, least, x);
  bounded = select_value(bounded > MAX_EXP, MAX_EXP, bounded);
  const T q = reduced_exp(bounded, &k), half = power_of_two(rounded(k) - 1);
  const T y = 2 * v_fma(q, half, half - (T)0.5); /* 2^k may overflow */
  return select_value(x == 0, x, select_value(k == 0, q, y));
}

INLINE T v_sinh(T x) {
  const T size = v_abs(x), e = v_expm1(size), root = v_exp(size / 2);
  const T near = (e + e / (e + 1)) / 2, far = root / 2 * root; /* exp(size) may overflow */
  return v_copysign(select_value(size > 20, far, near), x);
}

INLINE T v_cosh(T x) {
  const T size = v_abs(x), e = v_exp(size), root = v_exp(size / 2);
  return select_value(size > 20, root / 2 * root, (e + 1 / e) / 2);
}

INLINE T v_sigmoid(T x) { return 1 / (1 + v_exp(-x)); }

/* e / (e + 2) with e = exp(2 |x|) - 1, which keeps its digits near 0. */
INLINE T v_tanh(T x) {
  T k;
  const T size = v_abs(x), limit = MANTISSA == 23 ? 10 : 20; /* tanh rounds to 1 beyond */
  const T q = reduced_exp(2 * select_value(size > limit, limit, size), &k);
  const T scale = power_of_two(rounded(k)), e = v_fma(q, scale, scale - 1);
  return v_copysign(e / (e + 2), x);
}

INLINE T v_log(T x) {
  const int is_tiny = x < (MANTISSA == 23 ? (T)0x1p-126 : (T)0x1p-1022);
  const T scaled = select_value(is_tiny, x * (T)(1ull << MANTISSA), x);
  /* x = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2); the biased exponent is not negative */
  const Bits bits = bits_of(scaled), root = bits_of((T)0.70710678118654752);
  const Bits biased = (Bits)((Word)(bits - root + ((Bits)BIAS << MANTISSA)) >> MANTISSA);
  const T f = of_bits(bits - (biased << MANTISSA) + ((Bits)BIAS << MANTISSA)) - 1;
  const T k = of_bits(biased + bits_of(ROUNDING)) - ROUNDING - select_value(is_tiny, BIAS + MANTISSA, BIAS);
#ifdef DOUBLE
  const T s = f / (2 + f), z = s * s; /* FreeBSD, e_log.c */
  T p = 1.479819860511658591e-01;
  p = v_fma(p, z, 1.531383769920937332e-01);
  p = v_fma(p, z, 1.818357216161805012e-01);
  p = v_fma(p, z, 2.222219843214978396e-01);
  p = v_fma(p, z, 2.857142874366239149e-01);
  p = v_fma(p, z, 3.999999999940941908e-01);
  p = v_fma(p, z, 6.666666666666735130e-01);
  const T half_square = (T)0.5 * f * f;
  const T rest = v_fma(s, half_square + p * z, k * LN2_LOW);
  T y = v_fma(k, LN2_HIGH, f - (half_square - rest));
#else
  const T z = f * f; /* Cephes, logf */
  T p = 7.0376836292e-2f;
  p = v_fma(p, f, -1.1514610310e-1f);
  p = v_fma(p, f, 1.1676998740e-1f);
  p = v_fma(p, f, -1.2420140846e-1f);
  p = v_fma(p, f, 1.4249322787e-1f);
  p = v_fma(p, f, -1.6668057665e-1f);
  p = v_fma(p, f, 2.0000714765e-1f);
  p = v_fma(p, f, -2.4999993993e-1f);
  p = v_fma(p, f, 3.3333331174e-1f);
  const T rest = v_fma((T)-0.5, z, v_fma(k, LN2_LOW, p * f * z));
  T y = v_fma(k, LN2_HIGH, f + rest);
#endif
  y = select_value(x == INFINITY, x, y);
  y = select_value(x == 0, -INFINITY, y);
  y = select_value(x < 0, NAN, y);
  return select_value(is_nan(x), x, y);
}

INLINE T v_log1p(T x) {
  const T u = 1 + x, correction = (x - (u - 1)) / u;
  T y = v_log(u) + correction;
  y = select_value(u == INFINITY, u, y);
  y = select_value(x == -1, -INFINITY, y);
  return select_value(x == 0, x, y);
}

INLINE T v_asinh(T x) {
  const T size = v_abs(x), limit = (T)1e9, a = select_value(size > limit, limit, size), s = a * a;
  const T near = v_log1p(a + s / (1 + v_sqrt(s + 1))), far = v_log(size) + (T)0.69314718055994531;
  return v_copysign(select_value(size > limit, far, near), x);
}

/* atan(x) = base + atan(t) with |t| below 0.42 or 0.66 (Cephes). */
INLINE T v_atan(T x) {
  const T size = v_abs(x);
  const int is_far = size > (T)2.41421356237309505;
  const int is_middle = size > (MANTISSA == 23 ? (T)0.414213562373095 : (T)0.66);
  const T base = select_value(is_far, (T)1.57079632679489662, select_value(is_middle, (T)0.785398163397448310, 0));
  const T t = select_value(is_far, -1 / size, select_value(is_middle, (size - 1) / (size + 1), size));
  const T z = t * t;
#ifdef DOUBLE
  T p = -8.750608600031904122785e-1, q = z + 2.485846490142306297962e1;
  p = v_fma(p, z, -1.615753718733365076637e1);
  p = v_fma(p, z, -7.500855792314704667340e1);
  p = v_fma(p, z, -1.228866684490136173410e2);
  p = v_fma(p, z, -6.485021904942025371773e1);
  q = v_fma(q, z, 1.650270098316988542046e2);
  q = v_fma(q, z, 4.328810604912902668951e2);
  q = v_fma(q, z, 4.853903996359136964868e2);
  q = v_fma(q, z, 1.945506571482613964425e2);
  const T low = select_value(is_far, 6.123233995736765886130e-17, select_value(is_middle, 3.061616997868382943065e-17, 0));
  const T rest = v_fma(z * (p / q), t, t) + low;
#else
  T p = 8.05374449538e-2f;
  p = v_fma(p, z, -1.38776856032e-1f);
  p = v_fma(p, z, 1.99777106478e-1f);
  p = v_fma(p, z, -3.33329491539e-1f);
  const T rest = v_fma(p * z, t, t);
#endif
  return v_copysign(base + rest, x);
}

/* sin(x + quarters pi / 2). Above `limit`, where numbers are so far apart that they hardly tell
   angles apart, every number counts as 0; infinity gives NaN. */
INLINE T sine(T x, Bits quarters) {
  const T limit = MANTISSA == 23 ? (T)0x1p22 : (T)0x1p48;
  x = select_value(v_abs(x) > limit, x - x, x);
  const T k = v_fma(x, (T)0.636619772367581343, ROUNDING) - ROUNDING;
  const Bits n = rounded(k) + quarters;
#ifdef DOUBLE
  const T r = v_fma(k, -0x1.1a62633145c07p-54, v_fma(k, -0x1.921fb54442d18p0, x)), z = r * r;
  T s = 1.58969099521155010221e-10, c = -1.13596475577881948265e-11; /* FreeBSD, k_sin.c, k_cos.c */
  s = v_fma(s, z, -2.50507602534068634195e-08);
  s = v_fma(s, z, 2.75573137070700676789e-06);
  s = v_fma(s, z, -1.98412698298579493134e-04);
  s = v_fma(s, z, 8.33333333332248946124e-03);
  s = v_fma(s, z, -1.66666666666666324348e-01);
  c = v_fma(c, z, 2.08757232129817482790e-09);
  c = v_fma(c, z, -2.75573143513906633035e-07);
  c = v_fma(c, z, 2.48015872894767294178e-05);
  c = v_fma(c, z, -1.38888888888741095749e-03);
  c = v_fma(c, z, 4.16666666666666019037e-02);
#else
  const T r = v_fma(k, -5.39030253e-15f, v_fma(k, -3.13916473e-7f, v_fma(k, -1.57079601f, x)));
  const T z = r * r;
  T s = 2.86567956e-6f, c = 2.44677067e-5f;
  s = v_fma(s, z, -1.98559923e-4f);
  s = v_fma(s, z, 8.33338592e-3f);
  s = v_fma(s, z, -1.66666672e-1f);
  c = v_fma(c, z, -1.38877297e-3f);
  c = v_fma(c, z, 4.16666567e-2f);
#endif
  const T sin = v_fma(s * z, r, r), cos = v_fma(c, z * z, v_fma(z, (T)-0.5, 1));
  const Bits is_odd = -(n & 1);
  const Bits bits = (bits_of(cos) & is_odd) | (bits_of(sin) & ~is_odd);
  return of_bits(bits ^ (Bits)((Word)(n & 2) << (8 * sizeof(T) - 2)));
}

INLINE T v_sin(T x) { return sine(x, 0); }
INLINE T v_cos(T x) { return sine(x, 1); }

INLINE T v_erf(T x) {
  const T size = v_abs(x), s = x * x;
#ifdef DOUBLE
  const T bounded = select_value(size > 6, 6, size);
  const T u = (bounded - 2) / (bounded + 2);
  T q = -1.1352571477273627e-06; /* exp(x^2) erfc(x), fitted to x in [1, 6] */
  q = v_fma(q, u, 1.272567661840228e-06);
  q = v_fma(q, u, 4.011749647325067e-06);
  q = v_fma(q, u, 1.3058577122278017e-06);
  q = v_fma(q, u, -1.3998283772784976e-05);
  q = v_fma(q, u, -2.7562209161129353e-05);
  q = v_fma(q, u, 2.7527175557227246e-05);
  q = v_fma(q, u, 0.00017435947400205157);
  q = v_fma(q, u, 4.355558686575482e-05);
  q = v_fma(q, u, -0.0009819769411038642);
  q = v_fma(q, u, -0.00084714325299195);
  q = v_fma(q, u, 0.006997461736971578);
  q = v_fma(q, u, 0.0037328924043978336);
  q = v_fma(q, u, -0.07897858101570611);
  q = v_fma(q, u, 0.24165819424246585);
  q = v_fma(q, u, -0.4271858474139585);
  q = v_fma(q, u, 0.25539567631050575);
  const T far = 1 - v_exp(-bounded * bounded) * q;
  T p = -4.230945824295338e-12; /* erf(x) / x - 1, fitted to x^2 in [0, 1] */
  p = v_fma(p, s, 8.709045129053106e-11);
  p = v_fma(p, s, -1.216456005728345e-09);
  p = v_fma(p, s, 1.4792401209404813e-08);
  p = v_fma(p, s, -1.6364642158167616e-07);
  p = v_fma(p, s, 1.6462045441468418e-06);
  p = v_fma(p, s, -1.4925647567519332e-05);
  p = v_fma(p, s, 0.00012055332902888736);
  p = v_fma(p, s, -0.000854832702193483);
  p = v_fma(p, s, 0.0052239776254232985);
  p = v_fma(p, s, -0.02686617064512984);
  p = v_fma(p, s, 0.1128379167095512);
  p = v_fma(p, s, -0.37612638903183754);
  p = v_fma(p, s, 0.1283791670955126);
  const int is_near = size < 1;
#else
  T u = v_fma(-3.88396438e-3f, size, 2.42546219e-2f); /* N. Juffa's two polynomials */
  T r = v_fma(v_fma(-1.72853470e-5f, size, 3.83197126e-4f), s, u);
  r = v_fma(r, size, -1.06777877e-1f);
  r = v_fma(r, size, -6.34846687e-1f);
  r = v_fma(r, size, -1.28717512e-1f);
  r = v_fma(r, size, -size);
  const T far = select_value(size > 4, 1, 1 - v_exp(r));
  T p = -5.96761703e-4f;
  p = v_fma(p, s, 4.99119423e-3f);
  p = v_fma(p, s, -2.67681349e-2f);
  p = v_fma(p, s, 1.12819925e-1f);
  p = v_fma(p, s, -3.76125336e-1f);
  p = v_fma(p, s, 1.28379166e-1f);
  const int is_near = size < 0.927734375f;
#endif
  const T result = select_value(is_near, v_fma(p, x, x), v_copysign(far, x));
  return select_value(is_nan(x), x, result);
}
