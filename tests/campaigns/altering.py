"""Files altered in the ways that happen: a flipped bit, a cut, another run's file, another number."""

import io
import json
import re
from pathlib import Path

import numpy as np


def flipped(path, dice):
    """One bit."""
    content = bytearray(path.read_bytes())
    content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(content)


def cut(path, dice):
    """The end is missing, or all of it."""
    content = path.read_bytes()
    return content[: dice.choice((0, dice.randrange(len(content))))]


def swapped(path, dice):
    """The file of another run, of another split, or another file of this kind; None where there is none."""
    others = [other for other in Path().rglob(f"*{path.suffix}") if other != path and other.is_file()]
    same = [other for other in others if other.name == path.name]
    differing = [other for other in same or others if other.read_bytes() != path.read_bytes()]
    return dice.choice(sorted(differing)).read_bytes() if differing else None


def renumbered(path, dice):
    """Another number, in a file that is as well formed as before; None where it has none."""
    match path.suffix:
        case ".npz":
            with np.load(path) as content:
                arrays = dict(content)
            numbers = [name for name, array in arrays.items() if array.dtype.kind in "fiu"]
            chosen = dice.choice(numbers)
            arrays[chosen] = other_number(arrays[chosen], dice)
            stream = io.BytesIO()
            np.savez(stream, **arrays)
            return stream.getvalue()
        case ".npy":
            stream = io.BytesIO()
            np.save(stream, other_number(np.load(path), dice))
            return stream.getvalue()
        case ".safetensors":
            from safetensors import safe_open
            from safetensors.numpy import load_file, save

            with safe_open(path, "numpy") as file:
                metadata = file.metadata()
            arrays = load_file(path)
            chosen = dice.choice(sorted(name for name in arrays if arrays[name].size))
            arrays[chosen] = other_number(arrays[chosen], dice)
            return save(arrays, metadata)
    text = path.read_text()
    places = [m for m in re.finditer(r"(?<![\w.\"-])-?\d+(\.\d+)?([eE][-+]?\d+)?(?![\w.\"])", text)]
    if not places:
        return None
    place = dice.choice(places)
    value = json.loads(place[0]) if not re.match(r"-?0\d", place[0]) else int(place[0])
    other = (
        value + dice.choice((1, -1, 7)) if isinstance(value, int) else value * dice.choice((0.99, 1.5, 1.001))
    )
    return (text[: place.start()] + repr(other) + text[place.end() :]).encode()


def other_number(array, dice):
    """The array with one number changed a little, or much."""
    array = array.copy()
    flat = array.reshape(-1)
    at = dice.randrange(len(flat))
    flat[at] = flat[at] + 1 if array.dtype.kind in "iu" else flat[at] * dice.choice((1.001, 2.0)) + 1e-3
    return array


WAYS = (flipped, cut, swapped, renumbered)
