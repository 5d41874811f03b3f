"""What the distances between occupancies say of samples of which all is known."""

from __future__ import annotations

import numpy as np
import pytest

from gailfe_jax.analysis.occupancy import Reference, classifier_accuracy, reference_of, sliced_wasserstein
from gailfe_jax.errors import GailfeError
from tests.tiny import toy_demonstrations
from tests.toy import Cliff, cliff_expert

SIZE, TRAJECTORIES, LENGTH = 5, 20, 60
WHOSE = np.repeat(np.arange(TRAJECTORIES), LENGTH)


def normal(seed, shift=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(len(WHOSE), SIZE)) + shift


@pytest.fixture(scope="module")
def reference():
    # In units of its own: what is compared is standardised.
    return Reference(100.0 * normal(0) + 7.0, WHOSE)


def test_a_shift_is_its_length_over_the_root_of_the_dimension():
    """Along a direction `u` two normals that differ by `m` are `|m . u|` apart, and `E (m . u)^2 = |m|^2 / d`."""
    one, shift = normal(0), np.array([3.0, 0, 0, 0, 4.0])
    # The root of the mean over directions drawn at random.
    found = [sliced_wasserstein(one, one + shift, np.random.default_rng(seed)) for seed in range(30)]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(5.0 / np.sqrt(SIZE), rel=0.05)
    assert sliced_wasserstein(one, one[::-1], np.random.default_rng(0)) == 0.0


def test_a_wider_normal_is_apart_by_what_its_deviation_is_more():
    found = sliced_wasserstein(normal(0), normal(1, scale=3.0), np.random.default_rng(0))
    assert found == pytest.approx(2.0, rel=0.05)


def test_samples_of_different_sizes_are_compared_by_their_quantiles():
    one = np.repeat(np.linspace(0, 1, 200)[:, None], SIZE, axis=1)
    # Every number twice, and then all of them moved.
    assert sliced_wasserstein(one, np.repeat(one, 2, axis=0), np.random.default_rng(0)) < 0.01
    moved = sliced_wasserstein(one, np.repeat(one, 2, axis=0) + 1.0, np.random.default_rng(0))
    assert moved == pytest.approx(sliced_wasserstein(one, one + 1.0, np.random.default_rng(0)), abs=0.01)


def test_equal_distributions_are_as_near_as_the_halves(reference):
    found = reference.compare(100.0 * normal(1) + 7.0, WHOSE)
    assert found.distance == pytest.approx(found.distance_of_halves, rel=0.3)
    assert abs(found.accuracy - 0.5) < 0.05


def test_both_numbers_grow_with_the_shift(reference):
    found = [reference.compare(100.0 * normal(1, shift) + 7.0, WHOSE) for shift in (0.0, 0.2, 0.5, 1.0, 3.0)]
    for name in ("distance", "accuracy"):
        values = [getattr(row, name) for row in found]
        assert values == sorted(values) and len(set(values)) == 5, name
    assert found[-1].accuracy > 0.99
    # Shifted by 3 in each of the dimensions.
    assert found[-1].distance == pytest.approx(3.0, rel=0.1)


def test_what_a_line_cannot_tell_apart_the_features_do():
    """Both are centred, and one lies on a shell around the other."""
    inner, outer = normal(0, scale=0.3), normal(1)
    outer *= 3.0 / np.linalg.norm(outer, axis=1, keepdims=True)
    found = classifier_accuracy((inner[::2], outer[::2]), (inner[1::2], outer[1::2]), np.random.default_rng(0))
    assert found > 0.9


def test_the_same_pairs_give_the_same_numbers(reference):
    pairs = 100.0 * normal(1, 0.5)
    assert reference.compare(pairs, WHOSE) == reference.compare(pairs.copy(), WHOSE)
    other = Reference(reference.pairs, reference.trajectory, seed=1).compare(pairs, WHOSE)
    assert other != reference.compare(pairs, WHOSE)


def test_what_never_changes_is_compared_as_it_is():
    pairs = normal(0)
    pairs[:, 0] = 2.0
    moved = pairs.copy()
    moved[:, 0] = 3.0
    found = Reference(pairs, WHOSE).compare(moved, WHOSE)
    assert found.accuracy == 1.0 and found.distance > 2 * found.distance_of_halves


def test_one_trajectory_and_odd_numbers_of_pairs_can_be_compared():
    found = Reference(normal(0)[:31], np.zeros(31)).compare(normal(1, 5.0)[:7], np.zeros(7))
    assert np.isfinite(found).all() and found.distance > found.distance_of_halves


def test_too_little_is_refused(reference):
    with pytest.raises(GailfeError, match=r"^demos: got 3 pair\(s\) .* expected at least 4"):
        Reference(normal(0)[:3], WHOSE[:3])
    with pytest.raises(GailfeError, match=r"^pairs: got \[3, 5\]; expected \[m, 5\] with m from 4"):
        reference.compare(normal(0)[:3], WHOSE[:3])


def test_trajectories_become_pairs_that_know_theirs():
    expert = toy_demonstrations(Cliff(), cliff_expert(), trajectories=3, failures=0).expert
    reference = reference_of(expert)
    assert reference.pairs.shape == (expert.num_transitions, 4)
    assert np.bincount(reference.trajectory).tolist() == expert.lengths.tolist()
    np.testing.assert_array_equal(reference.pairs[:, 2:], expert.action)
    assert reference.compare_visited(np.zeros((2, 1, 2)), np.zeros((2, 1, 2)), np.ones((2, 1), bool)) is None
