"""The published protocols, written out again with loops; and what the corrected ones promise."""

import logging

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.svm import LinearSVC

from cotrain.analysis import RecordingNoise, linear_svm_score, sit_score
from cotrain.analysis import _linear_svm as svm
from cotrain.analysis._noise_matching import match_noise
from cotrain.analysis._object_splits import object_numbers, random_part
from cotrain.errors import CotrainError, DataError
from cotrain.seeds import derive_seed

OBJECTS, EACH = 8, 10


def recorded(seed=0, objects=OBJECTS, each=EACH, features=20, neurons=12, noise=0.5):
    """Features and responses that share the geometry of objects; (images, features), (images, neurons)."""
    generator = np.random.default_rng(seed)
    shown = np.repeat(generator.normal(size=(objects, 6)), each, 0) + noise * generator.normal(size=(objects * each, 6))
    return shown @ generator.normal(size=(6, features)), 2 * shown @ generator.normal(size=(6, neurons))


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr("cotrain.analysis._sit.SAMPLES", 100)


def test_noise_is_that_of_the_recording():
    """The constants and formulas of Cadieu et al. 2014 as the predecessor used them: one scale, noise in proportion."""
    features, responses = recorded(each=200)
    noise = RecordingNoise()
    found = match_noise(features, responses, noise, np.random.default_rng(5))
    expected_noise = np.mean((0.14 * responses + 0.92) ** 2) / 47
    scale = np.sqrt((np.var(responses) - expected_noise) / np.var(features))
    drawn = np.random.default_rng(5).standard_normal(features.shape)
    expected = scale * features + (0.14 * scale * features + 0.92) * drawn / np.sqrt(47)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.var(found) == pytest.approx(np.var(responses), rel=0.02)
    with pytest.raises(DataError, match=r"variance 1e-06 is not above that of their noise alone, 0\.018"):
        match_noise(features, np.tile([0.001, -0.001], (4, 1)), noise, np.random.default_rng(0))
    with pytest.raises(DataError, match="All features are equal"):
        match_noise(np.ones((4, 3)), responses, noise, np.random.default_rng(0))


def test_the_published_sit_score_written_out():
    features, responses = recorded()
    found = sit_score(features, responses, objects=OBJECTS, draws=4, share=0.3, seed=7)
    for draw in range(4):
        images = np.random.default_rng(derive_seed(7, "split", "sit", draw))
        noises = np.random.default_rng(derive_seed(7, "noise", "sit", draw))
        # three of ten consecutive images an object
        rows = np.sort(np.concatenate([images.permutation(np.arange(n * EACH, (n + 1) * EACH))[:3] for n in range(8)]))
        noisy = match_noise(features[rows], responses[rows], RecordingNoise(), noises)
        matrices = [
            1 - np.corrcoef([values[3 * n : 3 * n + 3].mean(0) for n in range(OBJECTS)])
            for values in (noisy, responses[rows])
        ]
        upper = [matrix[np.triu_indices(OBJECTS, 1)] for matrix in matrices]
        assert found.draws[draw] == pytest.approx(scipy.stats.spearmanr(*upper).statistic, abs=1e-12)
    assert found.mean == pytest.approx(found.draws.mean()) and found.spread == pytest.approx(np.std(found.draws))
    assert found.images == 3 and found.variant == "published" and np.isnan(found.low)


def test_objects_are_blocks_of_forty_nine_or_labels():
    features, responses = recorded(objects=49, each=40, features=6)
    found = sit_score(features, responses, draws=2)
    assert found.images == 8  # of 40, as published
    numbers = np.repeat(np.arange(49), 40)
    order = np.random.default_rng(0).permutation(len(numbers))
    labels = np.array([f"object {number:02d}" for number in numbers])
    whole = sit_score(features, responses, variant="all_images", draws=1, noise=None)
    mixed = sit_score(
        torch.tensor(features[order]), torch.tensor(responses[order]), objects=labels[order], variant="all_images",
        draws=1, noise=None,
    )  # fmt: skip
    assert mixed.mean == pytest.approx(whole.mean, abs=1e-9) and whole.images == 40
    np.testing.assert_array_equal(object_numbers(49, 1960), numbers)


