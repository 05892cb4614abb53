"""Two builds never work in one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from seedzoo.errors import Conflict, LocalFailure
from seedzoo.training.working_folder import sole_use


def test_a_folder_belongs_to_one_build_at_a_time(tmp_path: Path) -> None:
    with sole_use(tmp_path / "out"):
        with pytest.raises(Conflict, match="another build is at work") as caught, sole_use(tmp_path / "out"):
            pytest.fail("two builds in one folder")
        assert caught.value.reason == "BUILD_RUNNING"
        with sole_use(tmp_path / "other"):
            pass
    with sole_use(tmp_path / "out"):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalFailure), sole_use(tmp_path / "file" / "out"):
        pytest.fail("it cannot be made")
