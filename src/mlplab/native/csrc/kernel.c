/* Trains the members of groups, one at a time in the processor's cache, on several threads. The
   structure of the networks is known only at run time; the functions of the components are called
   through pointers. */
#include "functions.h"
#include <float.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void (*Activation)(int, const T *, T *, T *, const double *);
typedef void (*ActivationValue)(int, const T *, T *, const double *);
typedef void (*Loss)(int, const T *, const void *, T *, T *, T *, const double *);
typedef void (*LossValue)(int, const T *, const void *, T *, T *, const double *);
typedef void (*Prediction)(int, const T *, T *, T *, const double *);
typedef void (*Optimizer)(int, T *, T *, void *const *, double, double, const double *);
typedef void (*Lookahead)(int, const T *, T *, void *const *, const double *);
typedef double (*Metric)(int, int, const T *); /* of a member and a split, given the outputs */

#include "population.h"
#include "products.h"
#define NARROW 16       /* outputs of a layer below which its gradient sums over lanes in trees */
#include "layer_blocks.h"
#include "order.h"
#include "dropout.h"
#include "normalization.h"
#include "batch_norm.h"
#include "plateau.h"
#include "monitored.h"

#define NUMBERS 8       /* numbers of a component, at most; the last one may be learned */
#define STATES 8        /* state tensors of an optimizer, at most */
#define SCRATCH_ROWS 8  /* numbers that the function of a loss stores for each output, at most */

enum { RUNNING, FINISHED, STOPPED, DIVERGED };

/* The memory of one thread. h and d are the values and the derivatives of the layers, `normal` the
   normalized values. `step` and `position` are those of a block in the training, and `n` is the
   number of its examples. The gradient of a probe is that of the initial weights. */
typedef struct {
  T **h, **d, **z, **normal;
  T *gradient, *before, *ahead, *turned, *scratch, *loss;
  void *y;
  double *errors; /* of each target: absolute, squared */
  uint32_t *shifts;
  Monitored monitored;
  int64_t step;
  int position, n, is_probe;
  void *memory;
} Work;

INLINE int is_normalized(const Population *p, int layer) {
  return p->norm_scales && p->norm_scales[layer] >= 0;
}

INLINE int is_batch_normalized(const Population *p, int layer) {
  return p->buffers && p->buffers[2 * layer];
}

static void *take(char **memory, size_t bytes) {
  void *taken = *memory;
  *memory += (bytes + 127) / 128 * 128;
  return taken;
}

/* Lays out the memory from `start`, and returns its end; with 0 this is the size. */
static char *lay_out(Work *work, const Population *p, char *start) {
  const int layers = p->num_layers;
  const size_t parameters = (size_t)p->num_parameters * sizeof(T), lanes = LANE * sizeof(T);
  char *memory = start;
  int widest = 0;
  T ***lists[] = {&work->h, &work->d, &work->z};
  for (int list = 0; list < 3; list++) {
    T **pointers = take(&memory, (layers + 1) * sizeof(T *));
    for (int l = 0; l <= layers; l++) {
      T *block = take(&memory, p->widths[l] * lanes);
      if (start) pointers[l] = block;
      if (p->widths[l] > widest) widest = p->widths[l];
    }
    *lists[list] = pointers;
  }
  T **normal = work->normal = take(&memory, layers * sizeof(T *));
  for (int l = 0; l < layers; l++) {
    const size_t units = p->widths[l + 1], rest = (units + LANE) * sizeof(T);
    T *block = take(&memory, is_normalized(p, l) ? units * lanes + rest : 0);
    if (start) normal[l] = block;
  }
  work->gradient = take(&memory, parameters + 8 * sizeof(T)); /* see narrow_sums */
  work->before = take(&memory, parameters);
  work->ahead = take(&memory, parameters);
  work->turned = take(&memory, widest * lanes);
  work->scratch = take(&memory, SCRATCH_ROWS * p->num_outputs * lanes);
  work->loss = take(&memory, lanes);
  work->y = take(&memory, p->num_targets ? p->num_targets * lanes : LANE * sizeof(int));
  work->errors = take(&memory, 2 * (p->num_targets + 1) * sizeof(double));
  work->shifts = take(&memory, order_size(p->num_train) * sizeof(uint32_t));
  const size_t classes = is_of_counts(p->metric) ? num_classes(p) : 0;
  const size_t examples = p->num_val > p->num_train ? p->num_val : p->num_train;
  work->monitored.counts = take(&memory, classes * classes * sizeof(int64_t));
  work->monitored.outputs =
      take(&memory, p->metric == OUTSIDE ? examples * p->num_outputs * sizeof(T) : 0);
  return memory;
}

