"""The meaning of each axis of an array, from the number of axes or from the names that the user gives."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from san.data.names import Channels, indices_of

__all__ = ["ArrayAxes", "axes_of", "brackets", "refuse_images"]

# The axes that an array may have, by their number, in the order of the file; the first are those without axes=.
SIGNALS = {
    1: (("time",),),
    2: (("examples", "time"), ("channels", "time"), ("time", "channels")),
    3: (("examples", "channels", "time"), ("examples", "time", "channels")),
}
IMAGES = {
    3: (("examples", "rows", "columns"),),
    4: (("examples", "channels", "rows", "columns"), ("examples", "rows", "columns", "channels")),
}
ORDER = ("examples", "channels", "time", "rows", "columns")
# Two axes of fewer than FEW and of more than MANY may be the channels and the samples of one recording.
FEW, MANY = 100, 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ArrayAxes:
    """The axes of an array, and the channels chosen from it.

    Args:
        names: Name of each axis, in the order of the array: examples, channels, time, rows or columns.
        indices: Indices of the chosen channels; [0] of an array without an axis of channels.
        channels: Name of each chosen channel; empty if it is the only one.
    """

    names: tuple[str, ...]
    indices: tuple[int, ...]
    channels: tuple[str, ...]

    @property
    def has_examples(self) -> bool:
        """Whether the array has examples; otherwise it is one recording."""
        return "examples" in self.names

    @property
    def n_dims(self) -> int:
        """1 for signals, 2 for images."""
        return 2 if "rows" in self.names else 1

    def length(self, shape: Sequence[int]) -> int:
        """Return the number of samples of one recording of this shape."""
        return shape[self.names.index("time")]

    def arranged(self, array: NDArray[Any], part: slice = slice(None)) -> NDArray[Any]:
        """Return the chosen channels, [examples, channels, *space], or [channels, samples] of one recording.

        The result shares its memory with the array, unless some of several channels are chosen.

        Args:
            array: The array.
            part: Part of the last axis.
        """
        found = array.transpose([self.names.index(name) for name in ORDER if name in self.names])
        channel_axis = int(self.has_examples)
        if "channels" not in self.names:
            found = np.expand_dims(found, channel_axis)
        found = found[..., part]
        first, n_chosen = self.indices[0], len(self.indices)
        in_order = self.indices == tuple(range(first, first + n_chosen))
        chosen = slice(first, first + n_chosen) if in_order else list(self.indices)
        return found[(slice(None),) * channel_axis + (chosen,)]


def axes_of(
    shape: Sequence[int],
    *,
    axes: Sequence[str] | None,
    place: str,
    n_dims: int = 1,
    channel: Channels = None,
    is_recording: bool = False,
    one_channel: str = "channel=0 to read one channel",
) -> ArrayAxes:
    """Return the meaning of each axis of an array, and the chosen channels.

    Without ``axes``, one axis is [time], two are [examples, time] and three [examples, channels, time]; or, if a
    channel is chosen, two are channels by samples, of which the shorter axis has the channels. Images are read only by
    ``n_dims=2`` or ``axes``: three axes are [examples, rows, columns], four [examples, channels, rows, columns].

    Args:
        shape: Shape of the array.
        axes: The user's names of the axes, in the order of the file; None to take them by their number.
        place: The file, for errors.
        n_dims: 1 for signals; 2 if the last two axes are rows and columns.
        channel: Index of a channel, several, ``all``, or None for every channel that the array has.
        is_recording: Whether to refuse an array of examples.
        one_channel: How the user chooses one channel, for errors.

    Raises:
        ValueError: If the array has no samples or other axes, its axes may be others, or it has no such channel.
    """
    if n_dims not in (1, 2):
        raise ValueError(f"n_dims={n_dims} must be 1 for signals, or 2 for images")
    if 0 in shape:
        raise ValueError(f"{place} has the shape {brackets(shape)}: it has no samples")
    if axes is not None:
        names = _given(shape, axes, n_dims, place)
    else:
        names = _by_number(shape, n_dims, channel, place, is_recording, one_channel)
    if is_recording and "examples" in names:
        raise ValueError(f"{place} has the shape {brackets(shape)}, {' by '.join(names)}: give one recording")
    n_channels = shape[names.index("channels")] if "channels" in names else 1
    if channel is not None and "channels" not in names:
        raise ValueError(
            f"channel={brackets(channel)}: {place} has the shape {brackets(shape)}, {' by '.join(names)}, which has no "
            "channels: leave out channel"
        )
    every = [str(index) for index in range(n_channels)]
    indices = indices_of("channel", "all" if channel is None else channel, every, place)
    is_only = channel is None and n_channels == 1
    sizes = [f"{length} {name}" for name, length in zip(names, shape, strict=True)]
    log.info("%s: read as %s", place, " by ".join(sizes))
    return ArrayAxes(names, tuple(indices), ("",) if is_only else tuple(every[index] for index in indices))


def refuse_images(n_dims: int, place: str) -> None:
    """Refuse the axes of images where only recordings are read.

    Args:
        n_dims: 1 for signals, 2 for images.
        place: What reads recordings, for the error.

    Raises:
        ValueError: If there are 2 axes.
    """
    if n_dims != 1:
        raise ValueError(f"n_dims={n_dims} does not apply to {place}: give one array of images, or n_dims=1")


def brackets(items: object) -> str:
    """Return items as the command line takes a list; anything else as text."""
    if isinstance(items, Sequence) and not isinstance(items, str):
        return f"[{','.join(map(str, items))}]"
    return str(items)


def _given(shape: Sequence[int], axes: Sequence[str], n_dims: int, place: str) -> tuple[str, ...]:
    images = IMAGES.get(len(shape), ())
    allowed = images if n_dims == 2 else (*SIGNALS.get(len(shape), ()), *images)
    if not allowed:
        raise _other_number(shape, n_dims, place)
    if isinstance(axes, str) or tuple(axes) not in allowed:
        choices = ", ".join(map(brackets, allowed))
        raise ValueError(
            f"axes={brackets(axes)} must be one of {choices}, or null: {place} has {len(shape)} axes, the shape "
            f"{brackets(shape)}{', and n_dims=2' if n_dims == 2 else ''}"
        )
    return tuple(axes)


def _by_number(
    shape: Sequence[int], n_dims: int, channel: Channels, place: str, is_recording: bool, one_channel: str
) -> tuple[str, ...]:
    """Return the axes that the number of axes says, and refuse a shape that may be read otherwise."""
    known = (SIGNALS if n_dims == 1 else IMAGES).get(len(shape))
    if known is None:
        raise _other_number(shape, n_dims, place)
    found = f"{place} has the shape {brackets(shape)}"
    if n_dims == 1 and len(shape) == 2:
        likely = ("channels", "time") if shape[0] < shape[1] else ("time", "channels")
        if channel is not None and shape[0] != shape[1]:
            return likely
        if channel is not None:
            raise ValueError(f"channel={brackets(channel)}: {found}: give axes=[channels,time] or axes=[time,channels]")
        if is_recording:
            raise ValueError(f"{found}: to read it as one recording, give axes={brackets(likely)}, or {one_channel}")
        if min(shape) < FEW and max(shape) > MANY:
            raise ValueError(
                f"{found}, which may be {' by '.join(likely)} of one recording, or examples by samples: give "
                f"axes={brackets(likely)} or axes=[examples,time], or {one_channel}"
            )
    if n_dims == 1 and len(shape) == 3 and shape[1] >= shape[2]:
        raise ValueError(
            f"{found}, which may be examples by samples by channels, or images: give axes=[examples,time,channels], "
            "axes=[examples,channels,time] or axes=[examples,rows,columns]"
        )
    if len(shape) == 4 and shape[1] > shape[3]:
        raise ValueError(
            f"{found}, whose last axis may have the channels: give axes=[examples,rows,columns,channels] or "
            "axes=[examples,channels,rows,columns]"
        )
    return known[0]


def _other_number(shape: Sequence[int], n_dims: int, place: str) -> ValueError:
    number = "" if shape else ", a single number"
    found = f"{place} has {len(shape)} axes, the shape {brackets(shape)}{number}"
    if n_dims == 2:
        return ValueError(f"{found}: images have [examples,rows,columns] or [examples,channels,rows,columns]")
    images = ", or dataset.n_dims=2 if it has images" if len(shape) == 4 else ""
    return ValueError(
        f"{found}: give an array of samples, [samples] (a long signal), [examples,samples] or "
        f"[examples,channels,samples]{images}"
    )
