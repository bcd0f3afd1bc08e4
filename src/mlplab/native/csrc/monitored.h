/* A monitored metric that is not among those of every evaluation: mlplab.metrics. */
enum { NONE, BALANCED_ACCURACY, F1, MCC, MAPE, OUTSIDE }; /* OUTSIDE: the caller computes it */

INLINE int num_classes(const Population *p) { return p->num_outputs == 1 ? 2 : p->num_outputs; }

INLINE int is_of_counts(int metric) {
  return metric == BALANCED_ACCURACY || metric == F1 || metric == MCC;
}

/* What the metric needs of the examples of a split. */
typedef struct {
  int64_t *counts; /* [C][C] examples by class and predicted class */
  T *outputs;      /* [N][C] */
  double sum;      /* of the errors in mape */
  T nothing;       /* 0, or NaN if an output is not finite */
} Monitored;

static void start_monitored(const Population *p, Monitored *monitored) {
  const size_t classes = num_classes(p);
  monitored->sum = monitored->nothing = 0;
  if (is_of_counts(p->metric)) memset(monitored->counts, 0, classes * classes * sizeof(int64_t));
}

static void add_counts(const Population *p, Monitored *monitored, const T *z, const int *y,
                       const int *predicted, const T *mask, int n) {
  for (int i = 0; i < n; i++)
    if (!mask || mask[i] != 0) monitored->counts[y[i] * num_classes(p) + predicted[i]]++;
  for (int c = 0; c < p->num_outputs; c++)
    for (int i = 0; i < n; i++) monitored->nothing += z[c * LANE + i] * 0;
}

static void add_outputs(const Population *p, Monitored *monitored, const T *z, size_t first,
                        int n) {
  for (int i = 0; i < n; i++)
    for (int c = 0; c < p->num_outputs; c++)
      monitored->outputs[(first + i) * p->num_outputs + c] = z[c * LANE + i];
}

static double metric_of_counts(const Population *p, const int64_t *counts) {
  const int classes = num_classes(p);
  double recall = 0, f1 = 0, occurring = 0, seen = 0, all_hits = 0, total = 0;
  double both = 0, actual_squares = 0, predicted_squares = 0;
  for (int c = 0; c < classes; c++) {
    double actual = 0, predicted = 0, hits = counts[c * classes + c];
    for (int other = 0; other < classes; other++) {
      actual += counts[c * classes + other];
      predicted += counts[other * classes + c];
    }
    recall += actual > 0 ? hits / actual : 0;
    f1 += actual + predicted > 0 ? 2 * hits / (actual + predicted) : 0;
    occurring += actual > 0;
    seen += actual + predicted > 0;
    all_hits += hits;
    total += actual;
    both += actual * predicted;
    actual_squares += actual * actual;
    predicted_squares += predicted * predicted;
  }
  if (p->metric == BALANCED_ACCURACY) return recall / occurring;
  if (p->metric == F1) return f1 / seen;
  const double variance = (total * total - predicted_squares) * (total * total - actual_squares);
  return variance > 0 ? (all_hits * total - both) / sqrt(variance) : 0;
}

/* The metric of a split with `count` examples that are no padding. */
static double monitored_metric(const Population *p, const Monitored *monitored, int k, int is_val,
                               double count) {
  if (p->metric == OUTSIDE) return p->outside(k, is_val, monitored->outputs);
  if (p->metric == MAPE) return monitored->sum / (count * p->num_targets);
  return metric_of_counts(p, monitored->counts) + monitored->nothing;
}
