/* Products of matrices with blocks. The order of every sum is written here, and depends neither on
   the width of vectors nor on the sizes of the tiles. */

/* Eight lanes as a vector: explicit, because compilers vectorize loops of fixed length badly. */
typedef T V8 __attribute__((vector_size(8 * sizeof(T)), aligned(sizeof(T)), may_alias));

/* Before loops of constant length, whose arrays are registers when they are unrolled. */
#define UNROLL _Pragma("GCC unroll 8")

INLINE V8 fused(V8 a, V8 b, V8 c) {
  UNROLL for (int i = 0; i < 8; i++) c[i] = v_fma(a[i], b[i], c[i]);
  return c;
}

INLINE V8 all(T x) { return (V8){x, x, x, x, x, x, x, x}; }
INLINE V8 at(const T *lanes, long index) { return ((const V8 *)lanes)[index]; }

/* A tile of ROWS x VECTORS vectors of sums stays in the registers of the processor. */
#define ROWS 6
#ifdef __AVX512VL__
#define VECTORS ((int)(16 / sizeof(T)))
#else
#define VECTORS ((int)(8 / sizeof(T)))
#endif

/* out[r][lane] = start[r] + sum over s of m[r * row + s * column] in[s][lane], for R rows. With
   `times`, the result is multiplied by times[r][lane]. */
INLINE void product_tile(const int R, int sums, const T *restrict m, long row, long column,
                         const T *restrict in, const T *restrict start, const T *restrict times,
                         T *restrict out) {
  for (int first = 0; first < LANE; first += 8 * VECTORS) {
    V8 sum[ROWS][VECTORS];
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = all(start ? start[r] : 0);
    for (int s = 0; s < sums; s++) {
      const T *lanes = in + (long)s * LANE + first, *factors = m + s * column;
      UNROLL for (int r = 0; r < R; r++) {
        const V8 factor = all(factors[r * row]);
        UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = fused(factor, at(lanes, v), sum[r][v]);
      }
    }
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < VECTORS; v++) {
        const long place = (long)r * LANE + first;
        if (times) sum[r][v] *= at(times + place, v);
        ((V8 *)(out + place))[v] = sum[r][v];
      }
  }
}

static void product(int rows, int sums, const T *restrict m, long row, long column,
                    const T *restrict in, const T *restrict start, const T *restrict times,
                    T *restrict out) {
  int r = 0;
#define TILES(R)                                                                                  \
  for (; r + R <= rows; r += R)                                                                   \
    product_tile(R, sums, m + r * row, row, column, in, start ? start + r : 0,                    \
                 times ? times + (long)r * LANE : 0, out + (long)r * LANE);
  TILES(6)
  TILES(4)
  TILES(2)
  TILES(1)
#undef TILES
}

/* Eight sums over the lanes at once: eight partial sums each, then a tree whose shuffles stay in
   halves of a vector but for the last. */
INLINE V8 fold(V8 a, V8 b) {
  return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
}

INLINE V8 tree(const V8 *p) {
  const V8 a = fold(fold(p[0], p[1]), fold(p[2], p[3]));
  const V8 b = fold(fold(p[4], p[5]), fold(p[6], p[7]));
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}

/* gradient[o] += sum over lanes of x[lane] dz[o][lane] for M <= 8 outputs; without x, of dz alone.
   Adds 0 to the numbers after these, up to the eighth. */
INLINE void narrow_sums(const int M, const V8 *x, const T *restrict dz, T *restrict gradient) {
  V8 partial[8];
  UNROLL for (int e = 0; e < 8; e++) partial[e] = all(0);
  UNROLL for (int e = 0; e < M; e++) {
    const T *lanes = dz + (long)e * LANE;
    partial[e] = at(lanes, 0);
    if (x) partial[e] *= x[0];
    UNROLL for (int j = 1; j < LANE / 8; j++)
      if (x) partial[e] = fused(x[j], at(lanes, j), partial[e]);
      else partial[e] += at(lanes, j);
  }
  *(V8 *)gradient += tree(partial);
}

INLINE void narrow_row(int outputs, const V8 *x, const T *restrict dz, T *restrict gradient) {
  for (int o = 0; o < outputs; o += 8) {
    const T *columns = dz + (long)o * LANE;
    switch (outputs - o) {
#define CASE(M) case M: narrow_sums(M, x, columns, gradient + o); break;
      CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7)
#undef CASE
      default: narrow_sums(8, x, columns, gradient + o);
    }
  }
}

/* gradient[k][o] += sum over lanes of x[k][lane] dz[o][lane]. */
static void narrow_gradient(int inputs, int outputs, const T *restrict x, const T *restrict dz,
                            T *restrict gradient) {
  for (int k = 0; k < inputs; k++) {
    V8 lanes[LANE / 8];
    UNROLL for (int j = 0; j < LANE / 8; j++) lanes[j] = at(x + (long)k * LANE, j);
    narrow_row(outputs, lanes, dz, gradient + (long)k * outputs);
  }
}

static void bias_gradient(int outputs, const T *restrict dz, T *restrict gradient) {
  narrow_row(outputs, 0, dz, gradient);
}

/* The same for wide layers: the sum over the lanes in their order. `turned` is dz as [lane][o]. */
INLINE void wide_tile(const int R, int outputs, const T *restrict x, const T *restrict turned,
                      T *restrict gradient) {
  V8 sum[ROWS][VECTORS];
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = at(gradient + (long)r * outputs, v);
  for (int i = 0; i < LANE; i++) {
    const T *columns = turned + (long)i * outputs;
    UNROLL for (int r = 0; r < R; r++) {
      const V8 factor = all(x[(long)r * LANE + i]);
      UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = fused(factor, at(columns, v), sum[r][v]);
    }
  }
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int v = 0; v < VECTORS; v++) ((V8 *)(gradient + (long)r * outputs))[v] = sum[r][v];
}

static void wide_gradient(int inputs, int outputs, const T *restrict x, const T *restrict dz,
                          T *restrict gradient, T *restrict turned) {
  for (int o = 0; o < outputs; o++)
    for (int i = 0; i < LANE; i++) turned[(long)i * outputs + o] = dz[(long)o * LANE + i];
  int o = 0;
  for (; o + 8 * VECTORS <= outputs; o += 8 * VECTORS) {
    int k = 0;
#define TILES(R)                                                                                  \
  for (; k + R <= inputs; k += R)                                                                 \
    wide_tile(R, outputs, x + (long)k * LANE, turned + o, gradient + (long)k * outputs + o);
    TILES(6)
    TILES(4)
    TILES(1)
#undef TILES
  }
  for (int k = 0; k < inputs; k++)
    for (int c = o; c < outputs; c++) {
      T sum = gradient[(long)k * outputs + c];
      for (int i = 0; i < LANE; i++)
        sum = v_fma(x[(long)k * LANE + i], turned[(long)i * outputs + c], sum);
      gradient[(long)k * outputs + c] = sum;
    }
}

/* The sum of the first n lanes, in eight partial sums and a tree; the others may be NaN. */
INLINE double sum_of_lanes(const T *lanes, int n) {
  double partial[8] = {0};
  T used[LANE];
  EACH(i, LANE) used[i] = select_value(i < n, lanes[i], 0);
  for (int first = 0; first < LANE; first += 8)
    UNROLL for (int i = 0; i < 8; i++) partial[i] += (double)used[first + i];
  for (int half = 4; half; half /= 2)
    for (int i = 0; i < half; i++) partial[i] += partial[i + half];
  return partial[0];
}
