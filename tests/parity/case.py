"""A recorded case: its options, weights, inputs and expected numbers."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 1e-4

ZERO_GRADIENT = 1e-12
"""A gradient of ours below this share of the case's largest is 0 but for float64 rounding."""

_REQUIRED = object()


class CaseError(Exception):
    """The case directory cannot be read, or asks for what we do not have."""


class Tensors(dict[str, Tensor]):
    """Tensors of one file; asking for an absent one is a CaseError that names it."""

    def __init__(self, source: str, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors)
        self.source = source

    def __missing__(self, name: str) -> Tensor:
        raise CaseError(f"{self.source} has no tensor {name!r}")


class Options:
    """The options under which a case was recorded.

    Every option is taken, refused, or named as one without effect on the numbers. What is left
    over, :meth:`unread`, is reported with the comparison, so that no option is ignored silently.
    """

    def __init__(self, source: str, values: Mapping[str, Any]) -> None:
        self.source = source
        self.values = values
        self._read: set[str] = set()
        self._parts: dict[str, Options] = {}

    def take(self, name: str, default: Any = _REQUIRED) -> Any:
        """Return the value of an option.

        Raises:
            CaseError: the case does not have the option, and there is no default.
        """
        self._read.add(name)
        value = self.values.get(name, default)
        if value is _REQUIRED:
            raise CaseError(f"{self.source}: the option {name!r} is missing")
        return value

    def only(self, name: str, *supported: Any, default: Any = _REQUIRED) -> Any:
        """Return the value of an option of which we have some values alone.

        Raises:
            CaseError: the value is another one.
        """
        value = self.take(name, default)
        if value not in supported:
            known = ", ".join(repr(x) for x in supported)
            raise CaseError(
                f"{self.source}: {name} = {value!r} is not supported; supported: {known}"
            )
        return value

    def described(self, name: str, word: str, default: Any = _REQUIRED) -> None:
        """Require that the description of a part of the program holds a word.

        Raises:
            CaseError: it describes something else.
        """
        value = str(self.take(name, default))
        if word not in value:
            raise CaseError(
                f"{self.source}: {name} = {value!r} is not supported; supported: {word}"
            )

    def part(self, name: str) -> "Options":
        """Return a table of options inside these."""
        if name not in self._parts:
            values = self.take(name)
            if not isinstance(values, Mapping):
                raise CaseError(f"{self.source}: {name} = {values!r} is not a table of options")
            self._parts[name] = Options(f"{self.source}: {name}", values)
        return self._parts[name]

    def without_effect(self, *names: str) -> None:
        """Name options that change no recorded number, such as the seed or training's dropout."""
        self._read.update(names)

    def unread(self) -> list[str]:
        """Return the options that nobody took, each as ``name = value``."""
        found = [f"{k} = {v!r}" for k, v in self.values.items() if k not in self._read]
        for name, part in self._parts.items():
            found += [f"{name}.{text}" for text in part.unread()]
        return found


