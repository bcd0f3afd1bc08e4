"""dataset=openml: a table from openml.org, by scikit-learn, which keeps what it fetched below
~/scikit_learn_data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlplab.data.tabular.table_builder import table_of
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError, FieldError
from mlplab.schema import integer, text

if TYPE_CHECKING:
    from mlplab.data.tabular.raw_table import RawTable


@dataclass(frozen=True, kw_only=True)
class OpenML(TabularDataset):
    """A table of openml.org, by its name or number; it is fetched once and kept. Columns are
    treated as those of dataset=file.
    """

    data_name: str | None = text(
        None, "the set's name there, such as adult or credit-g", optional=True
    )
    data_id: int | None = integer(
        None, "or its number there, which no later version changes", at_least=1, optional=True
    )
    version: int | None = integer(
        None, "of the named set; null takes the active one", at_least=1, optional=True
    )
    cache: str | None = text(
        None, "folder for what is fetched; null is scikit-learn's own", optional=True
    )

    def check(self) -> None:
        super().check()
        if (self.data_name is None) == (self.data_id is None):
            raise FieldError(
                "data_name",
                self.data_name,
                f"and data_id = {self.data_id!r}: one of the two says which set is meant",
            )

    def make(self, rng: np.random.Generator) -> RawTable:  # type: ignore[override]
        """The columns as OpenML has them; its default target is the target where none is named."""
        frame, target, source = self._fetched()
        return table_of(
            self if self.target is not None or target is None else self.aiming(target),
            frame,
            source,
        )

    def _fetched(self) -> tuple[Any, str | None, str]:
        import warnings
        from urllib.error import URLError

        from sklearn.datasets import fetch_openml

        source = f"openml {self.data_name or self.data_id}"
        which = (
            {"data_id": self.data_id}
            if self.data_id
            else {"name": self.data_name, "version": self.version or "active"}
        )
        try:
            with warnings.catch_warnings():
                # several active versions: the oldest is taken, as the site itself does
                warnings.simplefilter("ignore")
                bunch = fetch_openml(**which, as_frame=True, parser="auto", data_home=self.cache)
        except (URLError, ConnectionError, TimeoutError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise DataError(
                f"{source} is not in the cache and openml.org cannot be reached: {reason}. With a"
                " connection it is fetched once and kept; a file of your own needs none:"
                " dataset=file dataset.path=..."
            ) from error
        except ValueError as error:
            raise DataError(f"{source}: {' '.join(str(error).split())[:300]}") from error
        frame = bunch.frame.copy()
        for name in frame.columns:
            if str(frame[name].dtype) == "category":
                frame[name] = frame[name].astype(object)
        names = list(bunch.target_names or [])
        return (
            frame,
            names[0] if len(names) == 1 else None,
            f"{source}, version {bunch.details['version']}" if bunch.details else source,
        )
