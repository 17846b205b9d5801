"""Bootstrap intervals of paired differences against slow loops, and what they must promise."""

import numpy as np
import pandas as pd
import pytest

from langpose.intervals import measure, paired_difference


def table(rng, shift=0.0, spread=1.0, recordings=12, cameras=2, actions=3):
    rows = []
    for r in range(recordings):
        level = 50 + 10 * (r % actions)
        for c in range(cameras):
            rows.append(
                (f"r{r:02d} camera {c}", f"r{r:02d}", f"action {r % actions}", level + shift + rng.normal(0, spread),
                 100 + 10 * r)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=["sequence", "recording", "action", "p1", "frames"])


def slow_measure(data, times, by_action):
    """By repeating rows: a mean a frame, an action as often as its recordings were drawn."""
    actions = {}
    for row in data.itertuples():
        actions.setdefault(row.action if by_action else "", []).append(row)
    total, weight = 0.0, 0.0
    for rows in actions.values():
        frames = [f for row in rows for f in [row.p1] * int(row.frames) * times[row.recording]]
        drawn = np.mean([times[name] for name in {row.recording for row in rows}])
        if frames:
            total += drawn * np.mean(frames)
            weight += drawn
    return total / weight


@pytest.mark.parametrize("by_action", [True, False])
def test_a_measure_and_an_interval_equal_a_slow_loop(by_action):
    rng = np.random.default_rng(0)
    ours, base = [table(rng, -1.0) for _ in range(3)], [table(rng) for _ in range(3)]
    names = sorted(set(ours[0]["recording"]))
    once = dict.fromkeys(names, 1)
    assert measure(ours[0], by_action=by_action) == pytest.approx(slow_measure(ours[0], once, by_action))
    found = paired_difference(ours, base, by_action=by_action, resamples=200, seed=4)
    by_seed = [slow_measure(o, once, by_action) - slow_measure(b, once, by_action)
               for o, b in zip(ours, base, strict=True)]  # fmt: skip
    assert found.value == pytest.approx(np.mean(by_seed))
    assert found.seed_std == pytest.approx(np.std(by_seed, ddof=1))
    assert found.relative == pytest.approx(
        100 * np.mean(by_seed) / np.mean([slow_measure(b, once, by_action) for b in base])
    )
    draws = np.random.default_rng(4).multinomial(12, np.full(12, 1 / 12), 200)
    values = []
    for draw in draws:
        times = dict(zip(names, map(int, draw), strict=True))
        values.append(np.mean([slow_measure(o, times, by_action) - slow_measure(b, times, by_action)
                               for o, b in zip(ours, base, strict=True)]))  # fmt: skip
    np.testing.assert_allclose([found.low, found.high], np.percentile(values, [2.5, 97.5]))
    assert (found.recordings, found.seeds) == (12, 3)


def test_one_recording_an_action_still_has_an_interval():
    rng = np.random.default_rng(1)
    found = paired_difference([table(rng, recordings=6, actions=6)], [table(rng, recordings=6, actions=6)])
    assert found.low < found.value < found.high
    assert np.isnan(found.low_seeds)
    assert np.isnan(found.seed_std)


def test_a_shift_is_certain_and_noise_is_not():
    rng = np.random.default_rng(2)
    base = [table(rng) for _ in range(3)]
    shifted = [t.assign(p1=t["p1"] - 3 + rng.normal(0, 0.3, len(t))) for t in base]
    noisy = [t.assign(p1=t["p1"] + rng.normal(0, 3, len(t))) for t in base]
    assert paired_difference(shifted, base).certain
    assert not paired_difference(noisy, base).certain


def test_seeds_that_disagree_widen_the_interval_over_seeds():
    rng = np.random.default_rng(3)
    base = [table(rng) for _ in range(3)]
    ours = [t.assign(p1=t["p1"] + shift) for t, shift in zip(base, (-4.0, 0.0, 2.0), strict=True)]
    found = paired_difference(ours, base)
    assert found.high - found.low < 0.1
    # no variance over recordings: Student's t of the three seeds alone
    expected = np.std([-4, 0, 2], ddof=1) / 3**0.5 * 4.302652729749462
    assert found.high_seeds - found.value == pytest.approx(expected, rel=1e-6)
    assert not found.certain


def test_equal_seeds_leave_the_recordings_variance_with_students_t():
    rng = np.random.default_rng(7)
    base = table(rng, recordings=30, cameras=1, actions=1)
    ours = base.assign(p1=base["p1"] + rng.normal(0, 2, len(base)))
    once, thrice = paired_difference([ours], [base]), paired_difference([ours] * 3, [base] * 3)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    half = (once.high - once.low) / 2
    assert half < (thrice.high_seeds - thrice.low_seeds) / 2 < 1.15 * half  # t of 29 degrees of freedom, 30 / 29


def test_a_difference_of_a_single_recording_is_never_certain():
    rng = np.random.default_rng(8)
    base = [table(rng, recordings=1, actions=1) for _ in range(2)]
    found = paired_difference([t.assign(p1=t["p1"] - 9) for t in base], base)
    assert found.value == pytest.approx(-9)
    assert np.isnan([found.low, found.high, found.low_seeds, found.high_seeds]).all()
    assert not found.certain


@pytest.mark.parametrize(("recordings", "most"), [(6, 28), (40, 18)])
def test_three_seeds_that_differ_by_chance_are_rarely_called_certain(recordings, most):
    rng, wrong = np.random.default_rng(9), 0
    for _ in range(200):
        base, ours = [], []
        for effect in rng.normal(0, 2, 3):  # of each seed, shared by all recordings; the true mean is zero
            base.append(table(rng, recordings=recordings, cameras=1, actions=1))
            ours.append(base[-1].assign(p1=base[-1]["p1"] + effect + rng.normal(0, 2, recordings)))
        wrong += paired_difference(ours, base, resamples=200, by_action=False).certain
    assert wrong <= most  # of 200, 10 expected (six recordings say too little); seeds drawn anew gave a quarter


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(4), 0
    for _ in range(200):
        base = table(rng, recordings=30, cameras=1, actions=1)
        ours = base.assign(p1=base["p1"] + 1 + rng.normal(0, 2, len(base)))
        found = paired_difference([ours], [base], resamples=400, by_action=False)
        hits += found.low <= 1 <= found.high
    assert 178 <= hits <= 199  # 190 expected; percentile intervals of 30 run a little narrow


def test_hard_actions_alone_are_compared_where_named():
    rng = np.random.default_rng(5)
    base = table(rng)
    ours = base.assign(p1=base["p1"] - 5 * (base["action"] == "action 1"))
    assert paired_difference([ours], [base], actions=["action 1"]).value == pytest.approx(-5)
    assert paired_difference([ours], [base], actions=["action 0", "action 2"]).value == pytest.approx(0)


def test_variants_of_other_sequences_are_refused():
    rng = np.random.default_rng(6)
    with pytest.raises(ValueError, match="not scored on the same sequences"):
        paired_difference([table(rng)], [table(rng, recordings=11)])
    with pytest.raises(ValueError, match="1 and 2 seeds"):
        paired_difference([table(rng)], [table(rng), table(rng)])
