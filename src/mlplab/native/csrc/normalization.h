/* Layer normalization, as mlplab.network.normalization.layer_norm: each example over the units. */
#define NORMALIZATION_EPS 1e-5

/* z becomes scale * normal + shift. The last row of `normal` is 1 over the standard deviation. */
static void normalize(int units, const T *restrict scale, const T *restrict shift, T *restrict z,
                      T *restrict normal) {
  T mean[LANE] = {0}, variance[LANE] = {0}, *restrict inverse = normal + (size_t)units * LANE;
  for (int u = 0; u < units; u++) EACH(i, LANE) mean[i] += z[u * LANE + i];
  EACH(i, LANE) mean[i] /= units;
  for (int u = 0; u < units; u++)
    EACH(i, LANE) {
      const T centered = z[u * LANE + i] - mean[i];
      normal[u * LANE + i] = centered;
      variance[i] = v_fma(centered, centered, variance[i]);
    }
  EACH(i, LANE) inverse[i] = 1 / v_sqrt(variance[i] / units + (T)NORMALIZATION_EPS);
  for (int u = 0; u < units; u++)
    EACH(i, LANE) {
      normal[u * LANE + i] *= inverse[i];
      z[u * LANE + i] = v_fma(normal[u * LANE + i], scale[u], shift[u]);
    }
}

/* dz becomes the gradient with respect to the inputs of the normalization; adds to the gradients of
   the scale and the shift. `scratch` has as many rows as dz. */
static void normalize_backward(int units, const T *restrict scale, const T *restrict normal,
                               T *restrict dz, T *restrict scratch, T *restrict scale_gradient,
                               T *restrict shift_gradient) {
  const T *restrict inverse = normal + (size_t)units * LANE;
  T mean[LANE] = {0}, along[LANE] = {0};
  for (int u = 0; u < units; u++)
    EACH(i, LANE) scratch[u * LANE + i] = dz[u * LANE + i] * normal[u * LANE + i];
  bias_gradient(units, dz, shift_gradient);
  bias_gradient(units, scratch, scale_gradient);
  for (int u = 0; u < units; u++)
    EACH(i, LANE) {
      mean[i] = v_fma(dz[u * LANE + i], scale[u], mean[i]);
      along[i] = v_fma(scratch[u * LANE + i], scale[u], along[i]);
    }
  EACH(i, LANE) mean[i] /= units;
  EACH(i, LANE) along[i] /= units;
  for (int u = 0; u < units; u++)
    EACH(i, LANE) {
      const T gradient = dz[u * LANE + i] * scale[u] - mean[i];
      dz[u * LANE + i] = v_fma(-normal[u * LANE + i], along[i], gradient) * inverse[i];
    }
}
