"""What is printed comes in the order of the inputs, and no later than it can."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whisper_npu_cli.cli.ordered import Ordered


@given(st.permutations(range(7)), st.integers(0, 7))
def test_what_is_said_is_in_order_whatever_ends_first(order: list[int], n_ended: int) -> None:
    ordered, said = Ordered(), list[int]()
    for n, i in enumerate(order[:n_ended]):
        ordered.say(i, lambda i=i: said.append(i))
        ordered.end(i)
        ready = set(order[: n + 1])
        assert said == [j for j in range(7) if set(range(j + 1)) <= ready]
    ordered.flush()
    assert said == sorted(order[:n_ended])
