"""Bootstrap, tests and ceilings agree with plain loops over samples, and have the error rates that they promise."""

import numpy as np
import pytest
import scipy.spatial.distance as distance
import scipy.stats

from cotrain.analysis import (
    Rdm,
    compare_rdms,
    noise_ceiling,
    permutation_test,
    rdm,
    rsa_bootstrap,
    rsa_table,
    rsa_tests,
    second_order_rdm,
)
from cotrain.analysis import _rsa_bootstrap as inside
from cotrain.analysis._rsa_tests import corrected
from cotrain.errors import CotrainError, DataError

METHODS = ("pearson", "cosine", "spearman", "rho_a", "cka", "whitened_pearson")


def simulated(subjects=4, stimuli=9, noise=1.0, seed=0, features=30):
    """RDMs of subjects whose features are those of a true model with noise, and that of the model."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(stimuli, features))
    noisy = [rdm(truth + noise * generator.normal(size=truth.shape), "squared_euclidean") for _ in range(subjects)]
    return np.stack(noisy), rdm(truth, "squared_euclidean")


def flat_models(model, other):
    return {"true": model, "other": other}


def copied(matrix, rows):
    """With stimuli drawn again; pairs of copies are NaN, their own distance is 0."""
    found = matrix[np.ix_(rows, rows)].copy()
    found[np.equal.outer(rows, rows)] = np.nan
    np.fill_diagonal(found, 0)
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("over", ["stimuli", "subjects", "both"])
def test_samples_are_those_of_copied_rows(method, over, monkeypatch):
    """A loop that copies rows as rsatoolbox does, compares, and leaves out copies of a subject together."""
    data, model = simulated()
    data[:, 2, 5] = data[:, 5, 2] = data[:, 0, 1]  # ties
    data[:, 1, 0] = data[:, 0, 1]
    other = simulated(seed=9)[1]
    drawn = []
    draw = inside._drawn

    def recorded(*arguments):
        drawn.append(draw(*arguments))
        return drawn[-1]

    monkeypatch.setattr(inside, "_drawn", recorded)
    found = rsa_bootstrap(flat_models(model, other), data, method, over=over, draws=5, seed=3).samples[over]
    of_subjects, of_stimuli = (counts.numpy().astype(int) for counts in drawn)
    for sample in range(5):
        people = np.repeat(np.arange(4), of_subjects[sample]) if over != "stimuli" else np.arange(4)
        rows = np.repeat(np.arange(9), of_stimuli[sample]) if over != "subjects" else np.arange(9)
        shown = [copied(data[person], rows) for person in people]
        for column, one in enumerate((model, other)):
            expected = np.mean([compare_rdms(copied(one, rows), own, method, missing="omit") for own in shown])
            assert found[sample, column] == pytest.approx(expected, abs=1e-9)
        if method in ("pearson", "cosine", "spearman", "rho_a"):
            assert found[sample, -2:] == pytest.approx(slow_ceiling(shown, people, method), abs=1e-9)


def slow_ceiling(shown, people, method):
    """Pooled over pairs that are there: z-scores, unit vectors or ranks; copies of a subject are left out together."""
    rows = np.triu_indices(len(shown[0]), 1)
    there = np.isfinite(shown[0][rows])
    held = np.array([one[rows][there] for one in shown])
    pooled = {
        "pearson": lambda x: (x - x.mean()) / x.std(),
        "cosine": lambda x: x / np.linalg.norm(x),
    }.get(method, scipy.stats.rankdata)
    parts = np.array([pooled(one) for one in held])
    compared = {
        "pearson": lambda x, y: np.corrcoef(x, y)[0, 1],
        "cosine": lambda x, y: 1 - distance.cosine(x, y),
        "spearman": lambda x, y: scipy.stats.spearmanr(x, y).statistic,
        "rho_a": rho_a,
    }[method]
    lower = [compared(parts[people != person].sum(0), own) for person, own in zip(people, held, strict=True)]
    upper = [compared(parts.sum(0), own) for own in held]
    return np.mean(lower), np.mean(upper)


def rho_a(x, y):
    a, b = (scipy.stats.rankdata(one) - (len(x) + 1) / 2 for one in (x, y))
    return 12 * (a @ b) / (len(x) ** 3 - len(x))


@pytest.mark.parametrize(
    "method", ["pearson", "spearman", "rho_a", "whitened_pearson", "unbiased_cka", "tau_a", "tau_b"]
)
def test_ceilings_hold_the_true_model(method):
    """Noise raises all of these distances alike, which "cosine" and "cka" do not leave out."""
    data, model = simulated(subjects=8, stimuli=20, noise=1.5)
    lower, upper = noise_ceiling(data, method)
    truth = compare_rdms(model, data, method).mean()
    assert lower < truth <= upper + 1e-9
    again = noise_ceiling(data[::-1].copy(), method)
    assert again == pytest.approx((lower, upper), abs=1e-12)
    alike = noise_ceiling(np.stack([model, model]), method)
    assert alike == pytest.approx((1, 1), abs=1e-9)


def test_no_rdm_exceeds_the_upper_bound():
    data, _ = simulated(subjects=3, stimuli=6, noise=2)
    others = np.stack([*(simulated(1, 6, seed=seed)[1] for seed in range(50)), data.mean(0)])
    for method in ("pearson", "cosine", "cka", "unbiased_cka"):
        assert compare_rdms(others, data, method).mean(1).max() <= noise_ceiling(data, method).upper + 1e-9


def test_the_two_factor_variance_is_that_of_new_subjects_and_new_stimuli():
    """Against the variance over whole new experiments, which the naive bootstrap of both overestimates."""

    def experiment(seed):
        generator = np.random.default_rng(seed)
        stimuli = generator.normal(size=(20, 12))
        people = [stimuli @ generator.normal(size=(12, 12)) + 2.5 * generator.normal(size=(20, 12)) for _ in range(8)]
        return np.stack([rdm(one, "squared_euclidean") for one in people]), rdm(stimuli, "squared_euclidean")

    values, variances, naive = [], [], []
    for seed in range(40):
        data, model = experiment(seed)
        found = rsa_bootstrap({"model": model}, data, over="both", draws=100, seed=seed)
        values.append(found.similarity[0])
        variances.append(found.variance(np.array([1.0, 0, 0])))
        naive.append(found.samples["both"][:, 0].var(ddof=1))
    truth = np.var(values, ddof=1)
    assert 0.6 < np.mean(variances) / truth < 2.4  # with 20 stimuli the bootstrap is cautious: 1.7 over 60 experiments
    assert np.mean(naive) > 1.15 * np.mean(variances)


def test_tests_are_students_on_the_variances():
    data, model = simulated(subjects=6, stimuli=12, noise=1)
    models = {"true": model, "other": simulated(seed=5, stimuli=12)[1], "third": simulated(seed=6, stimuli=12)[1]}
    held = rsa_bootstrap(models, data, "pearson", over="subjects", draws=200)
    found = rsa_tests(held).set_index(["test", "model", "other"])
    assert len(found) == 3 + 3 + 3
    assert (found.tests == 3).all() and (found.correction == "holm").all() and (found.degrees_of_freedom == 5).all()
    samples = held.samples["subjects"]
    error = (6 / 5 * samples[:, 0].var(ddof=1)) ** 0.5
    row = found.loc[("zero", "true", "0")]
    assert row.t == pytest.approx(held.similarity[0] / error)
    assert row.p == pytest.approx(scipy.stats.t.sf(row.t, 5))
    error = (6 / 5 * (samples[:, 0] - samples[:, 2]).var(ddof=1)) ** 0.5
    row = found.loc[("models", "true", "third")]
    assert row.p == pytest.approx(2 * scipy.stats.t.sf(abs(held.similarity[0] - held.similarity[2]) / error, 5))
    error = (6 / 5 * (samples[:, 1] - samples[:, -2]).var(ddof=1)) ** 0.5
    assert found.loc[("ceiling", "other", "ceiling")].standard_error == pytest.approx(error)
    table = held.table(0.9)
    assert table.low[0] == pytest.approx(table.similarity[0] - scipy.stats.t.ppf(0.95, 5) * table.standard_error[0])
    single = rsa_bootstrap({"true": model}, data[0], over="stimuli", draws=50)
    assert np.isnan(single.ceiling).all() and set(rsa_tests(single).test) == {"zero"}
    with pytest.raises(CotrainError, match=r"no correction 'hol'.*Did you mean 'holm'"):
        rsa_tests(single, correction="hol")


def test_corrections_are_the_published_ones():
    p = np.array([0.03, 0.001, 0.04, 0.2, 0.0])
    np.testing.assert_allclose(corrected(p, "bonferroni"), [0.15, 0.005, 0.2, 1, 0])
    np.testing.assert_allclose(corrected(p, "holm"), [0.09, 0.004, 0.09, 0.2, 0])
    np.testing.assert_allclose(corrected(p, "benjamini_hochberg"), [0.05, 0.0025, 0.05, 0.2, 0])
    assert corrected(p, "none") is p
    assert np.isnan(corrected(np.array([np.nan, 0.01]), "holm")).tolist() == [True, False]
    assert corrected(np.array([np.nan, 0.01]), "holm")[1] == pytest.approx(0.02)


@pytest.mark.parametrize("method", ["pearson", "rho_a", "cka", "unbiased_cka", "tau_a", "bures"])
def test_permutations_exchange_rows_and_columns_together(method):
    data, model = simulated(1, 8, noise=0.7)
    found = permutation_test(model, data[0], method, permutations=19, seed=1)
    assert found.similarity == pytest.approx(compare_rdms(model, data[0], method))
    generator = np.random.default_rng(inside.derive_seed(1, "order", "rsa_permutation"))
    higher = 0
    for _ in range(19):
        order = generator.permutation(8)
        higher += compare_rdms(model, data[0][np.ix_(order, order)], method) >= found.similarity - 1e-12
    assert found.p == pytest.approx((1 + higher) / 20)
    assert found == permutation_test(model, data[0], method, permutations=19, seed=1)


def test_permutation_p_values_are_uniform_without_a_relation():
    values = [
        permutation_test(simulated(1, 8, seed=seed)[1], simulated(1, 8, seed=seed + 500)[1], permutations=49).p
        for seed in range(60)
    ]
    assert scipy.stats.kstest(values, "uniform").pvalue > 1e-3


def test_draws_are_the_seeds_and_nothing_elses():
    data, model = simulated()
    first, same, other = (rsa_bootstrap({"a": model}, data, draws=20, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.samples["both"], same.samples["both"])
    assert not np.array_equal(first.samples["both"], other.samples["both"])


def test_tables_of_layers_and_areas():
    data, model = simulated(stimuli=12)
    other = simulated(seed=3, stimuli=12)[1]
    found = rsa_table({"layer1": other, "layer2": model}, {"IT": data, "V4": model}, "spearman")
    assert found[["layer", "area"]].apply(tuple, axis=1).tolist() == [
        ("layer1", "IT"), ("layer2", "IT"), ("layer1", "V4"), ("layer2", "V4"),
    ]  # fmt: skip
    each = compare_rdms(other, data, "spearman")
    assert found.similarity[0] == pytest.approx(each.mean())
    assert found.standard_error[0] == pytest.approx(scipy.stats.sem(each))
    assert (found.ceiling_lower[0], found.ceiling_upper[0]) == pytest.approx(noise_ceiling(data, "spearman"))
    assert found.similarity[3] == pytest.approx(1) and np.isnan(found.ceiling_lower[3]) and found.subjects[3] == 1
    with pytest.raises(DataError, match="'layer1' must be one RDM"):
        rsa_table({"layer1": data}, {"IT": data})


def test_second_order_rdms_are_one_less_the_similarity():
    names = tuple("abcdefghi")
    data, model = simulated()
    order = np.random.default_rng(0).permutation(9)
    shuffled = Rdm(data[0][np.ix_(order, order)], ids=tuple(np.array(names)[order]))
    held = {"model": Rdm(model, ids=names), "subject": shuffled, "other": Rdm(data[1], ids=names)}
    found = second_order_rdm(held, "tau_a")
    assert list(found.index) == list(found.columns) == ["model", "subject", "other"]
    assert found.loc["model", "subject"] == pytest.approx(1 - compare_rdms(model, data[0], "tau_a"))
    np.testing.assert_array_equal(np.diag(found), 0)
    assert compare_rdms(found.to_numpy(), found.to_numpy()) == pytest.approx(1)  # an RDM itself
    with pytest.raises(DataError, match="needs two RDMs or more, found 1"):
        second_order_rdm({"a": model})
    with pytest.raises(DataError, match="'b' must be one RDM"):
        second_order_rdm({"a": model, "b": data})


def test_what_cannot_be_inferred_is_refused():
    data, model = simulated()
    with pytest.raises(CotrainError, match=r"no bootstrap over both by 'tau_a'.*use 'rho_a'"):
        rsa_bootstrap({"a": model}, data, "tau_a")
    with pytest.raises(CotrainError, match="over 'stimuli', 'subjects' or 'both', found 'images'"):
        rsa_bootstrap({"a": model}, data, over="images")
    with pytest.raises(CotrainError, match="2 draws or more, found 1"):
        rsa_bootstrap({"a": model}, data, draws=1)
    with pytest.raises(DataError, match="over both needs 2 subjects or more, found 1"):
        rsa_bootstrap({"a": model}, data[0])
    with pytest.raises(DataError, match="needs 6 stimuli or more, found 5"):
        rsa_bootstrap({"a": model[:5, :5]}, data[:, :5, :5])
    with pytest.raises(DataError, match="no model to compare"):
        rsa_bootstrap({}, data)
    with pytest.raises(DataError, match="model 'a' must be one RDM"):
        rsa_bootstrap({"a": data}, data)
    with pytest.raises(CotrainError, match="no noise ceiling by 'bures'"):
        noise_ceiling(data, "bures")
    with pytest.raises(DataError, match="2 subjects or more; found 1"):
        noise_ceiling(data[0])
    with pytest.raises(CotrainError, match="needs a permutation or more, found 0"):
        permutation_test(model, model, permutations=0)
    with pytest.raises(DataError, match=r"of two RDMs, .* found several"):
        permutation_test(model, data)
    broken = data.copy()
    broken[1, 2, 3] = broken[1, 3, 2] = np.nan
    for use in (noise_ceiling, lambda rdms: rsa_bootstrap({"a": model}, rdms)):
        with pytest.raises(DataError, match="1 pairs are NaN, of 2 stimuli"):
            use(broken)
