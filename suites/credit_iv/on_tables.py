"""What is measured on real tables, whichever they are; `experiments.py` names the tables."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from reference import Table
from suites.credit_iv import method, scorecard

Metrics = dict[str, float | list[float]]
Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def encodings(table: Table, seed: int) -> Metrics:
    """Test AUC of the encodings on stump and on equal-width bins, of the baselines, and their differences."""
    train, test = _split(table.target, 0.3, seed)
    x_train, x_test = table.features.iloc[train], table.features.iloc[test]
    y_train, y_test = table.target[train], table.target[test]
    auc: dict[str, dict[str, float]] = {}
    for how in ("stumps", "equal_width"):
        bins = scorecard.fit_bins(x_train, y_train, how, seed)
        binned, categorical = bins(x_train), bins.categorical
        models = {
            "one_hot": scorecard.one_hot_regression(bins.sizes),
            "woe": scorecard.woe_regression(bins.sizes),
            "stumps": scorecard.boosted_stumps(bins.sizes, categorical, seed),
            "monotone": scorecard.monotone_stumps(binned, y_train, bins.sizes, categorical, seed),
        }
        auc[how] = {name: _auc(model, binned, y_train, bins(x_test), y_test) for name, model in models.items()}
    raw = scorecard.raw_design(x_train, x_test)
    baselines = {"raw": scorecard.raw_regression(), "boosting": scorecard.deep_boosting(seed)}
    others = {name: _auc(model, raw[0], y_train, raw[1], y_test) for name, model in baselines.items()}
    ours, three = auc["stumps"], ("one_hot", "woe", "stumps")
    over_encodings = [_mean_gap([auc[how][name] for name in three]) for how in auc]
    over_binnings = [_mean_gap([auc[how][name] for how in auc]) for name in three]
    return {
        **{f"auc_{name}": value for name, value in (ours | others).items()},
        "one_hot_minus_woe": ours["one_hot"] - ours["woe"],
        "one_hot_minus_stumps": ours["one_hot"] - ours["stumps"],
        "woe_minus_stumps": ours["woe"] - ours["stumps"],
        "woe_minus_monotone": ours["woe"] - ours["monotone"],
        "woe_minus_raw": ours["woe"] - others["raw"],
        "woe_minus_boosting": ours["woe"] - others["boosting"],
        "gap_over_encodings": float(np.mean(over_encodings)),
        "gap_over_binnings": float(np.mean(over_binnings)),
        "binning_minus_encoding": float(np.mean(over_binnings) - np.mean(over_encodings)),
    }


def selection(table: Table, seed: int, keep: int) -> Metrics:
    """Test AUC of WoE regressions on the `keep` features that each criterion ranks first in training."""
    train, test = _split(table.target, 0.3, seed)
    bins = scorecard.fit_bins(table.features.iloc[train], table.target[train], "stumps", seed)
    x_train, x_test = bins(table.features.iloc[train]), bins(table.features.iloc[test])
    y_train, y_test = table.target[train], table.target[test]
    tables = scorecard.count_tables(x_train, bins.sizes, y_train)
    auc = {}
    for name, criterion in scorecard.CRITERIA.items():
        best = np.argsort([-criterion(*counts) for counts in tables], kind="stable")[:keep]
        auc[name] = _subset_auc(best, bins.sizes, x_train, y_train, x_test, y_test)
    rest = [value for name, value in auc.items() if name != "iv"]
    return {**{f"auc_{name}": value for name, value in auc.items()}, "iv_minus_best": auc["iv"] - max(rest)}


def bootstrap_errors(table: Table, seed: int, draws: int = 1000) -> Metrics:
    """Bootstrap sd of IV per feature (stratified by class, bins held fixed) against the forms A, B, C."""
    bins = scorecard.fit_bins(table.features, table.target, "stumps")
    counts = scorecard.count_tables(bins(table.features), bins.sizes, table.target)
    forms: dict[str, method.Form] = {"a": "fixed_weights", "b": "independent_bins", "c": "multinomial"}
    rng = np.random.default_rng(seed)
    values, log_ratios = [], {name: [] for name in forms}
    for goods, bads in counts:
        # Resampling rows within a class draws that class's bin counts from a multinomial.
        sampled = method.fill_empty(*(_resampled(one, draws, rng) for one in (goods, bads)))
        spread = method.information_value(*sampled).std()
        values.append(float(method.information_value(goods, bads)))
        for name, form in forms.items():
            log_ratios[name].append(float((method.iv_standard_error(goods, bads, form) / spread).log()))
    errors = np.abs(np.array([log_ratios[name] for name in ("a", "b", "c")]))
    strong = np.array(values) > 0.05
    return {
        "iv": values,
        **{f"log_ratio_{name}": ratios for name, ratios in log_ratios.items()},
        **{f"median_error_{name}": float(np.median(row)) for name, row in zip(forms, errors, strict=True)},
        "c_closest_share": float(np.mean(errors.argmin(axis=0)[strong] == 2)),
        "strong_features": float(strong.sum()),
    }


def drift(table: Table, seed: int, splits: int = 20_000) -> Metrics:
    """False alarms of the chi-square PSI test on random halves, and of the fixed rule PSI > 0.1, by sample size."""
    bins = scorecard.fit_bins(table.features, table.target, "equal_frequency")
    rng = np.random.default_rng(seed)
    alarms, widest = [], np.zeros(0)
    for column, size in zip(bins(table.features).T, bins.sizes, strict=True):
        totals = np.bincount(column, minlength=size)
        first = rng.multivariate_hypergeometric(totals, len(table) // 2, size=splits, method="marginals")
        halves = method.fill_empty(torch.from_numpy(first), torch.from_numpy(totals - first))
        alarms.append(float((method.null_test(*halves)[1] < 0.05).double().mean()))
        widest = totals if len(totals) > len(widest) else widest
    shares = widest / widest.sum()
    moved = _tilted(shares, 0.05)
    results: Metrics = {"false_alarms": alarms, "bins": float(len(shares))}
    for n in (200, 20_000):
        same = method.fill_empty(*(torch.from_numpy(rng.multinomial(n, shares, size=splits)) for _ in range(2)))
        drifted = method.fill_empty(
            *(torch.from_numpy(rng.multinomial(n, law, size=splits)) for law in (shares, moved))
        )
        for name, pair in (("same", same), ("drifted", drifted)):
            psi = method.population_stability_index(*pair)
            results[f"rule_{name}_{n}"] = float((psi > method.PSI_MODERATE).double().mean())
            results[f"test_{name}_{n}"] = float((method.null_test(*pair)[1] < 0.05).double().mean())
    return results


def selection_bias(table: Table, seed: int, *, split: bool) -> Metrics:
    """Summed IV of the numeric features, bins learned on one half; measured there or, with `split`, on the other."""
    numbers = table.features[scorecard.numeric_columns(table.features)]
    learn, fresh = _split(table.target, 0.5, seed)
    bins = scorecard.fit_bins(numbers.iloc[learn], table.target[learn], "stumps", seed)
    rows = fresh if split else learn
    return {"iv": float(scorecard.iv_per_column(bins(numbers.iloc[rows]), bins.sizes, table.target[rows]).sum())}


def selection_null(table: Table, seed: int, permutations: int = 60) -> Metrics:
    """How often the null test rejects at 5 % where the target is permuted: on the half that chose the bins, and not."""
    numbers = table.features[scorecard.numeric_columns(table.features)]
    rng = np.random.default_rng(seed)
    rejected: dict[str, list[float]] = {"same_data": [], "split": []}
    for _ in range(permutations):
        target = rng.permutation(table.target)
        learn, fresh = _split(target, 0.5, int(rng.integers(1 << 31)))
        bins = scorecard.fit_bins(numbers.iloc[learn], target[learn], "stumps", seed)
        for name, rows in (("same_data", learn), ("split", fresh)):
            tables = scorecard.count_tables(bins(numbers.iloc[rows]), bins.sizes, target[rows])
            rejected[name] += [float(method.null_test(*counts)[1] < 0.05) for counts in tables]
    return {f"rejected_{name}": float(np.mean(values)) for name, values in rejected.items()}


def frontier(table: Table, protected: Ints, arm: str, seed: int, resamples: int = 500) -> Metrics:
    """What halving the summed IV^prot costs in test AUC, by the way (`arm`) in which features are left out.

    `programme` and `probabilistic` solve the 0/1 programme, the latter on IV^prot + z SE; `removal` drops the features
    with the highest IV^prot until the limit is met. Interval: 95 %, bootstrap over test rows.
    """
    x_train, y_train, x_test, y_test, sizes, value, cost, error, _ = _fair_setting(table, protected, seed)
    limit = cost.sum() / 2
    if arm == "removal":
        order = np.argsort(-cost, kind="stable")
        left = cost.sum() - np.cumsum(cost[order])
        kept = np.sort(order[int(np.argmax(left <= limit)) + 1 :])
    else:
        careful = method.upper_limit(torch.from_numpy(cost), torch.from_numpy(error)).numpy()
        kept = np.flatnonzero(method.select_features(value, careful if arm == "probabilistic" else cost, limit))
    scores = [_subset_scores(columns, sizes, x_train, y_train, x_test) for columns in (np.arange(len(value)), kept)]
    full, fair = (float(roc_auc_score(y_test, one)) for one in scores)
    # How often each test row is drawn in each resample.
    drawn = np.random.default_rng(seed).multinomial(len(y_test), np.full(len(y_test), 1 / len(y_test)), size=resamples)
    losses = _weighted_auc(scores[0], y_test, drawn) - _weighted_auc(scores[1], y_test, drawn)
    low, high = np.quantile(losses, [0.025, 0.975])
    return {
        "auc": fair, "auc_full": full, "auc_loss": full - fair, "loss_low": float(low), "loss_high": float(high),
        "kept": float(len(kept)), "features": float(len(value)), "iv_kept": float(value[kept].sum() / value.sum()),
        "protected_kept": float(cost[kept].sum() / cost.sum()),
    }  # fmt: skip


def protected_paths(table: Table, protected: Ints, seed: int) -> Metrics:
    """Test AUC and the score's IV^prot along the front, and as the features with the highest IV^prot go."""
    x_train, y_train, x_test, y_test, sizes, value, cost, _, groups = _fair_setting(table, protected, seed)
    shares = np.linspace(0.1, 1.0, 10)
    front = [np.flatnonzero(method.select_features(value, cost, share * cost.sum())) for share in shares]
    order = np.argsort(-cost, kind="stable")
    removal = [np.sort(order[count:]) for count in range(len(order))]
    found: dict[str, list[list[float]]] = {"front": [], "removal": []}
    for name, subsets in (("front", front), ("removal", removal)):
        for columns in subsets:
            train, test = (_subset_scores(columns, sizes, x_train, y_train, rows) for rows in (x_train, x_test))
            found[name].append([roc_auc_score(y_test, test), _score_iv(train, test, groups)])
    front_auc, front_iv = zip(*found["front"], strict=True)
    removal_auc, removal_iv = zip(*found["removal"], strict=True)
    return {
        "front_share": shares.tolist(), "front_auc": list(front_auc), "front_score_iv": list(front_iv),
        "removal_auc": list(removal_auc), "removal_score_iv": list(removal_iv),
        "front_auc_trend": float(spearmanr(shares, front_auc).statistic),
        "removal_score_iv_trend": float(spearmanr(np.arange(len(removal)), removal_iv).statistic),
    }  # fmt: skip


