"""`lora.npz`: an adapter and all that is needed to use it, readable without Keras.

It holds float32 arrays under their Hugging Face module path

    model.layers.0.self_attn.q_proj.lora_A  (rank, in)
    model.layers.0.self_attn.q_proj.lora_B  (out, rank)

and one JSON string, `metadata`: format version, the `lora` settings, and the SHA-256 of the base
weights that the adapter was trained on. It is read with `allow_pickle=False`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, require, sha256
from gemma_finetune.utils.npz import read_arrays, write_arrays

FORMAT_VERSION = 3


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A loaded `lora.npz`: weights by array name, their settings, and the digest of their base."""

    weights: dict[str, np.ndarray]
    config: LoRAConfig
    base_sha256: str

    @property
    def modules(self) -> list[str]:
        """Hugging Face module paths, sorted."""
        return sorted({name.rsplit(".", 1)[0] for name in self.weights})

    def delta(self, module: str) -> np.ndarray:
        """The update of a module's weight: scale x B A, float32 (out, in)."""
        lora_A, lora_B = self.weights[f"{module}.lora_A"], self.weights[f"{module}.lora_B"]
        return lora_delta(lora_A, lora_B, self.config.scale)


def lora_delta(lora_A: np.ndarray, lora_B: np.ndarray, scale: float) -> np.ndarray:
    """scale x B A, float32 (out, in), to the bit the same on every CPU.

    `lora_B @ lora_A` is not: BLAS sums over the rank in an order that depends on the CPU.
    """
    product = np.zeros((len(lora_B), lora_A.shape[1]))  # float64, where each product is exact
    for column, row in zip(lora_B.T.astype(np.float64), lora_A.astype(np.float64), strict=True):
        product += np.outer(column, row)
    product *= scale
    return product.astype(np.float32)


def base_digest(base: str | Path) -> str:
    """SHA-256 of the base's weights: what ties an adapter to its base."""
    return sha256(require(Path(base) / "model.safetensors", "base"))


def save_lora(
    path: str | Path, weights: dict[str, np.ndarray], config: LoRAConfig, base_sha256: str
) -> None:
    """Writes an adapter. The same adapter always gives the same bytes."""
    metadata = {"format_version": FORMAT_VERSION, "base_sha256": base_sha256, **asdict(config)}
    arrays = {name: np.asarray(value, "float32") for name, value in sorted(weights.items())}
    arrays = {"metadata": np.asarray(json.dumps(metadata, sort_keys=True)), **arrays}
    with aside(path) as temporary:
        write_arrays(temporary, arrays)


def load_lora(path: str | Path) -> Adapter:
    """Reads an adapter.

    UserError if the file is damaged or foreign, or if its arrays do not fit its metadata.
    """
    try:
        arrays = read_arrays(require(path, "train"))
    except ValueError as error:
        raise UserError(f"{path}: {error}; run `dvc repro train`")
    if "metadata" not in arrays:
        raise UserError(
            f"{path}: has no `metadata`, so it was not written by this project's train stage"
        )
    config, base_sha256 = _read_metadata(path, str(arrays.pop("metadata")))
    check_shapes(path, arrays, config)
    return Adapter(weights=arrays, config=config, base_sha256=base_sha256)


def _read_metadata(path: str | Path, text: str) -> tuple[LoRAConfig, str]:
    """The `lora` settings and the base's digest."""
    try:
        metadata = json.loads(text)
        if metadata.pop("format_version") != FORMAT_VERSION:
            raise UserError(
                f"{path}: written by another version of this project; run `dvc repro train`"
            )
        base_sha256 = str(metadata.pop("base_sha256"))
        return LoRAConfig(**metadata), base_sha256
    # ValueError is JSON's and pydantic's; the others come from JSON that is not a mapping of ours.
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: its metadata is damaged ({error}); run `dvc repro train`")


def check_shapes(path: str | Path, arrays: dict[str, np.ndarray], config: LoRAConfig) -> None:
    """UserError unless every array is float32, of the config's rank, and has its counterpart."""
    for name, array in arrays.items():
        module, _, kind = name.rpartition(".")
        counterpart = f"{module}.{'lora_B' if kind == 'lora_A' else 'lora_A'}"
        if kind not in ("lora_A", "lora_B") or counterpart not in arrays:
            raise UserError(f"{path}: {name}: its counterpart {counterpart} is missing")

        rank_axis = 0 if kind == "lora_A" else -1
        rank = array.shape[rank_axis] if array.ndim == 2 else None
        if rank != config.rank or array.dtype != np.float32:
            raise UserError(
                f"{path}: {name}: expected float32 of rank {config.rank}, "
                f"found {array.dtype} {array.shape}"
            )


def check_fits(
    path: str | Path, adapter: Adapter, base: str | Path, modules: dict[str, tuple[int, int]]
) -> None:
    """UserError unless `adapter` was trained on `base` and covers exactly `modules`.

    `modules`: {module path: (out, in)} of the base's weights that the adapter's targets name.
    """
    found = base_digest(base)
    if adapter.base_sha256 != found:
        raise UserError(
            f"{path}: trained on another base (sha256 {adapter.base_sha256[:12]}…) than {base} "
            f"({found[:12]}…); run `dvc repro train`"
        )
    for module in sorted(set(modules) | set(adapter.modules)):
        if module not in adapter.modules:
            raise UserError(f"{path}: no adapter for {module}, which the base has")
        if module not in modules:
            raise UserError(f"{path}: an adapter for {module}, which the base does not have")

        lora_A, lora_B = adapter.weights[f"{module}.lora_A"], adapter.weights[f"{module}.lora_B"]
        shape = (lora_B.shape[0], lora_A.shape[1])
        if shape != modules[module]:
            raise UserError(
                f"{path}: {module}: adapter is for a {shape} weight, "
                f"the base's is {modules[module]}"
            )
