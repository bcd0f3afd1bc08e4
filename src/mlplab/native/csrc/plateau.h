/* The state of mlplab.schedules.plateau.Plateau for one member. */
typedef struct {
  double gamma, patience, threshold, cooldown, min_factor;
} Plateau;

/* After an evaluation with this value; lower is better. */
static void observe_plateau(const Plateau *plateau, int is_relative, double value, double *best,
                            double *bad, double *cooling, double *factor) {
  const double limit =
      is_relative ? *best * (1 - plateau->threshold) : *best - plateau->threshold;
  const int is_better = value < limit;
  const double stalled = is_better || *cooling > 0 ? 0 : *bad + 1;
  const int drops = stalled > plateau->patience;
  const double lowered = *factor * plateau->gamma;
  if (is_better) *best = value;
  *bad = drops ? 0 : stalled;
  *cooling = drops ? plateau->cooldown : *cooling > 1 ? *cooling - 1 : 0;
  if (drops) *factor = lowered > plateau->min_factor ? lowered : plateau->min_factor;
}
