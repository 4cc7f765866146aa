from __future__ import annotations

from itertools import product
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.scripted import EOT, NO_SPEECH, SOT, Script, ScriptedDecoder, window
from whisper_npu_cli.decoding.beam import BeamPolicy
from whisper_npu_cli.decoding.sampling import SamplingPolicy
from whisper_npu_cli.decoding.search import Candidate, Policy, Prompts, choose_likeliest, search
from whisper_npu_cli.engines.numba_decoder.logits import top_k

GREEDY = SamplingPolicy(EOT, 0.0, 1, np.random.default_rng(0))


def sampling(seed: int, group_size: int = 1, temperature: float = 1.0) -> SamplingPolicy:
    return SamplingPolicy(EOT, temperature, group_size, np.random.default_rng(seed))


def run(
    script: Script, policy: Policy, n_windows: int = 1, n_text_ctx: int = 64
) -> tuple[list[list[Candidate]], ScriptedDecoder]:
    decoder = ScriptedDecoder(script, n_text_ctx)
    prompts = Prompts(np.full((n_windows, 1), SOT), 0, NO_SPEECH)
    groups, _ = search(decoder, [window(i) for i in range(n_windows)], prompts, policy, [])
    return groups, decoder


def chain(*tokens: int) -> Script:
    """Script a window that says `tokens` and ends."""
    return lambda _, said: {(*tokens, EOT)[len(said)]: 0.9}


def garden_path(_: int, said: tuple[int, ...]) -> dict[int, float]:
    """Script a likelier first word that leads to unlikely texts."""
    if not said:
        return {1: 0.6, 2: 0.4}
    if said == (1,):
        return {3: 0.24} | dict.fromkeys(range(4, 8), 0.19)
    return {EOT: 1.0}


def test_greedy_takes_the_likeliest_token_and_counts_the_end() -> None:
    ((candidate,),), _ = run(chain(1, 2), GREEDY)
    assert candidate.tokens == (1, 2)
    # Rounding of fp32, and the tokens that the script leaves tiny.
    assert candidate.sum_logprob == pytest.approx(3 * log(1), abs=1e-5)
    assert candidate.avg_logprob == pytest.approx(float(candidate.sum_logprob) / 3)


@pytest.mark.parametrize("policy", [GREEDY, BeamPolicy(EOT, 2, 1.0), sampling(0, 2)])
def test_every_token_has_its_log_probability(policy: Policy) -> None:
    (candidates,), _ = run(garden_path, policy)
    probs = {(): {1: 0.6, 2: 0.4}, (1,): {3: 0.24} | dict.fromkeys(range(4, 8), 0.19)}
    for candidate in candidates:
        said = [candidate.tokens[:i] for i in range(len(candidate.tokens))]
        expected = [
            log(probs[s][t]) for s, t in zip(said, candidate.tokens, strict=False) if s in probs
        ]
        # Rounding of fp32, and the tokens that the script leaves tiny.
        assert list(candidate.logprobs[: len(expected)]) == pytest.approx(expected, abs=1e-4)
        assert len(candidate.logprobs) == len(candidate.tokens)


def test_windows_that_end_leave_the_batch() -> None:
    def script(index: int, said: tuple[int, ...]) -> dict[int, float]:
        return {EOT if len(said) == index else index + 1: 0.9}

    groups, decoder = run(script, GREEDY, n_windows=4)
    assert [group[0].tokens for group in groups] == [(), (2,), (3, 3), (4, 4, 4)]
    assert decoder.n_rows == [3, 2, 1]


@pytest.mark.parametrize("policy", [GREEDY, BeamPolicy(EOT, 2, 4.0), sampling(0, 2)])
def test_a_text_without_end_takes_half_of_the_context(policy: Policy) -> None:
    (candidates,), decoder = run(lambda *_: {1: 0.5, 2: 0.5}, policy, n_text_ctx=16)
    assert {len(candidate.tokens) for candidate in candidates} == {8}
    assert len(decoder.n_rows) == 7


def test_a_long_prompt_leaves_what_remains_of_the_context() -> None:
    decoder = ScriptedDecoder(lambda *_: {1: 1.0}, n_text_ctx=16)
    prompts = Prompts(np.full((1, 14), SOT), 0, NO_SPEECH)
    (((candidate,),), _) = search(decoder, [window(0)], prompts, GREEDY, [])
    assert len(candidate.tokens) == 3  # the last one is never fed


