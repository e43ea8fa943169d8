"""Objects of the user's, named by a path."""

from pathlib import Path

import pytest

from rllib_moe.validation.imports import import_by_path


def test_import_by_path() -> None:
    assert import_by_path("pathlib:Path", "encoder") is Path
    for path, told in (("pathlib", "expected module:name"), ("nowhere:A", "No module named"), ("pathlib:Pat", "Pat")):
        with pytest.raises(ValueError, match=rf"encoder: .*{told}"):
            import_by_path(path, "encoder")
