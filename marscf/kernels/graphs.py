"""CUDA graphs: all kernels of a function, recorded once and launched together.

On a GPU a flow is thousands of small kernels, and launching them one by one takes longer than they do.
`MARSCF_EAGER=1` in the environment switches graphs off.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from marscf.counting import Steps, counted, tick
from marscf.environment import switch
from marscf.errors import MarscfError
from marscf.kernels.cached import generation

WARM_UP = 3  # calls before the recording, in which libraries choose their kernels


def serve(device: torch.device) -> bool:
    """Whether work on the device is recorded."""
    return device.type == "cuda" and not switch("MARSCF_EAGER")


def side_by_side(
    functions: Iterable[Callable[..., Tensor]], *arguments: Iterable[Tensor | None]
) -> list[Tensor]:
    """Return `[f(*own) for f, own in zip(functions, zip(*arguments))]`.

    In a graph the calls are branches that run at the same time; elsewhere one runs after the other.
    """
    calls = list(zip(functions, *arguments, strict=True))
    if not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()):
        return [function(*own) for function, *own in calls]
    trunk = torch.cuda.current_stream()
    streams = [torch.cuda.Stream() for _ in calls]
    results = []
    for stream, (function, *own) in zip(streams, calls, strict=True):
        stream.wait_stream(trunk)
        for tensor in own:
            if tensor is not None:
                tensor.record_stream(stream)  # the trunk must not use its memory again meanwhile
        with torch.cuda.stream(stream):
            results.append(function(*own))
    for stream in streams:
        trunk.wait_stream(stream)
    return results


@dataclass(frozen=True)
class _Recording:
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: Any
    steps: Steps


class Replays:
    """Recordings of one function, one for each of its inputs' shapes.

    For functions whose kernels depend on no value and that never wait for the device. A recording reads
    parameters, and what is kept of them (`marscf.kernels.cached`), where they were. So it is made again when
    one of `constants` has moved or was written to, or what is kept of it is forgotten.
    """

    def __init__(self) -> None:
        self._key: Any = None
        self._recordings: dict[tuple, _Recording] = {}

    def run(
        self, function: Callable[..., Any], inputs: Iterable[Tensor | None], constants: Iterable[Tensor] = ()
    ) -> Any:
        """Return `function(*inputs)`, in tensors that the next call overwrites; None is not passed on."""
        given = [t for t in inputs if t is not None]
        key = [(generation(), t.data_ptr(), t._version) for t in constants]
        if key != self._key:
            self._key, self._recordings = key, {}
        shapes = tuple((t.shape, t.dtype) for t in given)
        if shapes not in self._recordings:
            self._recordings[shapes] = _record(function, given)
        recording = self._recordings[shapes]
        for own, new in zip(recording.inputs, given, strict=True):
            own.copy_(new)
        recording.graph.replay()
        tick(recording.steps.total)
        return recording.outputs

    def __deepcopy__(self, memo: dict) -> "Replays":
        return Replays()

    def __getstate__(self) -> dict:
        return {"_key": None, "_recordings": {}}


def _record(function: Callable[..., Any], inputs: list[Tensor]) -> _Recording:
    own = [t.clone() for t in inputs]
    random = torch.cuda.get_rng_state()  # the first call is to draw what any later one would
    current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(current)
    with torch.cuda.stream(aside), counted():
        for _ in range(WARM_UP):
            function(*own)
    current.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with counted() as steps, torch.cuda.graph(graph):
            outputs = function(*own)
    except RuntimeError as error:
        raise MarscfError(
            f"this model's work cannot be recorded as a CUDA graph ({str(error).splitlines()[0]}); "
            "MARSCF_EAGER=1 in the environment goes without, `replayable = False` in its class always does"
        ) from error
    torch.cuda.set_rng_state(random)
    return _Recording(graph, own, outputs, steps)
