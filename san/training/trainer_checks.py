"""Refuse trainer settings and optimizers that would make a reported number wrong, in one line each."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

__all__ = ["OptimizerFactory", "independent_optimizer", "refuse_inexact_trainer", "refuse_joint_clipping"]

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""Returns the optimizer of the parameters that it is given."""

PRECISION = "32-true"
STEPS = 3
"""Steps of the comparison of an optimizer on two models with the same optimizer on each alone."""
LOSS_SCALES = (1e-3, 1e3)
"""Scale of the loss of each of the two models, so different that a statistic over both changes the steps of one."""
TOLERANCE = 1e-6
"""Largest difference between the weights of a model in a bank and alone, relative to the largest change of a weight."""


def refuse_inexact_trainer(trainer: pl.Trainer, stage: str) -> None:
    """Refuse settings of a trainer that change what a loss, a metric or an epoch means.

    Args:
        trainer: The trainer.
        stage: ``fit`` for training; the settings of the training do not count otherwise.

    Raises:
        ValueError: If the precision is another one; in training also if a gradient is not the mean over the examples of
            a global batch, or an epoch does not end with its only validation.
    """
    if trainer.precision != PRECISION:
        raise ValueError(
            f"trainer.precision={trainer.precision} must be {PRECISION}: operators and metrics compute in 32 bits, and "
            "with fewer bits other samples are selected"
        )
    if stage != "fit":
        return
    one_validation = (
        "so that an epoch ends with its only validation, which selects among epochs; use max_epochs or "
        "check_val_every_n_epoch"
    )
    requirements = {
        "accumulate_grad_batches": (1, "so that all examples count equally; use a larger batch_size"),
        "max_steps": (-1, one_validation),
        "overfit_batches": (0, "so that batches stay whole; use limit_train_batches without shuffling (debug=overfit)"),
        "val_check_interval": (1.0, one_validation),
    }
    for name, (required, reason) in requirements.items():
        value = getattr(trainer, name, "a time")  # Lightning has no attribute for an interval of time
        is_a_batch = name == "val_check_interval" and value == 1 and isinstance(value, int)  # 1.0 is the whole epoch
        is_debugging = name == "max_steps" and getattr(trainer, "fast_dev_run", False)
        if (value != required or is_a_batch) and not is_debugging:
            raise ValueError(f"trainer.{name}={value} must be {required}, {reason}")


def refuse_joint_clipping(trainer: pl.Trainer, n_models: int) -> None:
    """Refuse to clip the norm of the gradient of several models together.

    Raises:
        ValueError: If the trainer clips the norm, and there are several models.
    """
    clip = trainer.gradient_clip_val or 0
    if n_models > 1 and clip > 0 and trainer.gradient_clip_algorithm != "value":
        raise ValueError(
            f"trainer.gradient_clip_val={clip} clips the norm over all {n_models} models of a bank, so none trains as "
            "if alone; add trainer.gradient_clip_algorithm=value, or train one model at a time"
        )