def test_sit_of_all_images_uses_all_and_says_how_sure_it_is():
    features, responses = recorded(objects=30)
    found = sit_score(features, responses, objects=30, variant="all_images", draws=5)
    assert found.images == EACH and found.low < found.mean < found.high
    assert found.spread < sit_score(features, responses, objects=30, draws=5).spread
    assert sit_score(responses, responses, objects=30, variant="all_images", noise=None, draws=1).mean == pytest.approx(
        1
    )
    unrelated = np.random.default_rng(1).normal(size=features.shape)
    low = sit_score(unrelated, responses, objects=30, variant="all_images", draws=2)
    assert low.low < 0 < low.high


def test_networks_are_compared_on_the_same_images(monkeypatch):
    features, responses = recorded()
    taken = []
    whole = random_part

    def remembered(*arguments):
        taken.append(whole(*arguments)[0].tolist())
        return whole(*arguments)

    monkeypatch.setattr("cotrain.analysis._sit.random_part", remembered)
    for values in (features, features[:, :7]):
        sit_score(values, responses, objects=OBJECTS, draws=3, seed=2)
    assert taken[:3] == taken[3:]
    again = [sit_score(features, responses, objects=OBJECTS, draws=3, seed=seed).mean for seed in (2, 2, 3)]
    assert again[0] == again[1] != again[2]


def test_the_published_svm_score_written_out():
    features, _ = recorded(noise=1.5)
    features = features / 10
    numbers = np.repeat(np.arange(OBJECTS), EACH)
    found = linear_svm_score(features, OBJECTS, splits=2, subsets=2, subset_features=6, seed=3)
    scores = []
    for split in range(2):
        generator = np.random.default_rng(derive_seed(3, "split", "svm", split))
        test, rest = random_part(numbers, 0.2, generator)
        choose, train = (rest[part] for part in random_part(numbers[rest], 0.2, generator))
        assert (len(test), len(choose), len(train)) == (16, 8, 56)  # int(10 * .2), int(8 * .2) images an object
        for subset in range(2):
            columns = np.random.default_rng(derive_seed(3, "initialisation", "svm", split, subset)).permutation(20)[:6]
            solver = derive_seed(3, "order", "svm", split) % 2**32

            def accuracy(strength, rows, rounds, train=train, columns=columns, solver=solver):
                machine = LinearSVC(C=strength, max_iter=rounds, random_state=solver)
                machine.fit(features[train][:, columns], numbers[train])
                return machine.score(features[rows][:, columns], numbers[rows])

            best = max((1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2), key=lambda strength: accuracy(strength, choose, 1000))
            scores.append(accuracy(best, test, 5000))
            assert found.strengths[len(scores) - 1] == best
    np.testing.assert_allclose(found.scores, scores)
    assert found.mean == pytest.approx(np.mean(scores)) and found.fits == 2 * 2 * 7
    assert found.chance == 1 / 8


def test_grid_search_reports_the_best_of_what_it_chose_with():
    """The optimism of the published judgement of finetuning: on noise it is above chance, the nested score is not."""
    generator = np.random.default_rng(0)
    values, labels = generator.normal(size=(60, 8)) / 5, np.repeat(["a", "b", "c"], 20)
    grid = [linear_svm_score(values, labels, variant="grid_search", splits=3, seed=seed) for seed in range(4)]
    nested = [linear_svm_score(values, labels, variant="nested", splits=3, seed=seed) for seed in range(4)]
    assert np.mean([one.mean for one in grid]) > np.mean([one.mean for one in nested])
    assert all(len(set(one.strengths)) == 1 for one in grid)
    assert sum(one.low < 1 / 3 < one.high for one in nested) >= 3


