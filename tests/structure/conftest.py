from __future__ import annotations

import pytest
from source_tree import REPOSITORY, nodes


@pytest.fixture(scope="session")
def parsed_folder(request):
    """The sources in a folder, parsed: whichever test is the first does not pay for the others."""
    return {path: nodes(path) for path in sorted((REPOSITORY / request.param).rglob("*.py"))}


@pytest.fixture
def write(tmp_path):
    """Write files, given as path -> text, to an empty folder, and return it."""

    def write_files(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return write_files