/* One member: where its rows of the population's matrices start. */
typedef struct {
  const Population *p;
  int k;
  T *theta;
  void *states[STATES];
  const T *x, *weights;
  const void *y;
  const double *activation_numbers, *loss_numbers, *optimizer_numbers;
} Member;

static Member member_of(const Population *p, int k) {
  const size_t inputs = p->widths[0], data = p->is_shared ? 0 : k, row = (size_t)k * p->num_parameters;
  Member m = {p, k, p->theta + row};
  for (int s = 0; s < p->num_states; s++) m.states[s] = p->states[s] + k * p->state_sizes[s];
  m.x = p->x + data * p->num_train * inputs;
  m.y = p->num_targets ? (const void *)((const T *)p->y + data * p->num_train * p->num_targets)
                       : (const void *)((const int *)p->y + data * p->num_train);
  m.weights = p->example_weights
                  ? p->example_weights + (p->is_weight_shared ? 0 : (size_t)k * p->num_train)
                  : 0;
  m.activation_numbers = p->activation_numbers + (size_t)k * p->num_layers * NUMBERS;
  m.loss_numbers = p->loss_numbers + (size_t)k * NUMBERS;
  m.optimizer_numbers = p->optimizer_numbers + (size_t)k * NUMBERS;
  return m;
}

/* Drops outputs of a layer with the member's rate, and their derivatives unless they are 0. */
static void drop(const Member *m, const Work *work, int layer, T *values, T *derivatives) {
  const Population *p = m->p;
  const double rate = p->dropout[(size_t)m->k * p->num_layers + layer];
  if (rate == 0) return;
  drop_outputs(p->widths[layer + 1],
               dropout_stream(p->dropout_keys[m->k], work->step, p->num_layers, layer),
               work->position, rate, values, derivatives);
}

static T *buffer_of(const Member *m, T *const *buffers, int index) {
  return buffers[index] + (size_t)m->k * m->p->widths[index / 2 + 1];
}

static void normalize_layer(const Member *m, Work *work, const T *theta, int l, int trains) {
  const Population *p = m->p;
  const int units = p->widths[l + 1];
  const T *scale = theta + p->norm_scales[l], *shift = theta + p->norm_shifts[l];
  T *z = work->z[l + 1], *normal = work->normal[l];
  if (!is_batch_normalized(p, l)) {
    normalize(units, scale, shift, z, normal);
    return;
  }
  T *mean = buffer_of(m, p->buffers, 2 * l), *variance = buffer_of(m, p->buffers, 2 * l + 1);
  if (trains)
    normalize_batch(units, work->n, scale, shift, z, normal, normal + (size_t)units * LANE,
                    work->is_probe ? 0 : mean, variance);
  else
    normalize_running(units, scale, shift, mean, variance, z);
}

static void normalize_layer_backward(const Member *m, Work *work, const T *theta, int l, T *dz) {
  const Population *p = m->p;
  const int units = p->widths[l + 1];
  const T *scale = theta + p->norm_scales[l], *normal = work->normal[l];
  T *to_scale = work->gradient + p->norm_scales[l], *to_shift = work->gradient + p->norm_shifts[l];
  if (is_batch_normalized(p, l))
    normalize_batch_backward(units, work->n, scale, normal, normal + (size_t)units * LANE, dz,
                             to_scale, to_shift);
  else
    normalize_backward(units, scale, normal, dz, work->turned, to_scale, to_shift);
}

/* The numbers of a layer's activation, with the parameter that it learns, if any, at the end. */
static const double *activation_numbers(const Member *m, int l, const T *theta, double *numbers) {
  const double *fixed = m->activation_numbers + (size_t)l * NUMBERS;
  if (m->p->learned[l] < 0) return fixed;
  memcpy(numbers, fixed, NUMBERS * sizeof(double));
  numbers[NUMBERS - 1] = theta[m->p->learned[l]];
  return numbers;
}

/* The outputs for the block in h[0]; with `trains` also the derivatives of the activations. */
static const T *forward(const Member *m, Work *work, const T *theta, const T *x, int trains) {
  const Population *p = m->p;
  for (int l = 0; l < p->num_layers; l++) {
    const int inputs = p->widths[l], outputs = p->widths[l + 1], n = outputs * LANE;
    if (has_blocks(p, l)) {
      double memory[NUMBERS];
      blocks_forward(p, l, theta, l ? work->h[l] : x, work->z[l + 1]);
      activate_blocks(p, l, work->z[l + 1], work->h[l + 1], trains ? work->d[l + 1] : 0,
                      activation_numbers(m, l, theta, memory));
      continue;
    }
    product(outputs, inputs, theta + p->weights[l], 1, outputs, l ? work->h[l] : x,
            p->biases[l] < 0 ? 0 : theta + p->biases[l], 0, work->z[l + 1]);
    if (is_normalized(p, l)) normalize_layer(m, work, theta, l, trains);
    if (l + 1 == p->num_layers) continue;
    double memory[NUMBERS];
    const double *numbers = activation_numbers(m, l, theta, memory);
    if (trains)
      p->activations[l](n, work->z[l + 1], work->h[l + 1], work->d[l + 1], numbers);
    else
      p->activation_values[l](n, work->z[l + 1], work->h[l + 1], numbers);
    if (trains && p->dropout) drop(m, work, l, work->h[l + 1], work->d[l + 1]);
  }
  return work->z[p->num_layers];
}

