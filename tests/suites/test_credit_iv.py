"""Unit tests of credit-iv's method and models, and its full protocol on a few rows; `crossexam run` tests its claims."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from suites.credit_iv import experiments, method, on_tables, scorecard

GOODS, BADS = torch.tensor([30.0, 10.0]), torch.tensor([10.0, 20.0])


class TestInformationValue:
    def test_batches_are_computed_row_by_row(self) -> None:
        goods, bads = torch.rand(3, 4, 5) + 1, torch.rand(3, 4, 5) + 1
        assert method.information_value(goods, bads).shape == (3, 4)
        for form in ("fixed_weights", "independent_bins", "multinomial"):
            batch = method.iv_variance(goods, bads, form)
            torch.testing.assert_close(batch[1, 2], method.iv_variance(goods[1, 2], bads[1, 2], form))

    def test_integer_counts_are_taken_as_float64(self) -> None:
        value = method.information_value(GOODS.long(), BADS.long())
        assert value.dtype == torch.float64
        assert float(value) == pytest.approx(float(method.information_value(GOODS, BADS)))

    @pytest.mark.parametrize("empty", [0.0, -1.0, math.nan, math.inf])
    def test_cells_must_be_positive_and_finite(self, empty: float) -> None:
        with pytest.raises(ValueError, match="positive and finite"):
            method.information_value(torch.tensor([3.0, empty]), torch.tensor([1.0, 2.0]))

    def test_shapes_must_agree(self) -> None:
        with pytest.raises(ValueError, match="one shape"):
            method.information_value(torch.ones(3), torch.ones(2))

    def test_unknown_form(self) -> None:
        with pytest.raises(ValueError, match="unknown form"):
            method.iv_variance(GOODS, BADS, "bootstrap")  # type: ignore[arg-type]


class TestEmptyCells:
    def test_only_tables_with_an_empty_cell_are_filled(self) -> None:
        goods, bads = torch.tensor([[5, 0], [5, 1]]), torch.tensor([[2, 2], [2, 2]])
        filled_goods, filled_bads = method.fill_empty(goods, bads)
        assert filled_goods.tolist() == [[5.5, 0.5], [5.0, 1.0]]
        assert filled_bads.tolist() == [[2.5, 2.5], [2.0, 2.0]]

    def test_negative_counts(self) -> None:
        with pytest.raises(ValueError, match="negative"):
            method.fill_empty(torch.tensor([-1.0]), torch.tensor([1.0]))

    def test_rule_of_three_replaces_zeros(self) -> None:
        goods, bads = method.rule_of_three(torch.tensor([0, 7, 2]), torch.tensor([9, 5, 0]))
        assert (goods.tolist(), bads.tolist()) == ([3.0, 7.0, 2.0], [6.0, 5.0, 2.0])


class TestInference:
    def test_interval_is_clipped_at_zero(self) -> None:
        low, high = method.wald_interval(torch.tensor(0.1), torch.tensor(1.0))
        assert float(low) == 0
        assert float(high) == pytest.approx(0.1 + 1.959964, abs=1e-5)

    def test_upper_limit_is_one_sided(self) -> None:
        assert float(method.upper_limit(torch.tensor(0.1), torch.tensor(1.0))) == pytest.approx(
            0.1 + 1.644854, abs=1e-5
        )

    @pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
    def test_confidence_is_a_probability(self, confidence: float) -> None:
        with pytest.raises(ValueError, match="confidence"):
            method.upper_limit(torch.tensor(0.1), torch.tensor(1.0), confidence)

    def test_one_bin_is_no_test(self) -> None:
        with pytest.raises(ValueError, match="two bins"):
            method.null_test(torch.tensor([3.0]), torch.tensor([2.0]))


class TestTransforms:
    """Everything on counts under vmap and a compiler that may not break its graph, and checked where values are seen."""

    CALLS = (
        method.weight_of_evidence,
        method.information_value,
        method.woe_standard_error,
        method.iv_standard_error,
        method.fill_empty,
        method.rule_of_three,
        method.null_test,
        lambda goods, bads: method.upper_limit(method.information_value(goods, bads), 0.1),
        lambda goods, bads: method.wald_interval(*(method.information_value(goods, bads),) * 2),
    )

    @pytest.mark.parametrize("call", CALLS)
    def test_vmap_and_fullgraph(self, call) -> None:
        goods, bads = torch.rand(3, 4) + 1, torch.rand(3, 4) + 1
        torch.testing.assert_close(torch.func.vmap(call)(goods, bads), call(goods, bads))
        torch._dynamo.reset()
        compiled = torch.compile(call, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(goods, bads), call(goods, bads))

    def test_error_of_equal_shares_has_a_gradient(self) -> None:
        goods = torch.tensor([3.0, 7.0, 2.0], requires_grad=True)
        (slope,) = torch.autograd.grad(method.iv_standard_error(goods, 2 * goods.detach()), goods)
        assert slope.isfinite().all()


class TestBins:
    def test_thresholds_belong_to_the_column_that_was_split(self) -> None:
        rng = np.random.default_rng(0)
        features = rng.normal(size=(200, 3))
        noise, useful, other = method.stump_thresholds(features, (features[:, 1] > 0.5).astype(np.int64), rounds=1)
        assert (len(noise), len(other)) == (0, 0)
        assert useful == pytest.approx([0.5], abs=0.1)

    def test_counts_per_class(self) -> None:
        goods, bads = method.bin_counts(torch.tensor([0, 0, 2, 2]), torch.tensor([0, 1, 0, 0]), 3)
        assert (goods.tolist(), bads.tolist()) == ([1, 0, 2], [1, 0, 0])

    def test_share_must_be_a_share(self) -> None:
        with pytest.raises(ValueError, match="min_share"):
            method.merge_small_bins(np.ones(2), np.ones(2), 5)


class TestSelection:
    @pytest.mark.parametrize(
        ("value", "cost", "limit"), [([-1.0], [1.0], 1), ([1.0], [math.nan], 1), ([1.0], [1.0], -1)]
    )
    def test_bad_input(self, value: list[float], cost: list[float], limit: float) -> None:
        with pytest.raises(ValueError, match=r"finite|limit"):
            method.select_features(np.array(value), np.array(cost), limit)


class TestPoints:
    def test_scale_must_be_positive(self) -> None:
        with pytest.raises(ValueError, match="positive"):
            method.score(torch.zeros(1), pdo=0)

    def test_one_slope_per_feature(self) -> None:
        with pytest.raises(ValueError, match="slopes"):
            method.scorecard_points([torch.zeros(2)], torch.zeros(2), 0.0)


class TestScorecard:
    @pytest.fixture
    def table(self) -> pd.DataFrame:
        rng = np.random.default_rng(1)
        return pd.DataFrame(
            {"amount": rng.gamma(2.0, 100.0, 400), "purpose": rng.choice(["car", "house", "boat"], 400)}
        )

    @pytest.fixture
    def target(self, table: pd.DataFrame) -> np.ndarray:
        risk = 0.2 + 0.3 * (table["amount"] > 250) + 0.2 * (table["purpose"] == "boat")
        return (np.random.default_rng(2).random(400) < risk).to_numpy(np.int64)

    @pytest.mark.parametrize("how", list(scorecard.EDGES))
    def test_bins_hold_five_percent_each(self, table: pd.DataFrame, target: np.ndarray, how: str) -> None:
        bins = scorecard.fit_bins(table, target, how)
        for column, size in zip(bins(table).T, bins.sizes, strict=True):
            assert np.bincount(column, minlength=size).min() >= 0.05 * len(table)

    @pytest.mark.parametrize("how", list(scorecard.EDGES))
    @pytest.mark.parametrize("share", [0.2, 0.01])
    def test_missing_values(self, table: pd.DataFrame, target: np.ndarray, how: str, share: float) -> None:
        """Many are a bin of their own, with the IV of a category "missing"; a few join another; the rest stays."""
        gone = np.random.default_rng(3).random(400) < share
        holed = table.mask(np.stack([gone, gone], axis=1))
        bins = scorecard.fit_bins(holed, target, how)
        assert set(bins.columns) == {"amount", "purpose"}
        named = scorecard.fit_bins(holed.assign(purpose=holed["purpose"].fillna("missing")), target, how)
        binned = bins(holed)
        assert binned[:, 1].tolist() == named(holed.fillna({"purpose": "missing"}))[:, 1].tolist()
        (label,) = set(binned[gone, 0])
        assert (label in binned[~gone, 0]) == (share < scorecard.MIN_SHARE)
        assert bins.categorical == ([1] if share < scorecard.MIN_SHARE else [0, 1])
        assert all(np.isfinite(one).all() for one in scorecard.raw_design(holed, table))

    @pytest.mark.parametrize("how", list(scorecard.EDGES))
    def test_every_dtype_has_its_information(self, how: str) -> None:
        """One flag as booleans, numbers, codes and categories, nullable or not: the same IV."""
        flag = np.arange(400) % 4 == 0
        target = (np.random.default_rng(0).random(400) < 0.2 + 0.5 * flag).astype(np.int64)
        plain = pd.Series(flag)
        table = pd.DataFrame(
            {
                "bool": plain, "boolean": plain.astype("boolean"), "int": plain.astype(int), "Int64": plain.astype("Int64"),
                "float": plain.astype(float), "object": plain.astype(object), "codes": plain.astype(int).astype("category"),
                "category": plain.map({True: "yes", False: "no"}).astype("category"),
                "string": plain.map({True: "yes", False: "no"}).astype("string"),
            }
        )  # fmt: skip
        for name in table:
            bins = scorecard.fit_bins(table[[name]], target, how)
            iv = scorecard.iv_per_column(bins(table[[name]]), bins.sizes, target)
            counts = method.bin_counts(torch.from_numpy(flag.astype(np.int64)), torch.from_numpy(target), 2)
            assert iv == pytest.approx([float(method.information_value(*counts))]), name

    def test_unseen_category_goes_to_the_largest_bin(self) -> None:
        bins = scorecard.CategoryBins({"a": 0, "b": 1}, largest=1)
        assert bins(pd.Series(["a", "zebra"])).tolist() == [0, 1]

    def test_a_value_on_an_edge_belongs_to_the_bin_below(self) -> None:
        assert scorecard.NumericBins(np.array([1.0, 2.0]))(pd.Series([1.0, 1.5, 2.0, 3.0])).tolist() == [0, 1, 1, 2]

    def test_monotone_stumps_are_monotone(self, table: pd.DataFrame, target: np.ndarray) -> None:
        bins = scorecard.fit_bins(table[["amount"]], target, "equal_frequency")
        model = scorecard.monotone_stumps(bins(table), target, bins.sizes, bins.categorical, seed=0)
        scores = model.fit(bins(table), target).predict_proba(np.arange(bins.sizes[0])[:, None])[:, 1]
        assert (np.diff(scores) >= 0).all()

    def test_gini_is_twice_the_area_less_one(self) -> None:
        assert scorecard.gini(GOODS, BADS) == pytest.approx(2 * (0.75 * (2 / 3 + 1 / 6) + 0.25 / 3) - 1)

    def test_kolmogorov_smirnov_is_the_largest_gap(self) -> None:
        assert scorecard.kolmogorov_smirnov(GOODS, BADS) == pytest.approx(2 / 3 - 1 / 4)


def test_weighted_auc_counts_repeated_rows() -> None:
    scores, target = np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 1, 0, 1])
    weights = np.array([[1, 1, 1, 1], [2, 1, 0, 0]])
    assert on_tables._weighted_auc(scores, target, weights).tolist() == pytest.approx([3.5 / 4, 1.0])


class TestFullProtocol:
    """The experiments of the full tier from a file in UCI's format, on 600 rows."""

    @pytest.fixture(autouse=True)
    def taiwan(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(0)
        rows = 600
        frame = pd.DataFrame({"ID": np.arange(1, rows + 1), "X1": 10_000 * rng.integers(1, 80, rows)})
        frame["X2"], frame["X3"], frame["X4"] = (rng.integers(1, top, rows) for top in (3, 5, 4))
        frame["X5"] = rng.integers(21, 70, rows)
        for month in range(6, 12):
            frame[f"X{month}"] = rng.integers(-2, 9, rows)
        for month in range(12, 24):
            frame[f"X{month}"] = rng.gamma(1.0, 20_000.0, rows).round().astype(int)
        risk = 0.1 + 0.3 * (frame["X6"] > 1) + 0.15 * (frame["X2"] == 2) + 0.1 * (frame["X1"] < 200_000)
        frame["Y"] = (rng.random(rows) < risk).astype(int)
        (tmp_path / "taiwan-default").mkdir()
        frame.to_csv(tmp_path / "taiwan-default" / "data.csv", index=False)
        monkeypatch.setenv("CROSSEXAM_DATA", str(tmp_path))

    def test_encodings(self) -> None:
        found = experiments.encodings_taiwan(seed=0)
        assert all(
            0.4 < found[f"auc_{name}"] < 1 for name in ("one_hot", "woe", "stumps", "monotone", "boosting", "raw")
        )
        assert found["one_hot_minus_woe"] == pytest.approx(found["auc_one_hot"] - found["auc_woe"])

    def test_bootstrap(self) -> None:
        found = experiments.bootstrap_taiwan(seed=0)
        assert found["median_error_c"] < found["median_error_a"]

    def test_frontier(self) -> None:
        arms = ("programme", "probabilistic", "removal")
        found = {arm: experiments.frontier_taiwan(arm=arm, seed=0) for arm in arms}
        assert all(one["protected_kept"] <= 0.5 for one in found.values())
        assert found["programme"]["iv_kept"] >= max(found["probabilistic"]["iv_kept"], found["removal"]["iv_kept"])
        assert len({one["auc_full"] for one in found.values()}) == 1
        assert found["removal"]["loss_low"] <= found["removal"]["auc_loss"] <= found["removal"]["loss_high"]

    def test_sex_education_and_marriage_are_categories(self) -> None:
        assert scorecard.numeric_columns(experiments._taiwan().features) == [
            name for name in (f"X{number}" for number in range(1, 24)) if name not in ("X2", "X3", "X4")
        ]
