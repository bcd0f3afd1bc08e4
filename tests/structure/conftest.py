from __future__ import annotations

import pytest
from source_tree import REPOSITORY, nodes

FOLDERS = ("src", "scripts", "tests")


@pytest.fixture(scope="session")
def parsed_sources():
    """The sources in FOLDERS, parsed: whichever test is the first does not pay for the others."""
    paths = {folder: sorted((REPOSITORY / folder).rglob("*.py")) for folder in FOLDERS}
    return {folder: {path: nodes(path) for path in paths[folder]} for folder in FOLDERS}


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