@dataclass
class Case:
    """One case directory: ``case.json``, ``io.safetensors``, ``weights.safetensors``.

    Floating-point tensors are float64: the recorded float32 values, exactly.
    """

    path: Path
    info: dict[str, Any]
    io: dict[str, Tensor]
    weights: dict[str, Tensor]
    options: Options = field(init=False)

    def __post_init__(self) -> None:
        self.io = Tensors(f"{self.path}/io.safetensors", self.io)
        self.weights = Tensors(f"{self.path}/weights.safetensors", self.weights)
        self.options = Options(str(self.path), self.info.get("config", {}))

    @classmethod
    def load(cls, path: Path) -> "Case":
        """Read a case directory.

        Raises:
            CaseError: a file is missing or damaged.
        """
        try:
            info = json.loads((path / "case.json").read_text(encoding="utf-8"))
            io = load_file(path / "io.safetensors")
            weights = load_file(path / "weights.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise CaseError(f"{path} is not a complete parity case: {error}") from error
        return cls(path, info, in_double(io), in_double(weights))

    def changed(
        self,
        options: Mapping[str, Any] | None = None,
        io: Mapping[str, Tensor] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ) -> "Case":
        """Return a copy in which some options or tensors are others."""
        info = {**self.info, "config": {**self.info.get("config", {}), **(options or {})}}
        return replace(
            self,
            info=info,
            io={**self.io, **(io or {})},
            weights={**self.weights, **(weights or {})},
        )

    def load_weights(self, model: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Give a model of ours the recorded weights, under our names.

        Raises:
            CaseError: names or shapes are not those of the model that the options describe.
        """
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise CaseError(f"{self.path}: weights and options disagree: {error}") from error


def in_double(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return floating-point tensors in float64, others as they are."""
    return {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def size_of(tensor: Tensor) -> float:
    """The largest absolute value."""
    return tensor.abs().max().item() if tensor.numel() else 0.0


@dataclass(frozen=True)
class Limits:
    """Largest relative differences of a system.

    Attributes:
        output: of entries that are neither gradients nor exact.
        gradient: of entries whose name begins with ``grad``.
        exact: entries that must be equal, such as decisions and token ids.
        named: entries with limits of their own.
    """

    output: float = OUTPUT_TOLERANCE
    gradient: float = GRADIENT_TOLERANCE
    exact: Collection[str] = ()
    named: Mapping[str, float] = field(default_factory=dict)

    def of(self, name: str) -> float:
        """Return the limit of one entry."""
        if name in self.exact:
            return 0.0
        return self.named.get(name, self.gradient if name.startswith("grad") else self.output)


@dataclass
class Comparison:
    """Collects differences, each relative to the largest value of the expected tensor.

    Attributes:
        rows: name, relative difference and limit of each tensor.
        notes: what a reader of the result should know.
    """

    rows: list[tuple[str, float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        case: Case,
        found: Mapping[str, Tensor | None],
        aside: Collection[str],
        limits: Limits,
        scales: Mapping[str, float] | None = None,
    ) -> "Comparison":
        """Compare every recorded entry with what was found under its name.

        Args:
            case: the recorded entries.
            found: our values.
            aside: entries that are no results of the model, such as its inputs.
            limits: the largest differences.
            scales: what the difference of an entry is relative to, at least, where it is a sum of
                terms that cancel.
        """
        comparison = cls()
        compared = {name: x for name, x in case.io.items() if name not in aside}
        largest = max(
            (size_of(x) for n, x in compared.items() if n.startswith("grad")), default=0.0
        )
        for name, expected in compared.items():
            ours = found.get(name)
            if ours is None:
                comparison.missing(name)
                continue
            # a gradient that is 0 by its equation is recorded as rounding of what cancels
            zero = name.startswith("grad") and size_of(ours) < ZERO_GRADIENT * largest
            scale = largest if zero else None
            if scales and name in scales:
                scale = max(size_of(expected), scales[name])
            comparison.add(name, ours, expected, limits.of(name), scale)
        return comparison

    def add(
        self,
        name: str,
        ours: Tensor,
        expected: Tensor,
        tolerance: float,
        scale: float | None = None,
    ) -> None:
        """Compare one tensor; a wrong shape or a NaN counts as infinitely different.

        Args:
            name: of the tensor.
            ours: what we computed.
            expected: what was recorded.
            tolerance: largest relative difference.
            scale: what the difference is relative to; None for the largest expected value.
        """
        ours = ours.detach().double()
        expected = expected.detach().double()
        if ours.shape != expected.shape:
            self.rows.append((f"{name} shape {tuple(ours.shape)}", math.inf, tolerance))
            return

        if scale is None:
            scale = size_of(expected)
        difference = size_of(ours - expected)
        relative = difference / scale if scale else difference
        self.rows.append((name, math.inf if math.isnan(relative) else relative, tolerance))

    def missing(self, name: str) -> None:
        """A recorded tensor that we have nothing to compare with is a failure."""
        self.rows.append((f"{name} (nothing to compare with)", math.inf, 0.0))

    @property
    def failures(self) -> list[tuple[str, float, float]]:
        """The rows whose difference is above its limit."""
        return [row for row in self.rows if not row[1] <= row[2]]

    def summary(self) -> str:
        """Every row with its relative difference, the largest last."""
        width = max((len(row[0]) for row in self.rows), default=0)
        lines = []
        for name, relative, tolerance in sorted(self.rows, key=lambda row: row[1]):
            verdict = "ok" if relative <= tolerance else "FAIL"
            lines.append(f"  {name:<{width}}  {relative:9.2e}  {verdict} (limit {tolerance:.0e})")
        return "\n".join(lines)
