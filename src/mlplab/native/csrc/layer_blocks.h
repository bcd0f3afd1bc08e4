/* Layers of blocks: affine maps of a few columns of the layer's input each, and copies. Only the
   weights of the affine blocks are in theta. */

/* `count` consecutive blocks of one size. Each reads `inputs` columns, the first one from `start`
   and the next one after it, and fills `outputs` units of the layer, from `first` on. `weight` and
   `bias` are the offsets in theta of their parameters, -1 if they have none; blocks without weights
   copy. Python fills this: see native_layers.py. */
typedef struct {
  int count, start, inputs, first, outputs, weight, bias;
} LayerBlocks;

INLINE const LayerBlocks *blocks_of(const Population *p, int layer, int *count) {
  *count = p->first_blocks ? p->first_blocks[layer + 1] - p->first_blocks[layer] : 0;
  return *count ? (const LayerBlocks *)p->layer_blocks + p->first_blocks[layer] : 0;
}

INLINE int has_blocks(const Population *p, int layer) {
  int count;
  return blocks_of(p, layer, &count) != 0;
}

INLINE void load_lanes(const T *lanes, Vector *to) {
  UNROLL for (int v = 0; v < LANE / WIDTH; v++) to[v] = at(lanes, v);
}

/* z[o] = w[o] x[j] + b[o] for the outputs o of each block j, which has one input. */
static void scale_rows(int count, int outputs, const T *restrict w, const T *restrict b,
                       const T *restrict x, T *restrict z) {
  for (int j = 0; j < count; j++) {
    Vector lanes[LANE / WIDTH];
    load_lanes(x + (long)j * LANE, lanes);
    for (int o = j * outputs; o < (j + 1) * outputs; o++) {
      const Vector factor = all(w[o]), shift = all(b ? b[o] : 0);
      Vector *rows = (Vector *)(z + (long)o * LANE);
      UNROLL for (int v = 0; v < LANE / WIDTH; v++) rows[v] = fused(factor, lanes[v], shift);
    }
  }
}

/* gradient[j] += sum over lanes of x[j][lane] dz[j][lane]. */
static void diagonal_gradient(int count, const T *restrict x, const T *restrict dz,
                              T *restrict gradient) {
  int j = 0;
  for (; j + WIDTH <= count; j += WIDTH) {
    Vector partial[WIDTH];
    UNROLL for (int e = 0; e < WIDTH; e++) {
      const T *a = x + (long)(j + e) * LANE, *b = dz + (long)(j + e) * LANE;
      partial[e] = at(a, 0) * at(b, 0);
      UNROLL for (int v = 1; v < LANE / WIDTH; v++) partial[e] = fused(at(a, v), at(b, v), partial[e]);
    }
    *(Vector *)(gradient + j) += tree(partial);
  }
  for (; j < count; j++) {
    Vector lanes[LANE / WIDTH];
    load_lanes(x + (long)j * LANE, lanes);
    narrow_sums(1, lanes, dz + (long)j * LANE, gradient + j);
  }
}

/* The pre-activations of a layer of blocks; those of copies are their inputs. */
static void blocks_forward(const Population *p, int layer, const T *theta, const T *x, T *z) {
  int count;
  const LayerBlocks *blocks = blocks_of(p, layer, &count);
  for (const LayerBlocks *b = blocks; b < blocks + count; b++) {
    const T *in = x + (long)b->start * LANE, *bias = b->bias < 0 ? 0 : theta + b->bias;
    T *out = z + (long)b->first * LANE;
    if (b->weight < 0)
      memcpy(out, in, (size_t)b->count * b->outputs * LANE * sizeof(T));
    else if (b->inputs == 1)
      scale_rows(b->count, b->outputs, theta + b->weight, bias, in, out);
    else
      for (int j = 0; j < b->count; j++)
        product(b->outputs, b->inputs, theta + b->weight + (long)j * b->inputs * b->outputs, 1,
                b->outputs, in + (long)j * b->inputs * LANE, bias ? bias + j * b->outputs : 0, 0,
                out + (long)j * b->outputs * LANE);
  }
}

/* Runs ACTIVATIONS for each range of units that have an activation, and COPIES for those between
   them: from the unit `first` on, with `n` numbers in all lanes. */
