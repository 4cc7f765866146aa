from __future__ import annotations

import threading
import time

import pytest

from whisper_npu_cli.engines.turns import Turns


def wait_until_waiting(turns: Turns, n: int) -> None:
    while len(turns._waiting) < n:
        time.sleep(0.001)


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order = Turns(), []

    def take(i: int) -> None:
        with turns:
            order.append(i)

    threads = [threading.Thread(target=take, args=(i,)) for i in range(8)]
    with turns:
        for i, thread in enumerate(threads):
            thread.start()
            wait_until_waiting(turns, i + 1)
    for thread in threads:
        thread.join()
    assert order == list(range(8))


def test_who_asks_again_waits_behind_the_others() -> None:
    turns, order = Turns(), []

    def work(name: str) -> None:
        for _ in range(3):
            with turns:
                order.append(name)
                wait_until_waiting(turns, 1 if len(order) < 6 else 0)

    with turns:
        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for i, thread in enumerate(threads):
            thread.start()
            wait_until_waiting(turns, i + 1)
    for thread in threads:
        thread.join()
    assert "".join(order) == "ababab"


def test_a_turn_is_given_back_when_its_work_fails() -> None:
    turns = Turns()
    for _ in range(2):
        with pytest.raises(ValueError, match="failed"), turns:
            raise ValueError("failed")
    with turns:
        pass


@pytest.mark.parametrize("has_come", [False, True])
def test_who_is_interrupted_while_waiting_leaves_the_queue(
    monkeypatch: pytest.MonkeyPatch, has_come: bool
) -> None:
    turns = Turns()

    class Interrupted:
        """A lock whose second `acquire` is interrupted, before or after its turn has come."""

        n_acquired = 0

        def acquire(self) -> None:
            self.n_acquired += 1
            if self.n_acquired == 2:
                if has_come:
                    turns.__exit__()
                raise KeyboardInterrupt

        def release(self) -> None:
            pass

    turns.__enter__()
    monkeypatch.setattr("whisper_npu_cli.engines.turns.Lock", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        turns.__enter__()
    if not has_come:
        turns.__exit__()
    monkeypatch.undo()
    with turns:  # would wait for ever
        pass
