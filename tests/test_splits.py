"""From samples to splits: invalid samples, windows, fractions and the scale of the examples, by hand-computed cases."""

from inspect import Parameter, signature

import numpy as np
import pytest
import torch

from san.data.scale import Scale
from san.data.scaling import finite_samples, scaled_splits, signal_splits, split_in_order, split_into_windows
from san.data.splits import Labels

pytestmark = pytest.mark.usefixtures("untyped")

NAN, INF = float("nan"), float("inf")


def test_invalid_samples_are_interpolated_linearly_and_held_at_the_ends(caplog):
    samples = np.array([NAN, 2.0, -INF, INF, 8.0, NAN, NAN])
    assert finite_samples(samples, "interpolate", "x").tolist() == [2, 2, 4, 6, 8, 8, 8]
    assert "x has 5 invalid samples, the first at 0: interpolated" in caplog.text
    finite = np.array([1.0, 2.0])
    assert finite_samples(finite, "refuse", "x") is finite


def test_invalid_samples_are_refused():
    for samples, nan, said in (
        ([1.0, 2.0, NAN, 4.0, INF], "refuse", "x has 2 invalid samples, the first at 2: choose another channel"),
        ([NAN, NAN], "interpolate", "x has 2 invalid samples, the first at 0"),
        ([1.0, 2.0], "zero", "nan=zero must be one of refuse, interpolate"),
    ):
        with pytest.raises(ValueError, match=said):
            finite_samples(np.array(samples), nan, "x")


@pytest.mark.parametrize(
    ("n", "fractions", "lengths"),
    [
        (10, [0.5, 0.25, 0.25], [5, 3, 2]),  # 7.5 is rounded to the even 8
        (10, [0.6, 0.2, 0.2], [6, 2, 2]),
        (11, [0.7, 0.1, 0.2], [8, 1, 2]),
        (3, [0.34, 0.33, 0.33], [1, 1, 1]),
        (10, [0.5, 0.3, 0.2 + 1e-12], [5, 3, 2]),
        (10, [0.5, 0.3, 0.2 - 1e-12], [5, 3, 2]),
    ],
)
def test_fractions_are_of_consecutive_examples_and_rounded(n, fractions, lengths):
    parts = split_in_order(torch.arange(n), fractions, "x")
    assert torch.cat(parts).tolist() == list(range(n))
    assert [len(part) for part in parts] == lengths


@pytest.mark.parametrize(
    "fractions",
    [
        [0.5, 0.5],
        [0.4, 0.3, 0.2, 0.1],
        [0.5, 0.5, 0.0],
        [0.7, 0.5, -0.2],
        [0.5, 0.3, 0.3],
        [0.5, 0.3, 0.19],
        [1.0, 0.5, 0.5],
    ],
)
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="must be three positive numbers of sum one"):
        split_in_order(torch.arange(100), fractions, "x")


@pytest.mark.parametrize("fractions", [[0.01, 0.49, 0.5], [0.49, 0.01, 0.5], [0.49, 0.5, 0.01]])
def test_fractions_that_leave_a_part_empty_are_refused(fractions):
    with pytest.raises(ValueError, match="x: 10 examples or samples are too few for fractions="):
        split_in_order(torch.arange(10), fractions, "x")


def windows(n=20, **options):
    options = {"window": 3, "stride": None, "fractions": [0.5, 0.3, 0.2], **options}
    return split_into_windows(torch.arange(n), name="x", **options)


def test_windows_are_in_order_and_no_two_splits_share_a_sample():
    train, validation, test = windows(40, stride=2)
    assert train.shape == (9, 1, 3)
    assert train[:2].flatten().tolist() == [0, 1, 2, 2, 3, 4]
    assert train.max() == 18
    assert validation.flatten().tolist()[::3] == [20, 22, 24, 26, 28]
    assert test.flatten().tolist() == [32, 33, 34, 34, 35, 36, 36, 37, 38]
    assert windows(40)[1].flatten().tolist() == list(range(20, 32))


def test_a_window_may_be_a_whole_part_or_one_sample():
    assert [part.flatten().tolist() for part in windows(window=4)][2] == [16, 17, 18, 19]
    assert windows(window=1)[0].shape == (10, 1, 1)
    for options, said in (
        ({"window": 5}, "x: window=5 exceeds the shortest of its three parts, 4 samples"),
        ({"window": 0}, "window=0 and stride=None must be positive"),
        ({"stride": 0}, "window=3 and stride=0 must be positive"),
    ):
        with pytest.raises(ValueError, match=said):
            windows(**options)


PARTS = [
    torch.tensor([[[1.0, 3.0]], [[5.0, 7.0]]], dtype=torch.float64),
    torch.tensor([[[9.0, 13.0]]], dtype=torch.float64),
    torch.tensor([[[-1.0, 8.0]]], dtype=torch.float64),
]
TRAINING, ALL = np.array([1, 3, 5, 7.0]), np.array([1, 3, 5, 7, 9, 13, -1, 8.0])
ROOT = np.sqrt(0.5)