def test_beams_find_what_greedy_misses() -> None:
    (greedy,), _ = run(garden_path, GREEDY)
    (beams,), _ = run(garden_path, BeamPolicy(EOT, 2, 1.0))
    assert greedy[0].tokens == (1, 3)
    assert choose_likeliest(beams, None).tokens == (2,)


def test_patience_waits_for_more_texts() -> None:
    for patience, n_ended in ((0.5, 1), (1.0, 2), (2.0, 4)):
        (candidates,), _ = run(garden_path, BeamPolicy(EOT, 2, patience))
        assert len(candidates) == max(n_ended, 2)
        assert (2,) in [candidate.tokens for candidate in candidates]
    (impatient,), decoder = run(garden_path, BeamPolicy(EOT, 2, 0.5))
    assert [c.tokens for c in impatient] == [(2,), (1, 3)]  # one ended, one that had not
    assert decoder.n_rows == [2]


def test_length_penalty_decides_between_short_and_long() -> None:
    short, long = Candidate((1,), np.float32(-1)), Candidate((1,) * 4, np.float32(-2))
    assert choose_likeliest([short, long], None) is long
    assert choose_likeliest([short, long], 0.0) is short
    assert choose_likeliest([short, long], 1.0) is short  # 6/6 and 9/6: -1 and -1.33
    assert choose_likeliest([short, Candidate((1,) * 8, np.float32(-2))], 1.0).tokens == (1,) * 8
    assert choose_likeliest([short, Candidate((2,), np.float32(-1))], None) is short


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_wide_beams_find_the_likeliest_text_of_all(seed: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.full(3, 0.5), size=13) + 1e-6

    def probs(said: tuple[int, ...]) -> dict[int, float]:
        row = weights[sum(token * 3**i for i, token in enumerate(said)) % len(weights)]
        return {1: float(row[0]), 2: float(row[1]), EOT: float(row[2])}

    def total(text: tuple[int, ...]) -> float:
        return sum(
            log(probs(text[:i])[token] / sum(probs(text[:i]).values()))
            for i, token in enumerate((*text, EOT))
        )

    # A context of 8 tokens lets 4 be sampled, the last of which may be the end.
    texts = [text for n in range(4) for text in product((1, 2), repeat=n)]
    (candidates,), _ = run(lambda _, said: probs(said), BeamPolicy(EOT, 16, 2.0), n_text_ctx=8)
    ended = {c.tokens: float(c.sum_logprob) for c in candidates if c.tokens in texts}
    best = max(texts, key=total)
    assert ended[best] == pytest.approx(total(best), abs=1e-4)  # fp32 sums of size 10


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.sampled_from([7, 40, 1024, 2500])),
        elements=st.sampled_from([-np.inf, -3.0, -2.0, -1.0, -0.5]),
    ),
    st.integers(1, 6),
)
def test_top_k_is_a_stable_sort(values: np.ndarray, k: int) -> None:
    ids, found = top_k(values, k)
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(found, np.take_along_axis(values, order, axis=1))
    np.testing.assert_array_equal(ids, order)


def test_samples_follow_the_seed() -> None:
    def script(*_: object) -> dict[int, float]:
        return {1: 0.3, 2: 0.3, 3: 0.2, EOT: 0.2}

    first, again, other = (run(script, sampling(seed, 5))[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len({candidate.tokens for candidate in first[0]}) > 1


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_samples_follow_the_tempered_probabilities(temperature: float) -> None:
    logprobs = np.log(np.array([[0.5, 0.3, 1e-30, 0.2]], np.float32))
    policy = sampling(0, temperature=temperature)
    drawn = policy.choose(np.repeat(logprobs, 20_000, axis=0))
    weights = np.array([0.5, 0.3, 0.0, 0.2]) ** (1 / temperature)
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    # Four standard deviations of a share of 20 000 draws.
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=4 * 0.5 / 20_000**0.5)
    assert shares[2] == 0


def test_each_sample_ends_by_itself_and_all_are_candidates() -> None:
    def script(*_: object) -> dict[int, float]:
        return {1: 0.5, EOT: 0.5}

    (candidates,), decoder = run(script, sampling(3, 6))
    lengths = sorted((len(candidate.tokens) for candidate in candidates), reverse=True)
    assert len(candidates) == 6
    assert decoder.n_rows == [sum(n > i for n in lengths) for i in range(lengths[0])]
    assert all(
        float(c.sum_logprob) == pytest.approx((len(c.tokens) + 1) * log(0.5), abs=1e-5)
        for c in candidates
    )