def independent_optimizer(
    optimizer: OptimizerFactory, parameters: Sequence[nn.Parameter], *, n_models: int, n_processes: int
) -> torch.optim.Optimizer:
    """Return the optimizer of some models, if it trains each of them as if it were alone.

    The optimizer first makes a few steps with two small models together, laid out as the parameters are, and with each
    of them alone: an optimizer with a statistic of a whole tensor, or of all tensors, gives other weights.

    Args:
        optimizer: Returns the optimizer of the parameters that it is given.
        parameters: One parameter that holds all models, or several that hold one model or a part of one each.
        n_models: Number of models.
        n_processes: Number of processes that share each batch.

    Raises:
        ValueError: If a setting is invalid, or a step depends on the other models or on the loss of this process alone,
            or is impossible.
    """
    try:
        made = optimizer(parameters)
    except Exception as error:  # optimizers raise errors of any type
        raise ValueError(f"optimizer {_described(optimizer)} cannot be built: {error}") from error
    name = type(made).__name__
    steps = _Steps.towards_random_targets(max(parameters, key=Tensor.dim))
    try:
        alone = [steps.of_model(model).made_by(optimizer, 1) for model in range(len(LOSS_SCALES))]
    except RuntimeError as error:
        raise ValueError(
            f"optimizer {name} cannot train kernels ({error}); choose another one, such as Adam"
        ) from error
    if n_processes > 1 and max(evaluations for _, evaluations in alone) > STEPS:
        raise ValueError(
            f"optimizer {name} evaluates the loss several times per step, and each of the {n_processes} "
            "processes knows the loss of its own examples alone; train in one process, or choose another optimizer, "
            "such as Adam"
        )
    if n_models == 1:
        return made
    together, _ = steps.made_by(optimizer, min(len(parameters), len(LOSS_SCALES)))
    if not all(
        torch.allclose(together[[model]], weights, rtol=0, atol=steps.tolerance(model, weights), equal_nan=True)
        for model, (weights, _) in enumerate(alone)
    ):
        raise ValueError(
            f"optimizer {name} changes the weights of a model by statistics of all {n_models} models of a bank, so "
            "none trains as if alone; choose an optimizer that changes each weight by its own gradient, such as Adam, "
            "or train one model at a time"
        )
    return made


def _described(optimizer: OptimizerFactory) -> str:
    """Return the name of an optimizer with its settings, such as ``Adam(lr=0.01)``."""
    if not isinstance(optimizer, partial):
        return getattr(optimizer, "__name__", repr(optimizer))
    settings = ", ".join(f"{name}={value}" for name, value in optimizer.keywords.items())
    return f"{getattr(optimizer.func, '__name__', repr(optimizer.func))}({settings})"


@dataclass(frozen=True)
class _Steps:
    """Steps of small models from initial weights, each towards the weights of the lowest loss of that step.

    Args:
        start: The initial weights, [models, rows, ...].
        targets: The weights of the lowest loss, of each step.
        scales: Scale of the loss of each model.
    """

    start: Tensor
    targets: tuple[Tensor, ...]
    scales: tuple[float, ...]

    @classmethod
    def towards_random_targets(cls, like: Tensor) -> "_Steps":
        """Return steps of two models with as many axes as a tensor, on its device."""
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(STEPS + 1, len(LOSS_SCALES), *[3] * like.dim(), generator=generator)
        # In double precision, in which no step is too small to be seen; it does not exist on mps.
        dtype = torch.float32 if like.device.type == "mps" else torch.float64
        start, *targets = drawn.to(like.device, dtype)
        return cls(start, tuple(targets), LOSS_SCALES)

    def of_model(self, model: int) -> "_Steps":
        """Return the steps of one model alone."""
        return _Steps(self.start[[model]], tuple(target[[model]] for target in self.targets), (self.scales[model],))

    def tolerance(self, model: int, weights: Tensor) -> float:
        """Return how much the weights of a model may differ by rounding."""
        return TOLERANCE * float((weights - self.start[model]).abs().max().nan_to_num())

    def made_by(self, optimizer: OptimizerFactory, n_tensors: int) -> tuple[Tensor, int]:
        """Return the last weights, [models, rows, ...], and how often the optimizer evaluated the loss.

        Args:
            optimizer: Returns the optimizer of the parameters that it is given.
            n_tensors: Number of parameters among which the models are shared.
        """
        parameters = [nn.Parameter(part.flatten(0, 1).clone()) for part in self.start.chunk(n_tensors)]
        made = optimizer(parameters)
        evaluations = 0

        def weights() -> Tensor:
            return torch.cat([*parameters]).view_as(self.start)

        def evaluate(target: Tensor) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            made.zero_grad()
            distances = (1 + (weights() - target).square()).sqrt().flatten(1).sum(1)
            loss = (distances * distances.new_tensor(self.scales)).sum()
            loss.backward()
            return loss

        for target in self.targets:
            made.step(partial(evaluate, target))  # type: ignore[arg-type]
        return weights().detach(), evaluations
