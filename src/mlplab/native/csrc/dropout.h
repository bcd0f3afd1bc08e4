/* Dropout, with the masks of mlplab.network.mlp.Dropout: functions of (key, step, layer). */
#ifdef DOUBLE
#define RANDOM_BITS 53 /* of a uniform number, as in mlplab.randomness.uniforms */
#else
#define RANDOM_BITS 24
#endif

INLINE uint64_t dropout_stream(uint64_t key, uint64_t step, int num_layers, int layer) {
  return mixed(key + mixed((step * num_layers + layer) * GOLDEN));
}

/* Drops some values of a block whose first example is number `first` of the batch, and of their
   derivatives unless they are 0; the others are divided by the fraction that stays. */
static void drop_outputs(int units, uint64_t stream, uint64_t first, double rate, T *values,
                         T *derivatives) {
  const uint64_t bound = (uint64_t)ceil((double)(T)rate * (double)(1ull << RANDOM_BITS));
  const T factor = (T)(1 / (1 - rate));
  T *blocks[] = {values, derivatives};
  for (int u = 0; u < units; u++) {
    Word random[LANE];
    for (int i = 0; i < LANE; i++)
      random[i] = (Word)(mixed(stream + ((first + i) * units + u + 1) * GOLDEN) >>
                         (64 - RANDOM_BITS));
    for (int block = 0; block < 2 && blocks[block]; block++) {
      T *restrict row = blocks[block] + (size_t)u * LANE;
      EACH(i, LANE) row[i] = select_value(random[i] >= (Word)bound, row[i] * factor, 0);
    }
  }
}
