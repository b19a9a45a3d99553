"""Classifiers to stack on reconstructions: from examples [batch, 1, *space] to logits [batch, classes]."""

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["CNN", "FNN"]


class CNN(nn.Sequential):
    """Classify signals or images by two convolutions and three fully connected layers.

    The convolutions have 3 and 16 kernels of 5 samples per axis, each followed by ReLU and a max-pool of 2. The fully
    connected layers have 120 units, 84 units and one unit per class, with ReLU between. A signal of 178 samples has 656
    features after the convolutions.

    Args:
        space: Samples along each axis, one or two numbers.
        n_classes: Number of classes.

    Raises:
        ValueError: If the space is too small for the convolutions.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-B.

    Example:
        >>> CNN([178], 3)(torch.randn(2, 1, 178)).shape
        torch.Size([2, 3])
    """

    def __init__(self, space: Sequence[int], n_classes: int) -> None:
        if min(space) < 16:
            raise ValueError(
                f"the CNN does not fit examples of {'x'.join(map(str, space))} samples: it needs 16 or more per axis; "
                "use classifier=fnn or longer examples"
            )
        convolution, pool = (nn.Conv1d, nn.MaxPool1d) if len(space) == 1 else (nn.Conv2d, nn.MaxPool2d)
        first = [convolution(1, 3, 5), nn.ReLU(), pool(2)]
        second = [convolution(3, 16, 5), nn.ReLU(), pool(2)]
        features = nn.Sequential(*first, *second, nn.Flatten())
        with torch.no_grad():
            n_features = features(torch.zeros(1, 1, *space)).shape[1]
        hidden = [nn.Linear(n_features, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()]
        super().__init__(features, *hidden, nn.Linear(84, n_classes))


class FNN(nn.Sequential):
    """Classify by one fully connected layer from samples to classes.

    Args:
        space: Samples along each axis.
        n_classes: Number of classes.

    Reference:
        Bizopoulos and Koutsouris, "Sparsely Activated Networks", Section IV-C.

    Example:
        >>> FNN([28, 28], 10)(torch.randn(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, space: Sequence[int], n_classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(torch.Size(space).numel(), n_classes))
