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

/* The same for WIDTH inputs at once and one output: the sums are those of narrow_sums. */
INLINE void narrow_column(const T *restrict x, const Vector *dz, T *restrict gradient, long step) {
  Vector partial[WIDTH];
  T sums[WIDTH];
  UNROLL for (int e = 0; e < WIDTH; e++) {
    const T *lanes = x + (long)e * LANE;
    partial[e] = at(lanes, 0) * dz[0];
    UNROLL for (int j = 1; j < LANE / WIDTH; j++) partial[e] = fused(at(lanes, j), dz[j], partial[e]);
  }
  *(Vector *)sums = tree(partial);
  UNROLL for (int e = 0; e < WIDTH; e++) gradient[e * step] += sums[e];
}

/* gradient[k][o] += sum over lanes of x[k][lane] dz[o][lane]. */
INLINE void narrow_gradient(int inputs, int outputs, const T *restrict x, const T *restrict dz,
                            T *restrict gradient) {
  const int whole = outputs < WIDTH ? inputs - inputs % WIDTH : 0;
  for (int o = 0; o < outputs && whole; o++) {
    Vector lanes[LANE / WIDTH];
    UNROLL for (int j = 0; j < LANE / WIDTH; j++) lanes[j] = at(dz + (long)o * LANE, j);
    for (int k = 0; k < whole; k += WIDTH)
      narrow_column(x + (long)k * LANE, lanes, gradient + (long)k * outputs + o, outputs);
  }
  for (int k = whole; k < inputs; k++) {
    Vector lanes[LANE / WIDTH];
    UNROLL for (int j = 0; j < LANE / WIDTH; j++) lanes[j] = at(x + (long)k * LANE, j);
    narrow_row(outputs, lanes, dz, gradient + (long)k * outputs);
  }
}

static void bias_gradient(int outputs, const T *restrict dz, T *restrict gradient) {
  narrow_row(outputs, 0, dz, gradient);
}

/* WIDTH rows of WIDTH numbers, the distance of whose starts is `stride`, as columns. */
INLINE void turn(const T *restrict rows, long stride, T *restrict columns, long step) {
  Vector r[WIDTH], t[WIDTH], out[WIDTH];
  UNROLL for (int e = 0; e < WIDTH; e++) r[e] = at(rows + e * stride, 0);
#ifdef DOUBLE
  UNROLL for (int e = 0; e < WIDTH; e += 2) {
    t[e] = __builtin_shufflevector(r[e], r[e + 1], 0, 4, 2, 6);
    t[e + 1] = __builtin_shufflevector(r[e], r[e + 1], 1, 5, 3, 7);
  }
  UNROLL for (int e = 0; e < 2; e++) {
    out[e] = __builtin_shufflevector(t[e], t[e + 2], 0, 1, 4, 5);
    out[e + 2] = __builtin_shufflevector(t[e], t[e + 2], 2, 3, 6, 7);
  }
#else
  UNROLL for (int e = 0; e < WIDTH; e += 2) {
    t[e] = __builtin_shufflevector(r[e], r[e + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[e + 1] = __builtin_shufflevector(r[e], r[e + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  UNROLL for (int e = 0; e < WIDTH; e += 4)
    UNROLL for (int f = 0; f < 2; f++) {
      const Vector a = t[e + f], b = t[e + f + 2];
      r[e + 2 * f] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      r[e + 2 * f + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  UNROLL for (int e = 0; e < 4; e++) {
    out[e] = __builtin_shufflevector(r[e], r[e + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    out[e + 4] = __builtin_shufflevector(r[e], r[e + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#endif
  UNROLL for (int e = 0; e < WIDTH; e++) *(Vector *)(columns + e * step) = out[e];
}

/* The same sums for wide layers, over the lanes in their order. `turned` is dz as [lane][o], a row
   of `stride` numbers; so is a row of the gradient. A tile has R inputs and V vectors of outputs. */
INLINE void wide_tile(const int R, const int V, long stride, const T *restrict x,
                      const T *restrict turned, T *restrict gradient) {
  Vector sum[ROWS][VECTORS];
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int v = 0; v < V; v++) sum[r][v] = at(gradient + r * stride, v);
  for (int i = 0; i < LANE; i++) {
    const T *columns = turned + i * stride;
    UNROLL for (int r = 0; r < R; r++) {
      const Vector factor = all(x[(long)r * LANE + i]);
      UNROLL for (int v = 0; v < V; v++) sum[r][v] = fused(factor, at(columns, v), sum[r][v]);
    }
  }
  UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int v = 0; v < V; v++) ((Vector *)(gradient + r * stride))[v] = sum[r][v];
}

/* A tile of the last outputs, which are fewer than a vector; `padded` has their columns of `turned`
   as [lane][WIDTH]. */
INLINE void last_tile(const int R, int columns, long stride, const T *restrict x,
                      const T *restrict padded, T *restrict gradient) {
  T sums[ROWS * WIDTH] = {0};
  for (int r = 0; r < R; r++)
    for (int c = 0; c < columns; c++) sums[r * WIDTH + c] = gradient[r * stride + c];
  wide_tile(R, 1, WIDTH, x, padded, sums);
  for (int r = 0; r < R; r++)
    for (int c = 0; c < columns; c++) gradient[r * stride + c] = sums[r * WIDTH + c];
}

INLINE void wide_gradient(int inputs, int outputs, const T *restrict x, const T *restrict dz,
                          T *restrict gradient, T *restrict turned) {
  const int whole = outputs - outputs % WIDTH, rest = outputs - whole;
  T padded[LANE * WIDTH] = {0};
  for (int i = 0; i < LANE; i += WIDTH)
    for (int o = 0; o < whole; o += WIDTH)
      turn(dz + (long)o * LANE + i, LANE, turned + (long)i * outputs + o, outputs);
  for (int c = 0; c < rest; c++)
    for (int i = 0; i < LANE; i++) padded[i * WIDTH + c] = dz[(long)(whole + c) * LANE + i];
#define TILES(R, TILE)                                                                            \
  for (; k + R <= inputs; k += R) {                                                               \
    const T *rows = x + (long)k * LANE;                                                           \
    T *sums = gradient + (long)k * outputs;                                                       \
    TILE;                                                                                         \
  }
#define ALL_TILES(V)                                                                              \
  for (; o + WIDTH * V <= outputs; o += WIDTH * V) {                                              \
    int k = 0;                                                                                    \
    TILES(6, wide_tile(6, V, outputs, rows, turned + o, sums + o))                                \
    TILES(4, wide_tile(4, V, outputs, rows, turned + o, sums + o))                                \
    TILES(1, wide_tile(1, V, outputs, rows, turned + o, sums + o))                                \
  }
  int o = 0, k = 0;
  ALL_TILES(VECTORS)
  ALL_TILES(1)
  if (!rest) return;
  TILES(6, last_tile(6, rest, outputs, rows, padded, sums + o))
  TILES(4, last_tile(4, rest, outputs, rows, padded, sums + o))
  TILES(1, last_tile(1, rest, outputs, rows, padded, sums + o))
#undef ALL_TILES
#undef TILES
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