static void gather(const Member *m, Work *work, const uint32_t *index) {
  const Population *p = m->p;
  const int inputs = p->widths[0], targets = p->num_targets;
  for (int f = 0; f < inputs; f++) {
    const T *restrict from = m->x + f;
    T *restrict lanes = work->h[0] + (size_t)f * LANE;
    for (int i = 0; i < LANE; i++) lanes[i] = from[(size_t)index[i] * inputs];
  }
  if (!targets)
    for (int i = 0; i < LANE; i++) ((int *)work->y)[i] = ((const int *)m->y)[index[i]];
  for (int t = 0; t < targets; t++)
    for (int i = 0; i < LANE; i++)
      ((T *)work->y)[t * LANE + i] = ((const T *)m->y)[(size_t)index[i] * targets + t];
}

static void next_index(const Population *p, const Order *order, int first, int n, uint32_t *index) {
  if (p->shuffle)
    order_block(order, first, n, index);
  else
    for (int i = 0; i < LANE; i++) index[i] = first + (i < n ? i : 0);
}

/* The sum of the weights of a batch, 1 if all of them are 0. */
static double total_weight(const Member *m, const Order *order, int first, int count) {
  double total = 0;
  uint32_t index[LANE];
  for (int done = 0; done < count; done += LANE) {
    const int n = count - done < LANE ? count - done : LANE;
    next_index(m->p, order, first + done, n, index);
    for (int i = 0; i < n; i++) total += m->weights[index[i]];
  }
  return total > 0 ? total : 1;
}

/* Turns the gradient by h[l] in z[l] into that by z[l], and adds up that of the parameter which the
   activation between them learns. Its derivative is in h[l], which is not needed any more. */
static void learned_gradient(const Member *m, Work *work, int l) {
  const Population *p = m->p;
  T *restrict dz = work->z[l];
  double sum = 0;
  for (int o = 0; o < p->widths[l]; o++) {
    T products[LANE];
    EACH(i, LANE) products[i] = dz[o * LANE + i] * work->h[l][o * LANE + i];
    EACH(i, LANE) dz[o * LANE + i] *= work->d[l][o * LANE + i];
    sum += sum_of_lanes(products, LANE);
  }
  work->gradient[p->learned[l - 1]] += (T)sum;
}

/* Adds the gradient of the parameters of a layer, given that by its pre-activations. */
static void layer_gradient(const Member *m, Work *work, const T *theta, int l, T *dz) {
  const Population *p = m->p;
  const int inputs = p->widths[l], outputs = p->widths[l + 1];
  T *gradient = work->gradient + p->weights[l];
  if (has_blocks(p, l)) {
    blocks_gradient(p, l, work->h[l], dz, work->gradient, work->turned);
    return;
  }
  if (is_normalized(p, l)) normalize_layer_backward(m, work, theta, l, dz);
  if (p->biases[l] >= 0 && !is_batch_normalized(p, l)) /* it is 0: the mean is subtracted */
    bias_gradient(outputs, dz, work->gradient + p->biases[l]);
  if (outputs < NARROW)
    narrow_gradient(inputs, outputs, work->h[l], dz, gradient);
  else
    wide_gradient(inputs, outputs, work->h[l], dz, gradient, work->turned);
}

static void backward(const Member *m, Work *work, const T *theta, T *dz) {
  const Population *p = m->p;
  for (int l = p->num_layers - 1; l >= 0; l--) {
    const int inputs = p->widths[l], outputs = p->widths[l + 1];
    layer_gradient(m, work, theta, l, dz);
    if (!l) return;
    const int learns = p->learned[l - 1] >= 0;
    if (learns) {
      double memory[NUMBERS];
      p->activation_slopes[l - 1](inputs * LANE, work->z[l], work->h[l],
                                  activation_numbers(m, l - 1, theta, memory));
      if (has_blocks(p, l - 1)) clear_copies(p, l - 1, work->h[l]);
      if (p->dropout) drop(m, work, l - 1, work->h[l], 0);
    }
    const T *times = learns ? 0 : work->d[l];
    if (has_blocks(p, l))
      blocks_backward(p, l, theta, dz, times, work->z[l], work->turned);
    else
      product(inputs, outputs, theta + p->weights[l], outputs, 1, dz, 0, times,
              work->z[l]);
    if (learns) learned_gradient(m, work, l);
    dz = work->z[l];
  }
}