def _fair_setting(table: Table, protected: Ints, seed: int) -> tuple:
    """Binned halves of a split, and IV, IV^prot and its standard error per feature, all from training rows."""
    train, test = _split(table.target, 0.3, seed)
    bins = scorecard.fit_bins(table.features.iloc[train], table.target[train], "stumps", seed)
    x_train, x_test = bins(table.features.iloc[train]), bins(table.features.iloc[test])
    value = scorecard.iv_per_column(x_train, bins.sizes, table.target[train])
    tables = scorecard.count_tables(x_train, bins.sizes, protected[train])
    cost = np.array([float(method.information_value(*counts)) for counts in tables])
    error = np.array([float(method.iv_standard_error(*counts)) for counts in tables])
    return x_train, table.target[train], x_test, table.target[test], bins.sizes, value, cost, error, protected[test]


def _split(target: Ints, share: float, seed: int) -> tuple[Ints, Ints]:
    """Rows of two parts, stratified by target; the second holds `share` of them."""
    first, second = train_test_split(np.arange(len(target)), test_size=share, stratify=target, random_state=seed)
    return first, second


def _auc(model: BaseEstimator, x_train: Array, y_train: Ints, x_test: Array, y_test: Ints) -> float:
    return float(roc_auc_score(y_test, model.fit(x_train, y_train).predict_proba(x_test)[:, 1]))


