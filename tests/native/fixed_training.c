/* One fixed training without Python, to count its instructions: a 2-6-6-2 tanh network,
   cross-entropy, Adam, 500 points, batches of 32, each epoch evaluated. Compiled behind the kernel
   and the functions of the components. Arguments: epochs, members, threads, and, if there is a
   fourth, 1 or 2 for layer or batch normalization, with dropout. Prints a hash of the weights. */
#include <stdio.h>

enum { POINTS = 500, LAYERS = 3, WEIGHTS = 18 + 42 + 14, COLUMNS_OF_ROW = 10, PER_EPOCH = 16 };

static double next_number(uint64_t *state) { /* uniform in [-1, 1) */
  *state += GOLDEN;
  return (double)(mixed(*state) >> 11) * 0x1p-52 - 1;
}

static void *zeros(size_t count, size_t size) {
  void *memory;
  if (posix_memalign(&memory, 128, count * size + 128)) abort();
  return memset(memory, 0, count * size + 128);
}

/* Adds normalization of the hidden layers, whose parameters are behind the others, and dropout. */
static void normalize_and_drop(Population *p, int kind) {
  static const int scales[] = {WEIGHTS, WEIGHTS + 12, -1}, shifts[] = {WEIGHTS + 6, WEIGHTS + 18, -1};
  T **all[] = {zeros(2 * LAYERS, sizeof(T *)), zeros(2 * LAYERS, sizeof(T *)),
               zeros(2 * LAYERS, sizeof(T *))};
  double *rates = zeros((size_t)p->num_members * LAYERS, sizeof(double));
  for (int i = 0; i < p->num_members * LAYERS; i++) rates[i] = i % LAYERS < 2 ? 0.2 : 0;
  for (int list = 0; list < 3; list++)
    for (int i = 0; i < 4; i++) all[list][i] = zeros((size_t)p->num_members * 6, sizeof(T));
  p->num_parameters += 24, p->norm_scales = scales, p->norm_shifts = shifts;
  p->dropout = rates, p->dropout_keys = p->keys;
  if (kind == 2) p->buffers = all[0], p->best_buffers = all[1], p->last_buffers = all[2];
}

int main(int count, char **arguments) {
  const int epochs = count > 1 ? atoi(arguments[1]) : 10, members = count > 2 ? atoi(arguments[2]) : 1;
  const int blocks = (POINTS + LANE - 1) / LANE;
  const int widths[] = {2, 6, 6, 2}, weights[] = {0, 18, 60}, biases[] = {12, 54, 72};
  const int learned[] = {-1, -1, -1};
  Activation activations[] = {activation_tanh, activation_tanh};
  ActivationValue values[] = {activation_tanh_value, activation_tanh_value};
  uint64_t state = 1;
  Population p = {0};
  p.num_members = members, p.num_layers = LAYERS, p.num_outputs = 2, p.num_parameters = WEIGHTS;
  p.num_states = 2, p.num_columns = COLUMNS_OF_ROW, p.batch_size = 32, p.num_train = p.num_used = POINTS;
  p.per_epoch = PER_EPOCH, p.evaluate_every = 1, p.shuffle = 1, p.is_shared = p.is_weight_shared = 1;
  p.monitor_sign = 1, p.num_events = epochs, p.last_step = (int64_t)epochs * PER_EPOCH;
  p.widths = widths, p.weights = weights, p.biases = biases, p.learned = learned;
  p.activations = activations, p.activation_values = values, p.optimizer = optimizer_adam;
  p.loss = (Loss)loss_cross_entropy, p.loss_value = (LossValue)loss_cross_entropy_value;
  T *x = zeros(POINTS * 2, sizeof(T)), *train_x = zeros(blocks * 2 * LANE, sizeof(T));
  int *y = zeros(POINTS, sizeof(int)), *train_y = zeros(blocks * LANE, sizeof(int));
  for (int e = 0; e < POINTS; e++) {
    const int block = e / LANE, lane = e % LANE;
    for (int f = 0; f < 2; f++)
      train_x[(block * 2 + f) * LANE + lane] = x[e * 2 + f] = (T)next_number(&state);
    train_y[e] = y[e] = x[e * 2] * x[e * 2] + x[e * 2 + 1] * x[e * 2 + 1] < 0.6;
  }
  p.x = x, p.y = y, p.train_x = train_x, p.train_y = train_y;
  double *numbers = zeros((size_t)members * LAYERS * NUMBERS, sizeof(double));
  double *adam = zeros((size_t)members * NUMBERS, sizeof(double));
  double *lr = zeros((size_t)members * epochs, sizeof(double));
  int64_t *ends = zeros(members, 8), *patience = zeros(members, 8), *keys = zeros(members, 8);
  double *best = zeros(members, 8);
  p.keys = keys;
  if (count > 4) normalize_and_drop(&p, atoi(arguments[4]));
  const size_t matrix = (size_t)members * p.num_parameters;
  char *states[] = {zeros(matrix, sizeof(T)), zeros(matrix, sizeof(T))};
  const int64_t state_sizes[] = {p.num_parameters * sizeof(T), p.num_parameters * sizeof(T)};
  p.theta = zeros(matrix, sizeof(T));
  for (int k = 0; k < members; k++) {
    adam[k * NUMBERS] = 0.9, adam[k * NUMBERS + 1] = 0.999, adam[k * NUMBERS + 2] = 1e-8;
    ends[k] = p.last_step, patience[k] = INT64_MAX, keys[k] = k, best[k] = INFINITY;
    for (int q = 0; q < p.num_parameters; q++)
      p.theta[k * p.num_parameters + q] = (T)next_number(&state);
  }
  for (int u = 0; u < members * epochs; u++) lr[u] = 0.01;
  int64_t *events = zeros(epochs + 1, 8);
  for (int e = 0; e < epochs; e++) events[e] = (int64_t)(e + 1) * PER_EPOCH;
  p.activation_numbers = p.loss_numbers = numbers, p.optimizer_numbers = adam, p.lr = lr;
  p.ends = ends, p.patience = patience, p.best_value = best, p.states = states;
  p.state_sizes = state_sizes;
  p.min_delta = zeros(members, 8), p.starts = zeros(members, 8), p.best_step = zeros(members, 8);
  p.last_evaluated = zeros(members, 8), p.since_best = zeros(members, 8);
  p.state = zeros(members, 8), p.diverged_step = zeros(members, 8), p.events = events;
  p.best_theta = zeros(matrix, sizeof(T)), p.last_theta = zeros(matrix, sizeof(T));
  p.objectives = zeros((size_t)members * PER_EPOCH, sizeof(T));
  p.rows = zeros((size_t)members * epochs * COLUMNS_OF_ROW, sizeof(double));
  p.evaluated = zeros((size_t)members * epochs, 1);
  p.seconds = zeros(members, 8);
  const Population *populations[] = {&p};
  if (!run(populations, 1, count > 3 ? atoi(arguments[3]) : 1)) return 1;
  uint64_t hash = 0;
  for (size_t q = 0; q < matrix; q++) hash = mixed(hash + (uint64_t)bits_of(p.theta[q]));
  const double *row = p.rows + (size_t)(epochs - 1) * COLUMNS_OF_ROW;
  printf("%016llx loss %.6f accuracy %.3f\n", (unsigned long long)hash, row[0], row[1]);
  return 0;
}