static double penalty(const Member *m, Work *work, const T *theta) {
  const Population *p = m->p;
  const T l1 = p->l1[m->k], l2 = p->l2[m->k];
  double total = 0;
  for (int l = 0; l < p->num_layers; l++) {
    const int first = p->weights[l], end = first + p->num_weights[l];
    for (int q = first; q < end; q++) {
      const T sign = (T)((theta[q] > 0) - (theta[q] < 0));
      work->gradient[q] = work->gradient[q] + theta[q] * l2 + sign * l1;
      total += l1 * v_abs(theta[q]) + p->l2[m->k] / 2 * ((double)theta[q] * theta[q]);
    }
  }
  return total;
}

static double sum_of_squares(const T *values, int n) {
  double partial[8] = {0};
  int q = 0;
  for (; q + 8 <= n; q += 8)
    for (int i = 0; i < 8; i++) partial[i] += (double)values[q + i] * values[q + i];
  for (int i = 0; q < n; q++, i++) partial[i] += (double)values[q] * values[q];
  for (int half = 4; half; half /= 2)
    for (int i = 0; i < half; i++) partial[i] += partial[i + half];
  return partial[0];
}

static void clip(const Member *m, Work *work) {
  const Population *p = m->p;
  const int n = p->num_parameters;
  T *restrict gradient = work->gradient;
  if (p->clip_value) {
    const T limit = p->clip_value[m->k];
    EACH(q, n) gradient[q] = v_min(v_max(gradient[q], -limit), limit);
  }
  if (p->clip_norm) {
    const T norm = (T)sqrt(sum_of_squares(gradient, n));
    const T factor = v_min((T)p->clip_norm[m->k] / (norm + (T)1e-6), 1);
    EACH(q, n) gradient[q] *= factor;
  }
}

/* Multiplies the loss of each example by its weight, and the gradient by its share of the total. */
static void weight_lanes(const Member *m, Work *work, const uint32_t *index, T total) {
  T *restrict dz = work->d[m->p->num_layers], weights[LANE];
  for (int i = 0; i < LANE; i++) weights[i] = m->weights[index[i]];
  EACH(i, LANE) work->loss[i] *= weights[i];
  for (int c = 0; c < m->p->num_outputs; c++)
    EACH(i, LANE) dz[c * LANE + i] *= weights[i] / total;
}

/* The rows of the functions of a loss: classes, or targets with one or several outputs each. */
static int loss_rows(const Population *p) { return p->num_targets ? p->num_targets : p->num_outputs; }

/* The objective of a batch, and its gradient in work->gradient. */
static T objective(const Member *m, Work *work, const T *theta, const Order *order, int first,
                   int count) {
  const Population *p = m->p;
  const double total = m->weights ? total_weight(m, order, first, count) : count;
  const T divisor = p->sums ? 1 : (T)total, share = p->sums ? 1 : (T)(1.0 / count);
  uint32_t index[LANE];
  double sum = 0;
  memset(work->gradient, 0, p->num_parameters * sizeof(T));
  for (int done = 0; done < count; done += LANE) {
    const int n = count - done < LANE ? count - done : LANE;
    T *restrict dz = work->d[p->num_layers];
    next_index(p, order, first + done, n, index);
    gather(m, work, index);
    work->position = done, work->n = n;
    const T *outputs = forward(m, work, theta, work->h[0], 1);
    p->loss(loss_rows(p), outputs, work->y, work->loss, dz, work->scratch, m->loss_numbers);
    if (m->weights)
      weight_lanes(m, work, index, divisor);
    else
      for (int c = 0; c < p->num_outputs; c++) EACH(i, LANE) dz[c * LANE + i] *= share;
    if (n < LANE) /* a select, because an idle lane may have NaN */
      for (int c = 0; c < p->num_outputs; c++)
        EACH(i, LANE) dz[c * LANE + i] = select_value(i < n, dz[c * LANE + i], 0);
    sum += sum_of_lanes(work->loss, n);
    backward(m, work, theta, dz);
  }
  T result = (T)(p->sums ? sum : sum / total);
  if (p->l1) result += (T)penalty(m, work, theta);
  clip(m, work);
  return result;
}

/* One split, for evaluation: its examples as blocks. */
typedef struct {
  int num_examples;
  const T *x, *weights, *mask;
  const void *y;
  const double *squares;
} Split;