def _subset_scores(columns: Ints, sizes: list[int], x_train: Ints, y_train: Ints, x_test: Ints) -> Array:
    """Log-odds of target 1 by a WoE regression on some of the columns; without any, zero for all."""
    if len(columns) == 0:
        return np.zeros(len(x_test))
    model = scorecard.woe_regression([sizes[column] for column in columns]).fit(x_train[:, columns], y_train)
    return model.decision_function(x_test[:, columns])


def _subset_auc(columns: Ints, sizes: list[int], x_train: Ints, y_train: Ints, x_test: Ints, y_test: Ints) -> float:
    return float(roc_auc_score(y_test, _subset_scores(columns, sizes, x_train, y_train, x_test)))


def _weighted_auc(scores: Array, target: Ints, weights: Ints) -> Array:
    """AUC (R,) of scores (N,) where row n counts weights[r, n] times: the share of pairs in order, ties by half."""
    bad, good = scores[target == 1], scores[target == 0]
    wins = (bad[:, None] > good) + 0.5 * (bad[:, None] == good)
    of_bad, of_good = weights[:, target == 1], weights[:, target == 0]
    return ((of_bad @ wins) * of_good).sum(axis=1) / (of_bad.sum(axis=1) * of_good.sum(axis=1))


def _score_iv(train: Array, test: Array, groups: Ints) -> float:
    """IV of the score with respect to the protected groups: fifths of the training scores, test rows."""
    bins = np.searchsorted(np.unique(np.quantile(train, [0.2, 0.4, 0.6, 0.8])), test)
    counts = method.bin_counts(torch.from_numpy(bins), torch.from_numpy(groups), 5)
    present = counts[0] + counts[1] > 0
    return float(method.information_value(*method.fill_empty(*(one[present] for one in counts))))


def _mean_gap(values: list[float]) -> float:
    """Mean absolute difference over all pairs: unlike a range, it does not grow with the number of values."""
    return float(np.mean([abs(first - second) for first, second in combinations(values, 2)]))


def _resampled(counts: torch.Tensor, draws: int, rng: np.random.Generator) -> torch.Tensor:
    total = counts.sum()
    return torch.from_numpy(rng.multinomial(round(float(total)), (counts / total).numpy(), size=draws))


def _tilted(shares: Array, psi: float) -> Array:
    """Shares times exp(t i), normalised, with t > 0 such that their PSI against `shares` is `psi`."""
    low, high = 0.0, 1.0
    rank = np.arange(len(shares))
    for _ in range(60):
        middle = (low + high) / 2
        tilted = shares * np.exp(middle * rank)
        tilted /= tilted.sum()
        found = float(method.jeffreys(torch.from_numpy(tilted), torch.from_numpy(shares)))
        low, high = (middle, high) if found < psi else (low, middle)
    return tilted
