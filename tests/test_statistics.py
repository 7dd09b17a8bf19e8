"""Statistics of a comparison: what it finds where there is nothing to find, and what a gap in the results does."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aeseg.core.errors import InputError
from aeseg.evaluation.statistics import _word, bootstrap, compare, describe, holm, signed_rank, statistics_table, to_markdown, verdict


def results(gains, seeds=3, images=25, between_seeds=0.0, rng=0, tasks=("lung",)):
    "Dice of methods with known mean gains; images differ more than methods, seeds move all images of a training."
    rng, rows = np.random.default_rng(rng), []
    for task in tasks:
        level = rng.beta(18, 2, images)
        for method, gain in gains.items():
            for seed in range(seeds):
                dice = (
                    level + gain + between_seeds * rng.standard_normal() + 0.01 * rng.standard_normal(images)
                )
                rows.append(
                    pd.DataFrame(
                        dict(
                            task=task, method=method, seed=seed, id=[f"{i}" for i in range(images)], dice=dice
                        )
                    )
                )
    return pd.concat(rows, ignore_index=True)


@pytest.mark.parametrize(
    "between_seeds, tests",
    [(0.0, (0.02, 0.09)), (0.005, (0.25, 0.7))],
    ids=["images", "images and trainings"],
)
def test_nothing_is_found_where_nothing_is(between_seeds, tests):
    "Two methods against a reference without any effect: claims are supported in less than one of twenty, although tests over images alone may fail."
    found = pd.concat(
        [
            compare(results(dict(a=0, b=0, c=0), between_seeds=between_seeds, rng=k), "dice", "a")
            for k in range(80)
        ]
    )
    words = [_word(r) for r in found.itertuples()]
    assert tests[0] < (found.p < 0.05).mean() < tests[1]
    assert words.count("supported") <= len(words) / 20 and words.count("undecided") > len(words) / 4


def test_what_is_there_is_found():
    "A gain of one point, with noise of one point on images and a fifth of it between trainings."
    frames = [results(dict(a=0, b=0.01, c=0), between_seeds=0.002, rng=k) for k in range(12)]
    words = [verdict(f, "dice", "lung", "b", "a").word for f in frames]
    assert words.count("supported") > 8 and words.count("not supported") == 0
    assert [verdict(f, "dice", "lung", "a", "b").word for f in frames].count("not supported") > 10


@pytest.mark.parametrize("seed", range(5))
def test_holm_by_its_definition(seed):
    "Rejected at every level are exactly the hypotheses that the step-down procedure rejects."
    p = np.random.default_rng(seed).random(6) ** 3
    for level in (0.01, 0.05, 0.2, 0.6):
        rejected = set()
        for k, i in enumerate(np.argsort(p)):
            if p[i] > level / (len(p) - k):
                break
            rejected.add(i)
        assert set(np.flatnonzero(holm(p) <= level)) == rejected


@pytest.mark.parametrize("n", [3, 8, 30, 200])
def test_signed_rank_is_scipys(n):
    gains = np.random.default_rng(n).standard_normal(n) + 0.3
    p, effect = signed_rank(gains)
    assert p == stats.wilcoxon(gains).pvalue
    assert effect == pytest.approx(
        2 * stats.wilcoxon(gains, alternative="greater").statistic / (n * (n + 1) / 2) - 1
    )
    assert signed_rank(-gains) == (pytest.approx(p), pytest.approx(-effect))


def test_bootstrap_of_two_groups_is_skewed():
    "One failure among twenty: the interval reaches further down than up, and repeats."
    values = [0.95, 0.94, 0.96, 0.95] * 5 + [0.2]
    low, high = bootstrap(values)
    assert (
        np.mean(values) - low > 1.2 * (high - np.mean(values))
        and (low, high) == bootstrap(values)
        and low > 0.2
    )


def test_gaps():
    "Failed trainings: a seed, a task, a method, the reference."
    whole = results(dict(a=0, b=0.05, c=0.05), tasks=("lung", "head"))
    frame = whole.query("not (method == 'b' and seed == 2) and not (method == 'c' and task == 'head')")
    cells = describe(frame, "dice").set_index(["task", "method"])
    assert (
        cells.loc[("lung", "b"), "seeds"] == 2
        and cells.loc[("lung", "c"), "seeds"] == 3
        and ("head", "c") not in cells.index
    )
    assert compare(frame, "dice", "a").set_index(["task", "method"]).paired_seeds.to_dict() == {
        ("lung", "b"): 2,
        ("lung", "c"): 3,
        ("head", "b"): 2,
    }
    text = to_markdown(statistics_table(frame, "dice", "a"), "a")
    assert "2 to 3 seeds" in text and text.splitlines()[4].endswith("| – |")
    assert (
        verdict(frame, "dice", "head", "c", "a").sentence
        == "undecided: head has no results of c and a with the same seed and image"
    )
    apart = whole.query("(method == 'a' and seed == 0) or (method == 'b' and seed == 1)")
    assert verdict(apart, "dice", "lung", "b", "a").word == "undecided" and compare(apart, "dice", "a").empty
    no_reference = whole[whole.method != "a"]
    assert (
        "*" not in to_markdown(statistics_table(no_reference, "dice", "a"), "a")
        and verdict(no_reference, "dice", "lung", "b", "a").word == "undecided"
    )
    with pytest.raises(InputError, match="reference 'a'"):
        compare(no_reference, "dice", "a")


def test_a_csv_file_comes_back(tmp_path):
    frame = results(dict(a=0, b=0.05))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    pd.testing.assert_frame_equal(
        statistics_table(pd.read_csv(tmp_path / "rows.csv", dtype=dict(id=str)), "dice", "a"), statistics_table(frame, "dice", "a")
    )