#define UNITS_OF_BLOCKS(p, layer, ACTIVATIONS, COPIES)                                            \
  do {                                                                                            \
    int count_, first = 0, end = 0;                                                               \
    const LayerBlocks *blocks_ = blocks_of(p, layer, &count_);                                    \
    for (int i_ = 0; i_ <= count_; i_++) {                                                        \
      const LayerBlocks *b_ = blocks_ + i_;                                                       \
      const int is_affine = i_ < count_ && b_->weight >= 0;                                       \
      if (is_affine) {                                                                            \
        end = b_->first + b_->count * b_->outputs;                                                \
        continue;                                                                                 \
      }                                                                                           \
      if (end > first) {                                                                          \
        const int n = (end - first) * LANE;                                                       \
        ACTIVATIONS;                                                                              \
      }                                                                                           \
      if (i_ == count_) break;                                                                    \
      first = b_->first;                                                                          \
      const int n = b_->count * b_->outputs * LANE;                                               \
      COPIES;                                                                                     \
      first = end = b_->first + b_->count * b_->outputs;                                          \
    }                                                                                             \
  } while (0)

/* The outputs of a layer of blocks, and with d their derivatives. */
static void activate_blocks(const Population *p, int layer, const T *z, T *h, T *d,
                            const double *numbers) {
  UNITS_OF_BLOCKS(
      p, layer,
      {
        const long at_unit = (long)first * LANE;
        if (d)
          p->activations[layer](n, z + at_unit, h + at_unit, d + at_unit, numbers);
        else
          p->activation_values[layer](n, z + at_unit, h + at_unit, numbers);
      },
      {
        const long at_unit = (long)first * LANE;
        memcpy(h + at_unit, z + at_unit, n * sizeof(T));
        if (d) EACH(q, n) d[at_unit + q] = 1;
      });
}

/* Writes 0 to the derivatives of copies by what the activation learns. */
static void clear_copies(const Population *p, int layer, T *slopes) {
  UNITS_OF_BLOCKS(p, layer, {}, memset(slopes + (long)first * LANE, 0, n * sizeof(T)));
}

static void blocks_gradient(const Population *p, int layer, const T *x, const T *dz, T *gradient,
                            T *turned) {
  int count;
  const LayerBlocks *blocks = blocks_of(p, layer, &count);
  for (const LayerBlocks *b = blocks; b < blocks + count; b++) {
    if (b->weight < 0) continue;
    const T *in = x + (long)b->start * LANE, *out = dz + (long)b->first * LANE;
    T *sums = gradient + b->weight;
    if (b->bias >= 0) bias_gradient(b->count * b->outputs, out, gradient + b->bias);
    if (b->inputs == 1 && b->outputs == 1) {
      diagonal_gradient(b->count, in, out, sums);
      continue;
    }
    for (int j = 0; j < b->count; j++, in += (long)b->inputs * LANE) {
      if (b->inputs < 4 || b->outputs < NARROW)
        narrow_gradient(b->inputs, b->outputs, in, out, sums);
      else
        wide_gradient(b->inputs, b->outputs, in, out, sums, turned);
      out += (long)b->outputs * LANE;
      sums += b->inputs * b->outputs;
    }
  }
}

/* to[i][lane] of each input of the blocks, times `times` if it is given. Columns that several
   blocks read, or none, need the sum of these: `is_partition` says that there are none. */
static void blocks_backward(const Population *p, int layer, const T *theta, const T *dz,
                            const T *times, T *to, T *memory) {
  int count;
  const int width = p->widths[layer] * LANE, is_partition = p->are_partitions[layer];
  const LayerBlocks *blocks = blocks_of(p, layer, &count);
  if (!is_partition) memset(to, 0, width * sizeof(T));
  for (const LayerBlocks *b = blocks; b < blocks + count; b++)
    for (int j = 0; j < b->count; j++) {
      const int column = b->start + j * b->inputs, n = b->inputs * LANE;
      const T *out = dz + (long)(b->first + j * b->outputs) * LANE;
      const T *factors = times && is_partition ? times + (long)column * LANE : 0;
      T *restrict sums = to + (long)column * LANE, *restrict terms = is_partition ? sums : memory;
      if (b->weight < 0) {
        if (!is_partition)
          EACH(q, n) sums[q] += out[q];
        else
          EACH(q, n) sums[q] = factors ? factors[q] * out[q] : out[q];
        continue;
      }
      product(b->inputs, b->outputs, theta + b->weight + (long)j * b->inputs * b->outputs,
              b->outputs, 1, out, 0, factors, terms);
      if (!is_partition) EACH(q, n) sums[q] += memory[q];
    }
  if (times && !is_partition) EACH(q, width) to[q] *= times[q];
}
