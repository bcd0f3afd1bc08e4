/* Products of matrices with blocks. The order of every sum is written here, and depends neither on
   the width of vectors nor on the sizes of the tiles. */

/* WIDTH lanes as a vector of 32 bytes: explicit, because compilers vectorize loops of fixed length
   badly. */
#define WIDTH ((int)(32 / sizeof(T)))
typedef T Vector __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));

/* Before loops of constant length, whose arrays are registers when they are unrolled. */
#define UNROLL _Pragma("GCC unroll 8")

INLINE Vector fused(Vector a, Vector b, Vector c) {
  UNROLL for (int i = 0; i < WIDTH; i++) c[i] = v_fma(a[i], b[i], c[i]);
  return c;
}

INLINE Vector at(const T *lanes, long index) { return ((const Vector *)lanes)[index]; }

/* A vector of one number; and WIDTH sums over vectors at once, as a tree whose shuffles stay in
   halves of a vector but for the last. */
#ifdef DOUBLE
INLINE Vector all(T x) { return (Vector){x, x, x, x}; }

INLINE Vector fold(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
}

INLINE Vector tree(const Vector *p) {
  const Vector a = fold(p[0], p[1]), b = fold(p[2], p[3]);
  return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
}
#else
INLINE Vector all(T x) { return (Vector){x, x, x, x, x, x, x, x}; }

INLINE Vector fold(Vector a, Vector b) {
  return __builtin_shufflevector(a, b, 0, 2, 8, 10, 4, 6, 12, 14) +
         __builtin_shufflevector(a, b, 1, 3, 9, 11, 5, 7, 13, 15);
}

INLINE Vector tree(const Vector *p) {
  const Vector a = fold(fold(p[0], p[1]), fold(p[2], p[3]));
  const Vector b = fold(fold(p[4], p[5]), fold(p[6], p[7]));
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
}
#endif

/* A tile of ROWS x VECTORS vectors of sums stays in the registers of the processor. */
#define ROWS 6
#ifdef __AVX512VL__
#define VECTORS 4
#else
#define VECTORS 2
#endif

/* out[r][lane] = start[r] + sum over s of m[r * row + s * column] in[s][lane], for R rows. With
   `times`, the result is multiplied by times[r][lane]. */
INLINE void product_tile(const int R, int sums, const T *restrict m, long row, long column,
                         const T *restrict in, const T *restrict start, const T *restrict times,
                         T *restrict out) {
  for (int first = 0; first < LANE; first += WIDTH * VECTORS) {
    Vector sum[ROWS][VECTORS];
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = all(start ? start[r] : 0);
    for (int s = 0; s < sums; s++) {
      const T *lanes = in + (long)s * LANE + first, *factors = m + s * column;
      UNROLL for (int r = 0; r < R; r++) {
        const Vector factor = all(factors[r * row]);
        UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = fused(factor, at(lanes, v), sum[r][v]);
      }
    }
    UNROLL for (int r = 0; r < R; r++)
      UNROLL for (int v = 0; v < VECTORS; v++) {
        const long place = (long)r * LANE + first;
        if (times) sum[r][v] *= at(times + place, v);
        ((Vector *)(out + place))[v] = sum[r][v];
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

/* gradient[o] += sum over lanes of x[lane] dz[o][lane] for M <= WIDTH outputs; without x, of dz
   alone. Adds 0 to the numbers after these, up to WIDTH. */
INLINE void narrow_sums(const int M, const Vector *x, const T *restrict dz, T *restrict gradient) {
  Vector partial[WIDTH];
  UNROLL for (int e = 0; e < WIDTH; e++) partial[e] = all(0);
  UNROLL for (int e = 0; e < M; e++) {
    const T *lanes = dz + (long)e * LANE;
    partial[e] = at(lanes, 0);
    if (x) partial[e] *= x[0];
    UNROLL for (int j = 1; j < LANE / WIDTH; j++)
      if (x) partial[e] = fused(x[j], at(lanes, j), partial[e]);
      else partial[e] += at(lanes, j);
  }
  *(Vector *)gradient += tree(partial);
}

INLINE void narrow_row(int outputs, const Vector *x, const T *restrict dz, T *restrict gradient) {
  for (int o = 0; o < outputs; o += WIDTH) {
    const T *columns = dz + (long)o * LANE;
    switch (outputs - o) {
#define CASE(M) case M: narrow_sums(M, x, columns, gradient + o); break;
      CASE(1) CASE(2) CASE(3)
#ifndef DOUBLE
      CASE(4) CASE(5) CASE(6) CASE(7)
#endif
#undef CASE
      default: narrow_sums(WIDTH, x, columns, gradient + o);
    }
  }
}

/* gradient[k][o] += sum over lanes of x[k][lane] dz[o][lane]. */
static void narrow_gradient(int inputs, int outputs, const T *restrict x, const T *restrict dz,
                            T *restrict gradient) {
  for (int k = 0; k < inputs; k++) {
    Vector lanes[LANE / WIDTH];
    UNROLL for (int j = 0; j < LANE / WIDTH; j++) lanes[j] = at(x + (long)k * LANE, j);
    narrow_row(outputs, lanes, dz, gradient + (long)k * outputs);
  }
}

static void bias_gradient(int outputs, const T *restrict dz, T *restrict gradient) {
  narrow_row(outputs, 0, dz, gradient);
}

/* The same for wide layers: the sum over the lanes in their order. `turned` is dz as [lane][o]. */
INLINE void wide_tile(const int R, int outputs, const T *restrict x, const T *restrict turned,
                      T *restrict gradient) {
  Vector sum[ROWS][VECTORS];
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = at(gradient + (long)r * outputs, v);
  for (int i = 0; i < LANE; i++) {
    const T *columns = turned + (long)i * outputs;
    UNROLL for (int r = 0; r < R; r++) {
      const Vector factor = all(x[(long)r * LANE + i]);
      UNROLL for (int v = 0; v < VECTORS; v++) sum[r][v] = fused(factor, at(columns, v), sum[r][v]);
    }
  }
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int v = 0; v < VECTORS; v++) ((Vector *)(gradient + (long)r * outputs))[v] = sum[r][v];
}

static void wide_gradient(int inputs, int outputs, const T *restrict x, const T *restrict dz,
                          T *restrict gradient, T *restrict turned) {
  for (int o = 0; o < outputs; o++)
    for (int i = 0; i < LANE; i++) turned[(long)i * outputs + o] = dz[(long)o * LANE + i];
  int o = 0;
  for (; o + WIDTH * VECTORS <= outputs; o += WIDTH * VECTORS) {
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