static Split split_of(const Member *m, int is_val) {
  const Population *p = m->p;
  const int n = is_val ? p->num_val : p->num_train, targets = p->num_targets;
  const size_t lanes = (size_t)(n + LANE - 1) / LANE * LANE, data = p->is_shared ? 0 : m->k;
  const T *x = is_val ? p->val_x : p->train_x;
  const void *y = is_val ? p->val_y : p->train_y;
  const T *weights = is_val ? p->val_weights : p->train_weights;
  const T *mask = is_val ? p->val_mask : p->train_mask;
  const double *squares = is_val ? p->val_squares : p->train_squares;
  return (Split){
      n,
      x + data * lanes * p->widths[0],
      weights ? weights + (p->is_weight_shared ? 0 : m->k) * lanes : 0,
      mask ? mask + data * lanes : 0,
      targets ? (const void *)((const T *)y + data * lanes * targets)
              : (const void *)((const int *)y + data * lanes),
      squares ? squares + data * targets : 0,
  };
}

/* The number of right answers among the first n lanes, and the predicted classes. */
static double count_hits(const Population *p, const T *restrict z, const int *y, const T *mask,
                         int n, int *restrict class) {
  T top[LANE];
  int hits = 0;
  for (int i = 0; i < LANE; i++) {
    top[i] = z[i];
    class[i] = p->num_outputs == 1 && z[i] > 0;
  }
  for (int c = 1; c < p->num_outputs; c++)
    for (int i = 0; i < LANE; i++) {
      const int is_higher = z[c * LANE + i] > top[i];
      top[i] = select_value(is_higher, z[c * LANE + i], top[i]);
      class[i] = select_int(is_higher, c, class[i]);
    }
  for (int i = 0; i < LANE; i++)
    hits += (class[i] == y[i]) & (i < n) & (mask ? mask[i] != 0 : 1);
  return hits;
}

/* The predicted values for these outputs. They may be in work->y, whose targets are of a step. */
static const T *predicted(const Member *m, Work *work, const T *outputs) {
  const Population *p = m->p;
  if (!p->prediction) return outputs;
  p->prediction(p->num_targets, outputs, work->y, work->scratch, m->loss_numbers);
  return work->y;
}

static void add_errors(const Member *m, Work *work, const T *z, const T *y, const T *mask, int n) {
  const Population *p = m->p;
  const size_t data = p->is_shared ? 0 : m->k;
  for (int t = 0; t < p->num_targets; t++) {
    const double scale = p->target_scale[data * p->num_targets + t];
    const double shift = p->target_shift[data * p->num_targets + t];
    for (int i = 0; i < n; i++) {
      const int at = t * LANE + i;
      double error = ((double)z[at] * scale + shift) - ((double)y[at] * scale + shift);
      if (mask) error *= mask[i];
      if (p->metric == MAPE) {
        const double size = v_abs((double)y[at] * scale + shift);
        work->monitored.sum += v_abs(error) / (size < DBL_EPSILON ? DBL_EPSILON : size);
      }
      work->errors[2 * t] += v_abs(error);
      work->errors[2 * t + 1] += error * error;
    }
  }
}

/* mae, rmse and r2, as mlplab.metrics.regression_metrics defines them. */
static void regression_metrics(const Population *p, const Work *work, const double *squares,
                               double count, double *row) {
  double mae = 0, rmse = 0, r2 = 0;
  for (int t = 0; t < p->num_targets; t++) {
    const double error = work->errors[2 * t + 1];
    mae += work->errors[2 * t] / count;
    rmse += sqrt(error / count);
    r2 += squares[t] == 0 && !is_nan(error) ? (error > 0 ? 0.0 : 1.0) : 1 - error / squares[t];
  }
  row[0] = mae / p->num_targets;
  row[1] = rmse / p->num_targets;
  row[2] = count < 2 ? NAN : r2 / p->num_targets;
}

/* mlplab.training.averaging.Averaging.update, for one member. */
static void update_average(const Member *m, int64_t step) {
  const Population *p = m->p;
  const int k = m->k, n = p->num_parameters;
  const int64_t count = p->averaged[k];
  if (step % p->average_every[k] || (!count && step <= p->average_starts[k])) return;
  T *restrict average = p->average + (size_t)k * n;
  const T *restrict theta = m->theta;
  const double decay = p->average_decay[k];
  const T share = (T)(decay < 0 ? 1 / (count + 1.0) : 1 - decay);
  if (count)
    EACH(q, n) average[q] += share * (theta[q] - average[q]);
  else
    memcpy(average, theta, n * sizeof(T));
  p->averaged[k]++;
}

/* The weights that are evaluated: their average, or theta before it begins. */
static const T *evaluated_weights(const Member *m) {
  const Population *p = m->p;
  const int is_averaged = p->average && p->averaged[m->k];
  return is_averaged ? p->average + (size_t)m->k * p->num_parameters : m->theta;
}

