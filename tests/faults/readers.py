"""Every reader of files that we own, as one function each: bytes in; a UserError, or nothing to
complain of.
"""

from collections.abc import Callable
from pathlib import Path

from gemma_finetune.config import load_section
from gemma_finetune.export.merge import read_tensors, target_shapes
from gemma_finetune.export.quantizer import read_recipe
from gemma_finetune.formats.bundle_file import BundleFile
from gemma_finetune.formats.lora_file import load_lora
from gemma_finetune.formats.peft_adapter import CONFIG, WEIGHTS, read_peft
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.utils.files import read_json, read_jsonl


def lora(path: Path) -> None:
    load_lora(path)


def bundle(path: Path) -> None:
    file = BundleFile(path)
    file.contents()
    _model(file.model())


def tflite(path: Path) -> None:
    _model(TFLiteFile(path))


def _model(model):
    model.signatures(), model.weights(), model.cache_length(), model.vocabulary_size()


def peft(path: Path) -> None:
    """A JSON line for adapter_config.json, then adapter_model.safetensors."""
    config, _, weights = path.read_bytes().partition(b"\n")
    (path.parent / CONFIG).write_bytes(config)
    (path.parent / WEIGHTS).write_bytes(weights)
    read_peft(path.parent, "0" * 64)


def weights(path: Path) -> None:
    path.replace(path.with_name("model.safetensors"))
    target_shapes(path.parent, ("q_proj",))
    read_tensors(path.parent)


def tokenizer(path: Path) -> None:
    GemmaTokenizer(path).encode_conversation("<start_of_turn>user\nHi<end_of_turn>\n")


def params(path: Path) -> None:
    load_section("lora", LoRAConfig, str(path))


def recipe(path: Path) -> None:
    read_recipe(path)


def rows(path: Path) -> None:
    read_json(path)
    list(read_jsonl(path))


# {name of a file: its reader}
READERS: dict[str, Callable[[Path], None]] = {
    "lora.npz": lora,
    "model.task": bundle,
    "model.litertlm": bundle,
    "model.tflite": tflite,
    "peft": peft,
    "weights": weights,
    "tokenizer.model": tokenizer,
    "params.yaml": params,
    "recipe.json": recipe,
    "rows.jsonl": rows,
}
