"""Small trainings use one thread, large ones as many as were set; the setting is restored."""

from collections.abc import Iterator

import pytest
import torch
from building import make_session, make_settings

from mlplab.training import Callback, Evaluation, Session


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("members", "threads"), [(1, 1), (3, 1), (300, 2)])
def test_small_trainings_use_one_thread(members: int, threads: int, two_threads: None) -> None:
    seen = []

    class Follow(Callback):
        def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
            seen.append(torch.get_num_threads())

    settings = [make_settings(seed=seed, epochs=1) for seed in range(members)]
    make_session(settings, Follow()).run()
    assert set(seen) == {threads}
    assert torch.get_num_threads() == 2


def test_the_setting_is_restored_after_an_error(two_threads: None) -> None:
    class Fail(Callback):
        def on_evaluation(self, session: Session, evaluation: Evaluation) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        make_session([make_settings(epochs=1)], Fail()).run()
    assert torch.get_num_threads() == 2