/* Writes the loss and the metrics of a split; returns their number. */
static int measure(const Member *m, Work *work, int is_val, double *row) {
  const Population *p = m->p;
  const Split split = split_of(m, is_val);
  const int targets = p->num_targets, n_all = split.num_examples;
  double loss = 0, weight = 0, hits = 0, count = 0;
  T outputs[LANE] = {0};
  memset(work->errors, 0, 2 * (targets + 1) * sizeof(double));
  start_monitored(p, &work->monitored);
  for (size_t first = 0; first < (size_t)n_all; first += LANE) {
    const int n = n_all - first < LANE ? n_all - first : LANE;
    const T *z = forward(m, work, evaluated_weights(m), split.x + first * p->widths[0], 0);
    const T *mask = split.mask ? split.mask + first : 0;
    const void *y = targets ? (const void *)((const T *)split.y + first * targets)
                            : (const void *)((const int *)split.y + first);
    p->loss_value(loss_rows(p), z, y, work->loss, work->scratch, m->loss_numbers);
    if (split.weights) {
      EACH(i, LANE) work->loss[i] *= split.weights[first + i];
      weight += sum_of_lanes(split.weights + first, n);
    }
    loss += sum_of_lanes(work->loss, n);
    count += mask ? sum_of_lanes(mask, n) : n;
    if (p->metric == OUTSIDE) add_outputs(p, &work->monitored, z, first, n);
    if (targets) {
      add_errors(m, work, predicted(m, work, z), y, mask, n);
      continue;
    }
    int predicted[LANE];
    hits += count_hits(p, z, y, mask, n, predicted);
    if (is_of_counts(p->metric))
      add_counts(p, &work->monitored, z, y, predicted, mask, n);
    for (int c = 0; c < p->num_outputs; c++)
      EACH(i, LANE) outputs[i] += z[c * LANE + i];
  }
  if (!split.weights) weight = n_all;
  row[0] = p->sums ? loss : loss / (weight > 0 ? weight : 1);
  if (targets)
    regression_metrics(p, work, split.squares, count, row + 1);
  else
    row[1] = is_nan(sum_of_lanes(outputs, LANE)) ? NAN : hits / count;
  int columns = targets ? 4 : 2;
  if (p->metric) row[columns++] = monitored_metric(p, &work->monitored, m->k, is_val, count);
  return columns;
}

/* The last columns: the learning rate, the norm of the gradient, and by layer the norms of the
   gradient and of the step relative to the weights. */
static void measure_step(const Member *m, const Work *work, double lr, double *row) {
  const Population *p = m->p;
  double whole = 0;
  row[0] = lr;
  for (int l = 0; l < p->num_layers; l++) {
    const int first = p->weights[l];
    const int end = l + 1 < p->num_layers ? p->weights[l + 1] : p->num_parameters;
    const double gradient = sum_of_squares(work->gradient + first, end - first);
    const double size = sqrt(sum_of_squares(work->before + first, end - first));
    for (int q = first; q < end; q++) work->ahead[q] = m->theta[q] - work->before[q];
    const double moved = sqrt(sum_of_squares(work->ahead + first, end - first));
    whole += gradient;
    row[2 + l] = sqrt(gradient);
    row[2 + p->num_layers + l] = moved / (size > 1e-15 ? size : is_nan(size) ? size : 1e-15);
  }
  row[1] = sqrt(whole);
}

/* The first step since the last evaluation at which something was not finite, or 0. */
static int64_t first_bad_step(const Member *m, T loss, int64_t step, int num_objectives) {
  const Population *p = m->p;
  const int64_t interval = (int64_t)p->per_epoch * p->evaluate_every;
  const T *objectives = p->objectives + m->k * interval;
  int bad = 0;
  for (; bad < num_objectives; bad++)
    if (!isfinite(objectives[bad])) break;
  if (bad == num_objectives) {
    int is_finite = isfinite(loss);
    for (int q = 0; q < p->num_parameters; q++) is_finite &= isfinite(m->theta[q]);
    if (is_finite) return 0;
  }
  const int64_t first = step - num_objectives + 1 + bad;
  return first > step ? (step > 1 ? step : 1) : first;
}

/* Copies the member's running statistics, if there are any. */
static void copy_buffers(const Member *m, T *const *to) {
  const Population *p = m->p;
  for (int i = 0; p->buffers && i < 2 * p->num_layers; i++)
    if (p->buffers[i])
      memcpy(buffer_of(m, to, i), buffer_of(m, p->buffers, i), p->widths[i / 2 + 1] * sizeof(T));
}

