/* The order of the examples in an epoch: mlplab.randomness.ExampleOrder, for one member. */
#define GOLDEN 0x9E3779B97F4A7C15ull
#define MAX_RANKED 32
#define MIN_FEW_ROUNDS 128

typedef struct {
  uint32_t num_examples, rows, columns, num_pairs;
  uint32_t *shifts; /* of all rounds; the ranks if there are at most MAX_RANKED examples */
} Order;

INLINE uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

/* The grid that randomness.grid_shape chooses. */
static void choose_grid(Order *order) {
  const uint32_t n = order->num_examples;
  uint32_t root = (uint32_t)sqrt((double)n);
  while ((uint64_t)root * root > n) root--;
  while ((uint64_t)(root + 1) * (root + 1) <= n) root++;
  order->rows = order->columns = 0;
  for (uint32_t rows = root + 1; rows > 1; rows--) {
    uint32_t columns = (n + rows - 1) / rows;
    if (columns < rows) columns = rows;
    columns += (rows & 1) & (columns & 1);
    if (columns > 2 * rows) break;
    if (!order->rows || (uint64_t)rows * columns < (uint64_t)order->rows * order->columns) {
      order->rows = rows;
      order->columns = columns;
    }
  }
  order->num_pairs = n >= MIN_FEW_ROUNDS ? 4 : 6;
}

static size_t order_size(uint32_t num_examples) {
  Order order = {num_examples};
  if (num_examples <= MAX_RANKED) return MAX_RANKED;
  choose_grid(&order);
  return (size_t)order.num_pairs * (order.rows + order.columns);
}

static void start_epoch(Order *order, uint64_t key, uint64_t epoch) {
  const uint32_t n = order->num_examples;
  if (n <= MAX_RANKED) {
    int64_t number[MAX_RANKED];
    for (uint32_t i = 0; i < n; i++)
      number[i] = ((int64_t)mixed(key + (epoch * n + i) * GOLDEN) & -MAX_RANKED) | i;
    for (uint32_t i = 0; i < n; i++) {
      order->shifts[i] = 0;
      for (uint32_t j = 0; j < n; j++) order->shifts[i] += number[j] < number[i];
    }
    return;
  }
  const uint32_t per_pair = order->rows + order->columns;
  uint64_t counter = key + epoch * order->num_pairs * per_pair * GOLDEN;
  uint32_t *shifts = order->shifts;
  for (uint32_t pair = 0; pair < order->num_pairs; pair++, shifts += per_pair)
    for (uint32_t half = 0; half < 2; half++) {
      const uint32_t from = half ? order->columns : 0, to = half ? per_pair : order->columns;
      const uint64_t size = half ? order->columns : order->rows;
      for (uint32_t i = from; i < to; i++)
        shifts[i] = (uint32_t)((mixed(counter + (uint64_t)i * GOLDEN) >> 32) * size >> 32);
      if (half) counter += (uint64_t)per_pair * GOLDEN;
    }
}

INLINE uint32_t wrapped(uint32_t sum, uint32_t size) {
  const uint32_t reduced = sum - size;
  return reduced < sum ? reduced : sum;
}

/* One pass of all rounds over a block of cells. */
INLINE void permute(const Order *order, uint32_t *restrict row, uint32_t *restrict column, int n) {
  const uint32_t rows = order->rows, columns = order->columns;
  const uint32_t *restrict shifts = order->shifts;
  for (uint32_t pair = 0; pair < order->num_pairs; pair++, shifts += rows + columns)
    for (int i = 0; i < n; i++) {
      row[i] = wrapped(row[i] + shifts[column[i]], rows);
      column[i] = wrapped(column[i] + shifts[columns + row[i]], columns);
    }
}

/* The examples at positions first, ..., first + n - 1; the idle lanes repeat one of them. */
static void order_block(const Order *restrict order, uint32_t first, int n,
                        uint32_t *restrict index) {
  if (order->num_examples <= MAX_RANKED) {
    for (int i = 0; i < LANE; i++) index[i] = order->shifts[first + (i < n ? i : 0)];
    return;
  }
  uint32_t row[LANE], column[LANE], outside = 0;
  uint32_t at_row = first / order->columns, at_column = first % order->columns;
  for (int i = 0; i < LANE; i++) {
    row[i] = at_row;
    column[i] = at_column;
    if (i + 1 < n && ++at_column == order->columns) at_column = 0, at_row++;
  }
  permute(order, row, column, LANE);
  for (int i = 0; i < LANE; i++) {
    index[i] = row[i] * order->columns + column[i];
    outside |= index[i] >= order->num_examples;
  }
  for (int i = 0; outside && i < LANE; i++)
    while (index[i] >= order->num_examples) {
      uint32_t cell_row = index[i] / order->columns, cell_column = index[i] % order->columns;
      permute(order, &cell_row, &cell_column, 1);
      index[i] = cell_row * order->columns + cell_column;
    }
}
