"""dataset=openml: a table from openml.org.

scikit-learn downloads it and caches it below ~/scikit_learn_data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from mlplab.data.table import DataFrame
from mlplab.data.tabular.raw_table import RawTable
from mlplab.data.tabular.table_builder import build_table
from mlplab.data.tabular.table_options import TabularDataset
from mlplab.errors import DataError, FieldError
from mlplab.schema import integer, text


@dataclass(frozen=True, kw_only=True)
class OpenML(TabularDataset):
    """A table of openml.org, by its name or number, downloaded once and cached. Columns are treated
    like those of dataset=file.
    """

    data_name: str | None = text(
        None, "name of the data set on openml.org, such as adult or credit-g", optional=True
    )
    data_id: int | None = integer(
        None, "or its number on openml.org, which fixes the version", at_least=1, optional=True
    )
    version: int | None = integer(
        None, "version of the named data set; null takes the active one", at_least=1, optional=True
    )
    cache: str | None = text(
        None, "folder for downloads; null takes scikit-learn's default", optional=True
    )

    def check(self) -> None:
        super().check()
        if (self.data_name is None) == (self.data_id is None):
            raise FieldError(
                "data_name",
                self.data_name,
                f"and data_id = {self.data_id!r}: set exactly one of the two",
            )

    def stored_in(self, folder: Path) -> Self:
        """Return the dataset with its cache only if that is one: a stored configuration must not
        choose a folder in which something is created.
        """
        is_cache = self.cache is None or Path(self.cache, "openml").is_dir()
        return self if is_cache else replace(self, cache=None)

    def make(self, rng: np.random.Generator) -> RawTable:  # type: ignore[override]
        """Return the columns of the data set; without `target`, the target is OpenML's default.

        Raises DataError if the data set is unknown, or neither cached nor reachable.
        """
        frame, target, source = self._fetch()
        return build_table(
            self if self.target is not None else replace(self, target=target),
            frame,
            source,
        )

    def _fetch(self) -> tuple[DataFrame, str | None, str]:
        """Return the frame, the default target if there is exactly one, and the source."""
        import warnings
        from urllib.error import URLError

        from sklearn.datasets import fetch_openml

        source = f"openml {self.data_name or self.data_id}"
        query = (
            {"data_id": self.data_id}
            if self.data_id
            else {"name": self.data_name, "version": self.version or "active"}
        )
        try:
            with warnings.catch_warnings():
                # if several versions are active, the oldest is taken, as the site does
                warnings.simplefilter("ignore")
                bunch = fetch_openml(**query, as_frame=True, parser="auto", data_home=self.cache)
        except (URLError, ConnectionError, TimeoutError, OSError) as error:
            raise DataError(
                f"{source} is not in the cache and openml.org cannot be reached:"
                f" {getattr(error, 'reason', None) or error}. Connect to the internet once to"
                " download and cache it, or use a local file: dataset=file dataset.path=..."
            ) from error
        except ValueError as error:
            raise DataError(f"{source}: {' '.join(str(error).split())[:300]}") from error
        categories = bunch.frame.select_dtypes("category").columns
        names = list(bunch.target_names or [])
        return (
            bunch.frame.astype(dict.fromkeys(categories, object)),
            names[0] if len(names) == 1 else None,
            f"{source}, version {bunch.details['version']}" if bunch.details else source,
        )