/* mlplab.training.stopping.EarlyStopping.observe, for one member. */
static void observe(const Member *m, double value, int64_t step, int64_t first_bad) {
  const Population *p = m->p;
  const int k = m->k;
  const size_t bytes = p->num_parameters * sizeof(T), row = (size_t)k * p->num_parameters;
  const double best = p->best_value[k];
  if (first_bad) {
    p->since_best[k]++;
    p->diverged_step[k] = first_bad;
    p->state[k] = DIVERGED;
    return;
  }
  if (value < best - p->min_delta[k] || (value < INFINITY && best == INFINITY)) {
    memcpy(p->best_theta + row, evaluated_weights(m), bytes);
    copy_buffers(m, p->best_buffers);
    p->best_step[k] = step;
    p->best_value[k] = value;
    p->since_best[k] = 0;
  } else
    p->since_best[k]++;
  memcpy(p->last_theta + row, evaluated_weights(m), bytes);
  copy_buffers(m, p->last_buffers);
  p->last_evaluated[k] = step;
  if (p->since_best[k] >= p->patience[k]) p->state[k] = STOPPED;
  if (p->ends[k] <= step) p->state[k] = FINISHED;
}

/* Returns the monitored value; lower is better. */
static double evaluate(const Member *m, Work *work, int event, double lr, int64_t step,
                       int num_objectives) {
  const Population *p = m->p;
  double *row = p->rows + ((size_t)m->k * p->num_events + event) * p->num_columns;
  int columns = measure(m, work, 0, row);
  if (p->num_val) columns += measure(m, work, 1, row + columns);
  measure_step(m, work, lr, row + columns);
  p->evaluated[(size_t)m->k * p->num_events + event] = 1;
  const double value = p->monitor_sign * row[p->monitor_column];
  observe(m, value, step, first_bad_step(m, (T)row[0], step, num_objectives));
  return value;
}

/* The learning rate of a member, given its entry in `lr`. */
static double with_plateau(const Member *m, double lr) {
  const Population *p = m->p;
  return p->plateau_factor ? p->base_lr[m->k] * (lr * p->plateau_factor[m->k]) : lr;
}

/* The update of the optimizer, section by section if the learning rate is not that of all
   parameters. A state that has one number for all of them is the same for each section. */
static void update(const Member *m, Work *work, int64_t step, double rate) {
  const Population *p = m->p;
  if (!p->lr_factors) {
    p->optimizer(p->num_parameters, m->theta, work->gradient, m->states, step, rate,
                 m->optimizer_numbers);
    return;
  }
  const double *factors = p->lr_factors + (size_t)m->k * p->num_sections;
  char before[STATES][sizeof(double)];
  void *states[STATES];
  for (int s = 0, first = 0; s < p->num_sections; first = p->sections[s++]) {
    for (int i = 0; i < p->num_states; i++) {
      const int stride = p->state_strides[i];
      states[i] = (char *)m->states[i] + (size_t)stride * first;
      if (stride) continue;
      if (s) memcpy(states[i], before[i], p->state_sizes[i]);
      else memcpy(before[i], states[i], p->state_sizes[i]);
    }
    p->optimizer(p->sections[s] - first, m->theta + first, work->gradient + first, states, step,
                 rate * factors[s], m->optimizer_numbers);
  }
}

/* The learning rates of a member in this stretch, one for each unit of the schedule. */
static const double *rates_of(const Member *m) {
  const Population *p = m->p;
  const int64_t last = p->last_step > p->first_step ? p->last_step : p->first_step + 1;
  const int64_t units = p->lr_per_step
                            ? last - p->first_step
                            : (last - 1) / p->per_epoch - p->first_step / p->per_epoch + 1;
  return p->lr + m->k * units;
}

/* The initial weights, with the gradient of the first batch. */
static void evaluate_start(const Member *m, Work *work, Order *order) {
  const Population *p = m->p;
  const int count = p->batch_size < p->num_used ? p->batch_size : p->num_used;
  if (p->shuffle) start_epoch(order, p->keys[m->k], 1);
  work->step = work->is_probe = 1;
  objective(m, work, m->theta, order, 0, count);
  work->is_probe = 0;
  memcpy(work->before, m->theta, p->num_parameters * sizeof(T));
  evaluate(m, work, 0, with_plateau(m, rates_of(m)[0]), 0, 0);
}

