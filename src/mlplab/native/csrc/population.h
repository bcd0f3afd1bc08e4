/* The members of a group, as the kernel sees them: K members, L layers, P parameters, N examples,
   F features, C outputs, Y targets, U units of the schedule in a stretch, E evaluations, M columns,
   S sections of theta.
   Blocks are [unit][LANE], one example per lane. Python reads this file: one field per line. */
typedef struct {
  int num_members;
  int num_layers;
  int num_outputs;
  int num_targets; /* 0: the targets are classes */
  int num_parameters;
  int num_states;
  int num_sections;
  int num_columns;
  int batch_size;
  int num_train;
  int num_val; /* 0: no val split */
  int num_used; /* examples of an epoch */
  int per_epoch; /* steps */
  int evaluate_every; /* epochs */
  int shuffle;
  int sums; /* the loss is a sum over the examples, not their mean */
  int is_shared; /* all members have the same examples */
  int is_weight_shared; /* and the same weights of examples */
  int monitor_column;
  int monitor_sign; /* -1 if higher is better */
  int metric; /* the monitored one, if each split has a column for it: see monitored.h */
  int lr_per_step;
  int plateau_is_relative;
  int num_events;
  int initial; /* evaluates the initial weights first: the first event */
  int64_t first_step; /* steps that are done */
  int64_t last_step; /* the last step of this stretch */
  const int *widths; /* [L + 1] */
  const int *weights; /* [L] offset in theta */
  const int *num_weights; /* [L] */
  const int *first_blocks; /* [L + 1] index in layer_blocks, of layers of blocks; or 0: of none */
  const int *layer_blocks; /* structures LayerBlocks */
  const int *are_partitions; /* [L] whether the blocks read each column of their input once */
  const int *biases; /* [L] offset in theta, -1: no bias */
  const int *norm_scales; /* [L] offset in theta, -1: no normalization; or 0: in no layer */
  const int *norm_shifts; /* [L] offset in theta */
  const int *learned; /* [L] offset in theta of the activation's parameter, -1: it learns none */
  Activation *activations; /* [L - 1] */
  ActivationValue *activation_values; /* [L - 1] */
  ActivationValue *activation_slopes; /* [L - 1] derivative by the parameter, 0 without one */
  Loss loss;
  LossValue loss_value;
  Prediction prediction; /* 0: the outputs are the predicted values */
  Optimizer optimizer;
  Lookahead lookahead; /* 0: the gradient is taken at theta */
  const double *activation_numbers; /* [K][L][NUMBERS] */
  const double *loss_numbers; /* [K][NUMBERS] */
  const double *optimizer_numbers; /* [K][NUMBERS] */
  Metric outside; /* computes the metric OUTSIDE */
  const double *dropout; /* [K][L] rates, or 0 */
  const int64_t *dropout_keys; /* [K] */
  const double *lr; /* [K][U]; with a plateau, without the factors base_lr and plateau_factor */
  const double *base_lr; /* [K] */
  const double *lr_factors; /* [K][S] of the learning rate in each section of theta, or 0: all 1 */
  const int *sections; /* [S] ends in theta of the parameters with one factor */
  const int *state_strides; /* bytes of a parameter in each state, 0: it has one number */
  const double *plateau; /* [K] structures Plateau */
  double *plateau_best; /* [K] */
  double *plateau_bad; /* [K] evaluations */
  double *plateau_cooling; /* [K] evaluations */
  double *plateau_factor; /* [K], or 0: no plateau */
  const double *l1; /* [K] */
  const double *l2; /* [K] */
  const double *clip_value; /* [K] or 0 */
  const double *clip_norm; /* [K] or 0 */
  const double *min_delta; /* [K] */
  const int64_t *patience; /* [K] */
  const int64_t *ends; /* [K] number of steps of a member */
  const int64_t *starts; /* [K] epoch at which a member started */
  const int64_t *keys; /* [K] of the order of the examples */
  const T *x; /* [K or 1][N][F] */
  const void *y; /* [K or 1][N] int, or [K or 1][N][Y] T */
  const T *example_weights; /* [K or 1][N], or 0 */
  const T *train_x; /* [K or 1][blocks][F][LANE] */
  const void *train_y; /* [K or 1][blocks][Y or 1][LANE] */
  const T *train_weights; /* [K or 1][blocks][LANE], or 0 */
  const T *train_mask; /* [K or 1][blocks][LANE], or 0 */
  const double *train_squares; /* [K or 1][Y] sum of squares about the mean */
  const T *val_x;
  const void *val_y;
  const T *val_weights;
  const T *val_mask;
  const double *val_squares;
  const double *target_shift; /* [K or 1][Y] */
  const double *target_scale; /* [K or 1][Y] */
  T *theta; /* [K][P] */
  char **states; /* of the optimizer: tensors [K][...] */
  const int64_t *state_sizes; /* bytes of a member */
  T *best_theta; /* [K][P] */
  T *last_theta; /* [K][P] */
  T *average; /* [K][P] of theta over the steps, or 0: no member has one */
  int64_t *averaged; /* [K] updates of the average so far */
  const double *average_decay; /* [K], negative: equal weights */
  const int64_t *average_starts; /* [K] steps before the average begins */
  const int64_t *average_every; /* [K] steps between two updates */
  T **buffers; /* [L][2] running means and variances [K][units], 0: no batch normalization; or 0 */
  T **best_buffers; /* [L][2] those of best_theta */
  T **last_buffers; /* [L][2] those of last_theta */
  int64_t *best_step; /* [K] */
  int64_t *last_evaluated; /* [K] step of last_theta */
  double *best_value; /* [K] */
  int64_t *since_best; /* [K] evaluations */
  int64_t *state; /* [K] */
  int64_t *diverged_step; /* [K] */
  T *objectives; /* [K][steps between evaluations] */
  const int64_t *events; /* [E] steps with an evaluation */
  double *rows; /* [K][E][M] */
  unsigned char *evaluated; /* [K][E] */
  double *seconds; /* [K] processor time of this stretch */
} Population;