def scaled(scaling, **options):
    options = {"value_range": [-1, 1], "scaled_by": "train", **options}
    return scaled_splits(PARTS, name="x", scaling=scaling, **options)


@pytest.mark.parametrize(
    ("scaling", "scaled_by", "expected", "units"),
    [
        ("none", "train", ALL, "amplitude"),
        ("example", "train", [-ROOT, ROOT] * 4, "amplitude (SD)"),
        ("all", "train", (ALL - TRAINING.mean()) / TRAINING.std(ddof=1), "amplitude (SD)"),
        ("all", "all", (ALL - ALL.mean()) / ALL.std(ddof=1), "amplitude (SD)"),
        ("range", "train", -1 + 2 * (ALL - 1) / 6, "amplitude (scaled)"),
        ("range", "all", -1 + 2 * (ALL + 1) / 14, "amplitude (scaled)"),
    ],
)
def test_examples_are_scaled_by_the_training_examples_or_by_all(scaling, scaled_by, expected, units):
    splits = scaled(scaling, scaled_by=scaled_by)
    found = torch.cat([part.flatten() for part in (splits.train, splits.validation, splits.test)])
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(list(expected), abs=1e-6)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [2, 1, 1]
    assert splits.units == units
    assert splits.scale.kind == scaling
    if scaling != "example":
        assert splits.scale.apply(PARTS[2], "x").flatten().tolist() == pytest.approx(splits.test.flatten().tolist())


def test_a_given_scale_replaces_the_statistics_of_the_examples():
    given = Scale("range", 10.0, 5.0, -1.0, 1.0)
    splits = scaled("range", scale=given.to_dict())
    assert splits.train.flatten().tolist() == pytest.approx([-1 + 2 * (x - 10) / 5 for x in (1, 3, 5, 7)])
    assert splits.scale == given
    with pytest.raises(ValueError, match="scaling=all must be range, the scaling of the training data"):
        scaled("all", scale=given.to_dict())
    with pytest.raises(ValueError, match=r"value_range=\[0, 1\] must be"):
        scaled("range", scale=given.to_dict(), value_range=[0, 1])


def test_labels_and_the_sampling_frequency_are_kept():
    labels = Labels(["a", "b"], torch.tensor([0, 1]), torch.tensor([1]), torch.tensor([0]))
    splits = scaled("none", labels=labels, sampling_frequency=5.0)
    assert splits.labels is labels
    assert (splits.sampling_frequency, splits.name) == (5.0, "x")


def test_unknown_choices_and_constant_examples_are_refused():
    with pytest.raises(ValueError, match="scaled_by=test must be one of train, all"):
        scaled("none", scaled_by="test")
    with pytest.raises(ValueError, match="scaling=log must be one of"):
        scaled("log")
    with pytest.raises(ValueError, match="must be two numbers, the smaller one first"):
        scaled("range", value_range=[1, 1])
    constant = [torch.ones(1, 1, 4, dtype=torch.float64), *PARTS[1:]]
    with pytest.raises(ValueError, match="x is constant: there is nothing to scale"):
        scaled_splits(constant, name="x", scaling="all", value_range=[0, 1], scaled_by="train")
    constant = [torch.tensor([[[1.0, 2.0, 4.0]], [[3.0, 3.0, 3.0]], [[7.0, 8.0, 7.0]]]).double()] * 3
    with pytest.raises(ValueError, match=r"x: signal 1 \(samples 3 to 5\) is constant"):
        scaled_splits(constant, name="x", scaling="example", value_range=[0, 1], scaled_by="train")


def test_a_signal_becomes_splits_by_all_of_its_options():
    samples = np.arange(40.0)
    samples[1] = NAN
    options = {
        "name": "x", "sampling_frequency": 100.0, "window": 4, "stride": 3, "fractions": [0.5, 0.25, 0.25],
        "scaling": "range", "value_range": [0, 2], "scaled_by": "all", "nan": "interpolate",
    }  # fmt: skip
    splits = signal_splits(samples, **options)
    assert splits.train.shape == (6, 1, 4)
    assert splits.validation.shape == splits.test.shape == (3, 1, 4)
    assert splits.validation[1].flatten().tolist() == pytest.approx([2 * x / 39 for x in (23, 24, 25, 26)])
    assert splits.sampling_frequency == 100
    own = signal_splits(samples, **{**options, "scaled_by": "train"})
    assert own.train.max() == 2 < own.validation.max()
    given = signal_splits(samples, **options, scale=Scale("range", 0.0, 1.0, 0.0, 2.0).to_dict())
    assert given.test[0].flatten().tolist() == [60, 62, 64, 66]
    with pytest.raises(ValueError, match="x has 1 invalid samples, the first at 1"):
        signal_splits(samples, **{**options, "nan": "refuse"})


@pytest.mark.parametrize("function", [signal_splits, split_into_windows, scaled_splits])
def test_options_are_given_by_name(function):
    _, *options = signature(function).parameters.values()
    assert {option.kind for option in options} == {Parameter.KEYWORD_ONLY}