/* Trains one member to the last step of the stretch, or to its end. */
static void train(const Member *m, Work *work, Order *order) {
  const Population *p = m->p;
  const int64_t start = p->starts[m->k] * p->per_epoch, first_epoch = p->first_step / p->per_epoch;
  const int64_t interval = (int64_t)p->per_epoch * p->evaluate_every;
  const double *lr = rates_of(m);
  int64_t ordered = -1;
  for (int64_t done = p->first_step; done < p->last_step && p->state[m->k] == RUNNING; done++) {
    const int64_t epoch = done / p->per_epoch, step = done + 1 - start;
    const int first = (done % p->per_epoch) * p->batch_size, rest = p->num_used - first;
    const double rate =
        with_plateau(m, lr[p->lr_per_step ? done - p->first_step : epoch - first_epoch]);
    const int is_regular = (done + 1) % interval == 0;
    const int is_event = is_regular || step == p->ends[m->k];
    if (p->shuffle && ordered != epoch) {
      start_epoch(order, p->keys[m->k], epoch + 1 - p->starts[m->k]);
      ordered = epoch;
    }
    const T *theta = m->theta;
    if (p->lookahead) {
      p->lookahead(p->num_parameters, theta, work->ahead, m->states, m->optimizer_numbers);
      theta = work->ahead;
    }
    work->step = step;
    p->objectives[m->k * interval + done % interval] =
        objective(m, work, theta, order, first, p->batch_size < rest ? p->batch_size : rest);
    if (is_event) memcpy(work->before, m->theta, p->num_parameters * sizeof(T));
    update(m, work, step, rate);
    if (p->average) update_average(m, step);
    if (!is_event) continue;
    int event = 0;
    while (p->events[event] < done + 1) event++;
    const double value = evaluate(m, work, event, rate, step, (int)(done % interval) + 1);
    if (is_regular && p->plateau_factor)
      observe_plateau((const Plateau *)p->plateau + m->k, p->plateau_is_relative, value,
                      p->plateau_best + m->k, p->plateau_bad + m->k, p->plateau_cooling + m->k,
                      p->plateau_factor + m->k);
  }
}

/* What the threads share: one queue of all members of all populations. */
typedef struct {
  const Population *const *populations;
  size_t size; /* of the memory of a thread: enough for each population */
  int num_members;
  atomic_int next, failed;
} Crew;

static Crew crew_of(const Population *const *populations, int num_populations) {
  Crew crew = {populations};
  for (int i = 0; i < num_populations; i++) {
    Work sizes = {0};
    const size_t size = (size_t)lay_out(&sizes, populations[i], 0);
    if (size > crew.size) crew.size = size;
    crew.num_members += populations[i]->num_members;
  }
  return crew;
}

static double seconds_of_thread(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void train_next(const Population *p, int k, Work *work, Order *order) {
  const double begun = seconds_of_thread();
  const Member member = member_of(p, k);
  if (p->initial) evaluate_start(&member, work, order);
  train(&member, work, order);
  p->seconds[k] = seconds_of_thread() - begun;
}

static void *work_on(void *argument) {
  Crew *crew = argument;
  Work work = {0};
  Order order = {0};
  int at = -1, first = 0, end = 0; /* a population, and where its members are in the queue */
  if (posix_memalign(&work.memory, 128, crew->size)) {
    crew->failed = 1;
    return 0;
  }
  for (int i; (i = atomic_fetch_add(&crew->next, 1)) < crew->num_members;) {
    const int before = at;
    while (i >= end) {
      first = end;
      end += crew->populations[++at]->num_members;
    }
    const Population *p = crew->populations[at];
    if (at != before) {
      lay_out(&work, p, work.memory);
      order = (Order){p->num_train};
      if (p->num_train > MAX_RANKED) choose_grid(&order);
      order.shifts = work.shifts;
    }
    train_next(p, i - first, &work, &order);
  }
  free(work.memory);
  return 0;
}

/* Trains the members of the populations to the last steps of their stretches, in this order: the
   longest should be first. Returns 0 if there was no memory. */
int run(const Population *const *populations, int num_populations, int num_threads) {
  enum { MOST = 256 };
  Crew crew = crew_of(populations, num_populations);
  pthread_t threads[MOST];
  int started = 0;
  if (num_threads > crew.num_members) num_threads = crew.num_members;
  while (started + 1 < num_threads && started < MOST &&
         !pthread_create(&threads[started], 0, work_on, &crew))
    started++;
  work_on(&crew);
  for (int i = 0; i < started; i++) pthread_join(threads[i], 0);
  return !crew.failed;
}

size_t population_size(void) { return sizeof(Population); }

/* The order of an epoch, for tests. */
void order_of_epoch(int64_t key, int64_t epoch, int num_examples, uint32_t *shifts,
                    uint32_t *index) {
  Order order = {num_examples};
  uint32_t block[LANE];
  if (num_examples > MAX_RANKED) choose_grid(&order);
  order.shifts = shifts;
  start_epoch(&order, key, epoch);
  for (int first = 0; first < num_examples; first += LANE) {
    const int n = num_examples - first < LANE ? num_examples - first : LANE;
    order_block(&order, first, n, block);
    memcpy(index + first, block, n * sizeof(uint32_t));
  }
}
