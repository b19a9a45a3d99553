"""A Sparsely Activated Network as an estimator of scikit-learn."""

from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_array, check_random_state, estimator_html_repr
from sklearn.utils.validation import check_is_fitted, validate_data

from san.data.scale import Scaling
from san.networks import Decoder, Encoder, KernelForm
from san.ops.choices import check_choice
from san.use.description import Array, Description
from san.use.notebook import as_html
from san.use.training import selecting_splits, train_models

__all__ = ["SAN"]

Output = Literal["maps", "features"]
FEATURES = ("count", "mean_amplitude", "energy")
LONGEST_DEFAULT = 20  # samples of a kernel by default


class SAN(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Learn kernels from signals, and describe signals by the positions and amplitudes of the kernels.

    The estimator trains as ``san.train`` with the same settings, split and seed, and selects the epoch of the lowest
    φ̄ on the last examples, which it does not train on. Signals of several channels are [examples, channels, samples].

    Args:
        kernel_size: Samples of each kernel; None for 20, or a quarter of shorter signals.
        n_kernels: Number of kernels.
        activation: Name of the activation function or encoder: ``extrema``, ``extrema_pool_indices``,
            ``topk_absolutes``, ``relu``, ``identity``, ``phi_pursuit`` or another choice of ``activation=``; or one
            of your own, as in :func:`san.fit`.
        max_epochs: Epochs of training.
        batch_size: Examples of a batch.
        learning_rate: Learning rate of Adam.
        decoder: ``paper`` or ``adjoint``; see :class:`san.networks.SparselyActivatedNetwork`. None for that of the
            activation, which is ``adjoint`` for ``phi_pursuit`` and ``paper`` otherwise.
        scaling: Scaling of the signals, ``all`` (by the mean and deviation of the training examples), ``example`` or
            ``none``; see :class:`san.data.scale.Scale`.
        validation_fraction: Share of the examples, the last ones, that select the epoch.
        output: What ``transform`` returns: ``maps`` or ``features``.
        kernel: Form of the kernels of several channels: ``full``, or ``rank1`` for one waveform times a weight of each
            channel.
        random_state: Seed of the initial kernels and of the order of the examples.

    Attributes:
        components_: The kernels as they reconstruct, [n_kernels, kernel_size] or [n_kernels, channels, kernel_size].
        phi_: φ̄ of the validation examples in the selected epoch.
        n_features_in_: Samples of a signal, or channels of a signal of several.
        n_samples_in_: Samples of a signal.
        model_: The trained :class:`san.use.model.Model`.

    Example:
        >>> signals = np.random.default_rng(0).standard_normal((8, 100)).cumsum(1)
        >>> SAN(kernel_size=10, max_epochs=2, random_state=0).fit(signals).transform(signals).shape
        (8, 100)
    """

    def __init__(
        self,
        kernel_size: int | None = None,
        n_kernels: int = 1,
        activation: str | Encoder = "extrema",
        *,
        max_epochs: int = 30,
        batch_size: int = 2,
        learning_rate: float = 0.01,
        decoder: Decoder | None = None,
        scaling: Scaling = "all",
        validation_fraction: float = 0.2,
        output: Output = "maps",
        kernel: KernelForm = "full",
        random_state: Any = None,
    ) -> None:
        self.kernel_size = kernel_size
        self.n_kernels = n_kernels
        self.activation = activation
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.decoder = decoder
        self.scaling = scaling
        self.validation_fraction = validation_fraction
        self.output = output
        self.kernel = kernel
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "SAN":  # noqa: N803
        """Learn the kernels.

        Args:
            X: Signals, [examples, samples] or [examples, channels, samples]; at least two, because some select the
                epoch.
            y: Ignored.

        Raises:
            ValueError: If a parameter or a sample is invalid.
        """
        check_choice("output", self.output, Output)
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2, allow_nd=True)  # noqa: N806
        if X.ndim > 3:
            raise ValueError(
                f"X has the shape {list(X.shape)}: give [examples, samples] or [examples, channels, samples]"
            )
        self.n_samples_in_ = X.shape[-1]
        examples = torch.from_numpy(X.reshape(len(X), -1, self.n_samples_in_).copy())
        splits = selecting_splits(examples, self.validation_fraction, scaling=self.scaling, name="X")
        default_size = max(1, min(LONGEST_DEFAULT, self.n_samples_in_ // 4))
        size = default_size if self.kernel_size is None else self.kernel_size
        seed = self.random_state
        seed = int(seed) if isinstance(seed, Integral) else int(check_random_state(seed).randint(2**31))
        overrides: dict[str, Any] = {
            "n_kernels": self.n_kernels,
            "kernel": self.kernel,
            "batch_size": min(self.batch_size, len(splits.train)),
            "seed": seed,
            "trainer.max_epochs": self.max_epochs,
            "optimizer.lr": self.learning_rate,
        }
        if self.decoder is not None:
            overrides["decoder"] = self.decoder
        (trained,) = train_models(self.activation, [size], overrides, splits)
        self.model_, self.phi_ = trained.model, trained.phi
        return self

    def transform(self, X: Any) -> Array:  # noqa: N803
        """Describe signals.

        Args:
            X: Signals, [examples, samples] or [examples, channels, samples].

        Returns:
            The activation maps in the unit of X, [examples, kernels * samples], kernel after kernel; or, for
            ``output="features"``, the number of events, their mean amplitude and the energy that they add, of each
            kernel, [examples, kernels * 3]. Amplitudes of several channels are of scaled samples, unless one number
            scales all channels.
        """
        description = self._describe(X)
        n_kernels, (n_examples, _, n_samples) = len(self.model_.kernels), description.shape
        events = description.events
        maps = np.zeros((n_examples, n_kernels, n_samples))
        maps[events["example"], events["kernel"], events["sample"]] = events["amplitude"]
        if self.output == "maps":
            return maps.reshape(n_examples, -1)
        counts = np.count_nonzero(maps, axis=2)
        means = maps.sum(2) / np.maximum(counts, 1)
        energies = np.square(maps).sum(2) * [float(np.square(kernel).sum()) for kernel in self.model_.kernels]
        return np.stack([counts, means, energies], axis=2).reshape(n_examples, -1)

    def inverse_transform(self, X: Any) -> Array:  # noqa: N803
        """Return the reconstruction of activation maps, in the unit of the signals.

        Args:
            X: Activation maps as ``transform`` returns them, [examples, kernels * samples].

        Raises:
            ValueError: If the output is not ``maps``, or the scaling is ``example``, whose mean the maps do not have.
        """
        check_is_fitted(self)
        if self.output != "maps":
            raise ValueError(f"output={self.output} cannot be inverted: only output=maps has the positions of events")
        maps = check_array(X, dtype=np.float64)
        n_columns = len(self.model_.kernels) * self.n_samples_in_
        if maps.shape[1] != n_columns:
            raise ValueError(f"X has {maps.shape[1]} columns, but transform returns {n_columns}")
        return self.model_.decode(maps.reshape(len(maps), -1, self.n_samples_in_))

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Return -φ̄ of signals, which is higher for a better description.

        Args:
            X: Signals, [examples, samples] or [examples, channels, samples].
            y: Ignored.
        """
        return -self._describe(X).phi

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the name of each column of ``transform``."""
        check_is_fitted(self)
        columns = FEATURES if self.output == "features" else [f"sample{index}" for index in range(self.n_samples_in_)]
        n_kernels = len(self.model_.kernels)
        return np.array([f"kernel{kernel}_{column}" for kernel in range(n_kernels) for column in columns], dtype=object)

    def _html_repr(self) -> str:
        """Return the parameters and, of a fitted estimator, its kernels and φ̄, for notebooks."""
        shown = str(estimator_html_repr(self))
        if not hasattr(self, "model_"):
            return shown
        return shown + as_html(self.model_.plot(), f"validation φ̄ {self.phi_:.3f}")

    def _describe(self, X: Any) -> Description:  # noqa: N803
        check_is_fitted(self)
        n_channels, n_samples = self.model_.network.channels, self.n_samples_in_
        if n_channels > 1 and np.ndim(X) == 2:
            raise ValueError(
                f"X has 2 axes, but SAN was fitted to {n_channels} channels: give [examples, channels, samples]"
            )
        X = validate_data(self, X, dtype=np.float64, reset=False, allow_nd=True)  # noqa: N806
        if X.shape[-1] != n_samples:
            raise ValueError(
                f"X has the shape {list(X.shape)}, but SAN was fitted to {n_samples} samples: give as many"
            )
        if n_channels == 1 and X.ndim == 3 and X.shape[1] == 1:
            X = X[:, 0]  # noqa: N806
        return self.model_.encode(X, window=None)

    @property
    def components_(self) -> NDArray[np.float32]:
        """The kernels as they reconstruct, [n_kernels, kernel_size] or [n_kernels, channels, kernel_size]."""
        check_is_fitted(self)
        return np.stack(self.model_.kernels)
