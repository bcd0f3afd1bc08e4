"""Why a training went badly: fourteen diagnoses, from its data, weights and measurements."""

from mlplab.doctor.diagnosing import diagnose
from mlplab.doctor.evidence import Evidence, Weights
from mlplab.doctor.finding import TITLES, Diagnosis, Finding, Measured

__all__ = ["TITLES", "Diagnosis", "Evidence", "Finding", "Measured", "Weights", "diagnose"]
