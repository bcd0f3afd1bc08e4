"""Small trainings use one thread, large ones as many as were set; the setting is restored."""

from collections.abc import Iterator

import pytest
import torch
from building import make_settings

from mlplab.training import Loop, build_population, prepare_members


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("members", "threads"), [(1, 1), (3, 1), (300, 2)])
def test_small_trainings_use_one_thread(members: int, threads: int, two_threads: None) -> None:
    loop = Loop(
        build_population(
            prepare_members([make_settings(seed=seed, epochs=1) for seed in range(members)])
        )[0]
    )
    seen = []
    loop.observers.append(lambda *_: seen.append(torch.get_num_threads()))
    loop.run()
    assert set(seen) == {threads}
    assert torch.get_num_threads() == 2


def test_the_setting_is_restored_after_an_error(two_threads: None) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    loop = Loop(build_population(prepare_members([make_settings(epochs=1)]))[0])
    loop.observers.append(fail)
    with pytest.raises(RuntimeError):
        loop.run()
    assert torch.get_num_threads() == 2
