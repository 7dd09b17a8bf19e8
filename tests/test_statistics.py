"""Statistics of a comparison: false findings without an effect, true findings, gaps in the results."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aeseg.core.errors import InputError
from aeseg.evaluation.statistics import (
    _verdict_word,
    bootstrap,
    compare,
    describe,
    holm,
    signed_rank,
    statistics_table,
    to_markdown,
    verdict,
)


def results(gains, seeds=3, images=25, between_seeds=0.0, rng=0, tasks=("lung",)):
    "Dice of methods with known mean gains. Images differ more than methods; a seed moves all images."
    rng, rows = np.random.default_rng(rng), []
    ids = [f"{k}" for k in range(images)]
    for task in tasks:
        level = rng.beta(18, 2, images)
        for method, gain in gains.items():
            for seed in range(seeds):
                luck = between_seeds * rng.standard_normal()
                dice = level + gain + luck + 0.01 * rng.standard_normal(images)
                rows.append(pd.DataFrame(dict(task=task, method=method, seed=seed, id=ids, dice=dice)))
    return pd.concat(rows, ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "between_seeds, lowest, highest",
    [(0.0, 0.02, 0.09), (0.005, 0.25, 0.7)],
    ids=["images", "images and trainings"],
)
def test_few_false_findings(between_seeds, lowest, highest):
    "Without an effect less than one claim of twenty is supported, although tests over images alone may fail."
    no_gain = dict(a=0, b=0, c=0)
    frames = [results(no_gain, between_seeds=between_seeds, rng=k) for k in range(80)]
    comparisons = pd.concat([compare(frame, "dice", "a") for frame in frames])
    words = [_verdict_word(row) for row in comparisons.itertuples()]
    assert lowest < (comparisons.p < 0.05).mean() < highest
    assert words.count("supported") <= len(words) / 20
    assert words.count("undecided") > len(words) / 4


def test_a_gain_is_found():
    "A gain of one point, with noise of one point on images and a fifth of it between trainings."
    frames = [results(dict(a=0, b=0.01, c=0), between_seeds=0.002, rng=k) for k in range(12)]
    words = [verdict(frame, "dice", "lung", "b", "a").word for frame in frames]
    assert words.count("supported") > 7
    assert words.count("not supported") == 0
    reverse = [verdict(frame, "dice", "lung", "a", "b").word for frame in frames]
    assert reverse.count("not supported") > 10


@pytest.mark.parametrize("seed", range(5))
def test_holm_by_its_definition(seed):
    "Rejected at every level are exactly the hypotheses that the step-down procedure rejects."
    p = np.random.default_rng(seed).random(6) ** 3
    for level in (0.01, 0.05, 0.2, 0.6):
        rejected = set()
        for rank, index in enumerate(np.argsort(p)):
            if p[index] > level / (len(p) - rank):
                break
            rejected.add(index)
        assert set(np.flatnonzero(holm(p) <= level)) == rejected


@pytest.mark.parametrize("n", [3, 8, 30, 200])
def test_signed_rank_is_that_of_scipy(n):
    gains = np.random.default_rng(n).standard_normal(n) + 0.3
    p, effect = signed_rank(gains)
    assert p == stats.wilcoxon(gains).pvalue
    positive_ranks = stats.wilcoxon(gains, alternative="greater").statistic
    assert effect == pytest.approx(2 * positive_ranks / (n * (n + 1) / 2) - 1)
    assert signed_rank(-gains) == (pytest.approx(p), pytest.approx(-effect))


def test_bootstrap_of_two_groups_is_skewed():
    "One failure among twenty: the interval reaches further down than up, and is the same again."
    values = [0.95, 0.94, 0.96, 0.95] * 5 + [0.2]
    low, high = bootstrap(values)
    assert np.mean(values) - low > 1.2 * (high - np.mean(values))
    assert low > 0.2
    assert (low, high) == bootstrap(values)


def complete_results():
    return results(dict(a=0, b=0.05, c=0.05), tasks=("lung", "head"))


def results_with_gaps():
    "One seed of b failed, and all trainings of c on heads."
    return complete_results().query(
        "not (method == 'b' and seed == 2) and not (method == 'c' and task == 'head')"
    )


def test_a_failed_training_leaves_the_pair():
    frame = results_with_gaps()
    described = describe(frame, "dice").set_index(["task", "method"])
    assert described.loc[("lung", "b"), "seeds"] == 2
    assert described.loc[("lung", "c"), "seeds"] == 3
    assert ("head", "c") not in described.index
    comparisons = compare(frame, "dice", "a").set_index(["task", "method"])
    paired_seeds = {("lung", "b"): 2, ("lung", "c"): 3, ("head", "b"): 2}
    assert comparisons.paired_seeds.to_dict() == paired_seeds


def test_a_table_shows_gaps():
    text = to_markdown(statistics_table(results_with_gaps(), "dice", "a"), "a")
    assert "2 to 3 seeds" in text
    assert text.splitlines()[4].endswith("| – |")
    claim = verdict(results_with_gaps(), "dice", "head", "c", "a")
    assert claim.sentence == "undecided: head has no results of c and a with the same seed and image"


def test_nothing_in_common_is_undecided():
    apart = complete_results().query("(method == 'a' and seed == 0) or (method == 'b' and seed == 1)")
    assert verdict(apart, "dice", "lung", "b", "a").word == "undecided"
    assert compare(apart, "dice", "a").empty


def test_a_reference_without_results():
    frame = complete_results().query("method != 'a'")
    assert "*" not in to_markdown(statistics_table(frame, "dice", "a"), "a")
    assert verdict(frame, "dice", "lung", "b", "a").word == "undecided"
    with pytest.raises(InputError, match="reference 'a'"):
        compare(frame, "dice", "a")


def test_a_csv_file_gives_the_same_statistics(tmp_path):
    frame = results(dict(a=0, b=0.05))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    stored = pd.read_csv(tmp_path / "rows.csv", dtype=dict(id=str))
    pd.testing.assert_frame_equal(statistics_table(stored, "dice", "a"), statistics_table(frame, "dice", "a"))
