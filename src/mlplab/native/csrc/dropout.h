/* Dropout, with the masks of mlplab.network.mlp.Dropout: functions of (key, step, layer). */
#ifdef DOUBLE
#define RANDOM_BITS 53 /* of a uniform number, as in mlplab.randomness.uniforms */
#else
#define RANDOM_BITS 24
#endif

INLINE uint64_t dropout_stream(uint64_t key, uint64_t step, int num_layers, int layer) {
  return mixed(key + mixed((step * num_layers + layer) * GOLDEN));
}

/* Drops some outputs of a layer in a block whose first example is number `first` of the batch:
   changes the values and their derivatives. */
static void drop_outputs(int units, uint64_t stream, uint64_t first, double rate, T *restrict h,
                         T *restrict d) {
  const uint64_t bound = (uint64_t)ceil((double)(T)rate * (double)(1ull << RANDOM_BITS));
  const T factor = (T)(1 / (1 - rate));
  for (int u = 0; u < units; u++) {
    Word random[LANE];
    T *restrict values = h + (size_t)u * LANE, *restrict derivatives = d + (size_t)u * LANE;
    for (int i = 0; i < LANE; i++)
      random[i] = (Word)(mixed(stream + ((first + i) * units + u + 1) * GOLDEN) >>
                         (64 - RANDOM_BITS));
    EACH(i, LANE) {
      const int is_kept = random[i] >= (Word)bound;
      values[i] = select_value(is_kept, values[i] * factor, 0);
      derivatives[i] = select_value(is_kept, derivatives[i] * factor, 0);
    }
  }
}
