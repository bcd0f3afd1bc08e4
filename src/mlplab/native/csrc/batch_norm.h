/* Batch normalization of a batch that is one block, as mlplab.network.normalization.batch_norm: each
   unit over the n examples. */
#define MOMENTUM 0.1

/* z becomes scale * normal + shift. The running statistics change unless they are 0. `inverses` are
   1 over the standard deviations. */
static void normalize_batch(int units, int n, const T *restrict scale, const T *restrict shift,
                            T *restrict z, T *restrict normal, T *restrict inverses,
                            T *restrict running_mean, T *restrict running_variance) {
  for (int u = 0; u < units; u++, z += LANE, normal += LANE) {
    T squares[LANE];
    const double mean = sum_of_lanes(z, n) / n;
    EACH(i, LANE) normal[i] = z[i] - (T)mean;
    EACH(i, LANE) squares[i] = normal[i] * normal[i];
    const double variance = sum_of_lanes(squares, n);
    const T inverse = inverses[u] = (T)(1 / sqrt(variance / n + NORMALIZATION_EPS));
    EACH(i, LANE) normal[i] *= inverse;
    EACH(i, LANE) z[i] = v_fma(normal[i], scale[u], shift[u]);
    if (!running_mean) continue;
    running_mean[u] = (T)(MOMENTUM * mean + (1 - MOMENTUM) * running_mean[u]);
    running_variance[u] =
        (T)(MOMENTUM * (variance / (n - 1)) + (1 - MOMENTUM) * running_variance[u]);
  }
}

/* The same with the running statistics, for an evaluation. */
static void normalize_running(int units, const T *restrict scale, const T *restrict shift,
                              const T *restrict mean, const T *restrict variance, T *restrict z) {
  for (int u = 0; u < units; u++, z += LANE) {
    const T factor = (T)(1 / sqrt(variance[u] + NORMALIZATION_EPS)) * scale[u];
    EACH(i, LANE) z[i] = v_fma(z[i] - mean[u], factor, shift[u]);
  }
}

/* dz becomes the gradient with respect to the inputs of the normalization, 0 in idle lanes; adds to
   the gradients of the scale and the shift. */
static void normalize_batch_backward(int units, int n, const T *restrict scale,
                                     const T *restrict normal, const T *restrict inverses,
                                     T *restrict dz, T *restrict scale_gradient,
                                     T *restrict shift_gradient) {
  for (int u = 0; u < units; u++, dz += LANE, normal += LANE) {
    T products[LANE];
    EACH(i, LANE) products[i] = dz[i] * normal[i];
    const double sum = sum_of_lanes(dz, n), along = sum_of_lanes(products, n);
    const T mean = (T)(sum / n), share = (T)(along / n), factor = scale[u] * inverses[u];
    scale_gradient[u] += (T)along;
    shift_gradient[u] += (T)sum;
    EACH(i, LANE) {
      const T gradient = v_fma(-normal[i], share, dz[i] - mean) * factor;
      dz[i] = select_value(i < n, gradient, 0);
    }
  }
}