def test_nested_tests_each_image_once_and_keeps_it_out_of_training(monkeypatch):
    features, _ = recorded(noise=0.3)
    tested = []
    scaled = svm._scaled

    def remembered(values, numbers, train, test):
        assert not set(train) & set(test)
        tested.append(test)
        return scaled(values, numbers, train, test)

    monkeypatch.setattr(svm, "_scaled", remembered)
    found = linear_svm_score(1e4 * features + 100, OBJECTS, variant="nested", splits=5)  # scale and level do not count
    outer = np.concatenate(tested[4::5])  # after four inner folds each
    assert sorted(outer) == list(range(OBJECTS * EACH))
    for start in range(0, 25, 5):
        inner = np.concatenate(tested[start : start + 4])
        assert sorted([*inner, *tested[start + 4]]) == list(range(OBJECTS * EACH))
    assert found.mean > 0.8 and found.low < found.mean < found.high and len(found.strengths) == 5


def test_machines_that_do_not_converge_are_counted(caplog, monkeypatch):
    monkeypatch.setattr(svm, "SEARCH_ROUNDS", 1)
    monkeypatch.setattr(svm, "FINAL_ROUNDS", 1)
    features, _ = recorded()
    with caplog.at_level(logging.WARNING):
        found = linear_svm_score(100 * features, OBJECTS, splits=1, subset_features=None)
    assert 0 < found.unfinished <= found.fits == 7  # all features: one subset
    assert f"{found.unfinished} of 7 linear support vector machines had not converged" in caplog.text


def test_noise_is_matched_where_responses_are_given():
    features, responses = recorded(noise=0.3)
    arguments = {"variant": "nested", "splits": 2}
    clean = linear_svm_score(features, OBJECTS, **arguments)
    noisy = linear_svm_score(
        features, OBJECTS, responses=responses, noise=RecordingNoise(slope=0, offset=3, repeats=1), **arguments
    )
    assert noisy.mean < clean.mean
    with pytest.raises(CotrainError, match="give its responses too"):
        linear_svm_score(features, OBJECTS, noise=RecordingNoise())
    with pytest.raises(DataError, match="Features are of 80 images, responses of 79"):
        linear_svm_score(features, OBJECTS, responses=responses[:-1])


def test_bad_objects_and_features_are_refused():
    features, responses = recorded()
    with pytest.raises(DataError, match="80 images are not the same number of each of 49 objects"):
        sit_score(features, responses)
    with pytest.raises(DataError, match=r"needs the label of its object, found labels of shape \(3,\)"):
        sit_score(features, responses, objects=np.arange(3))
    with pytest.raises(DataError, match="All images are of one object"):
        linear_svm_score(features, np.zeros(80))
    with pytest.raises(DataError, match=r"share of 0\.05 of the 10 images of object 0 is 0 images"):
        sit_score(features, responses, objects=OBJECTS, share=0.05)
    with pytest.raises(DataError, match="Features are of 80 images, responses of 72"):
        sit_score(features, responses[:72], objects=OBJECTS)
    with pytest.raises(CotrainError, match="no SIT score 'corrected'; expected 'published' or 'all_images'"):
        sit_score(features, responses, variant="corrected")
    with pytest.raises(CotrainError, match="needs a draw or more, found 0"):
        sit_score(features, responses, draws=0)
    with pytest.raises(CotrainError, match=r"no linear SVM score 'nest'.*Did you mean 'nested'"):
        linear_svm_score(features, OBJECTS, variant="nest")
    with pytest.raises(CotrainError, match="'nested' needs 2 splits or more, found 1"):
        linear_svm_score(features, OBJECTS, variant="nested", splits=1)
    with pytest.raises(DataError, match="A subset of 168 features needs as many, found 20"):
        linear_svm_score(features, OBJECTS)
    with pytest.raises(DataError, match="11 folds need as many images of each object, one has 10"):
        linear_svm_score(features, OBJECTS, variant="nested", splits=11)
    with pytest.raises(DataError, match=r"Features must be \(images, features\), found \(80, 20, 1\)"):
        sit_score(features[..., None], responses, objects=OBJECTS)
    features[3, 3] = np.nan
    with pytest.raises(DataError, match="Features hold 1 numbers that are NaN or infinite"):
        linear_svm_score(features, OBJECTS)
