"""Which parts of two models hold the same weights, told from their files without loading them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

SAMPLE = 65536


def fingerprints(folder: Path) -> dict[str, str]:
    """Of a pipeline's folder: each part that has weights, with a text that is the same for the same weights.

    Raises OSError or ValueError for a folder that is no pipeline's."""
    index = json.loads((folder / "model_index.json").read_text())
    found = {}
    for name, kind in index.items():
        files = sorted((folder / name).glob("*.safetensors"))
        if files:
            found[name] = _fingerprint(str(kind), folder / name / "config.json", files)
    return found


def _fingerprint(kind: str, config: Path, files: list[Path]) -> str:
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    digest.update(config.read_bytes())
    for file in files:
        for piece in _samples(file):
            digest.update(piece)
    return digest.hexdigest()


def _samples(path: Path) -> Iterator[bytes]:
    """What tells a .safetensors file: its header, and the start, the middle and the end of every tensor.

    To read all of it would take as long as to load it; but training changes a tensor everywhere, not in one spot."""
    with path.open("rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
        yield header
        data = file.tell()
        for tensor in json.loads(header).values():
            start, end = tensor.get("data_offsets", (0, 0))
            for place in (start, (start + end - SAMPLE) // 2, end - SAMPLE):
                file.seek(data + max(start, place))
                yield file.read(min(SAMPLE, end - start))
