"""An adapter as PEFT stores it: a directory with adapter_config.json and adapter_model.safetensors.

PEFT uses the same factorization, so converting in either direction renames arrays and loses
nothing. What PEFT supports and `lora.npz` cannot hold (DoRA, biases, modules saved whole, a rank
for one module, ...) is refused by name, never dropped. Needs neither PEFT nor torch.
"""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors.numpy import save_file

from gemma_finetune.formats.lora_file import Adapter
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.models.config import LoRAConfig, Target
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, SUFFIX = "base_model.model.", ".weight"
TARGETS = get_args(Target)

# Settings that are converted, or that add nothing to what the tensors say. Any other must be off.
KNOWN = {
    "r", "lora_alpha", "use_rslora", "lora_dropout", "target_modules", "exclude_modules",
    "layers_to_transform", "layers_pattern", "peft_type", "peft_version", "task_type",
    "base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "init_lora_weights",
    "eva_config", "bias", "megatron_core", "qalora_group_size",
}  # fmt: skip
# The other initializations (PiSSA, OLoRA, LoftQ, ...) change the base's weights, too.
INITIALIZATIONS = (True, False, None, "gaussian", "orthogonal", "eva")


def write_peft(directory: Path, adapter: Adapter, base: str) -> None:
    """Writes `adapter` to a new `directory`; `base` is the model that PEFT loads by default.

    UserError for a quantization-aware adapter: PEFT has no such thing.
    """
    config = adapter.config
    if config.quantization_aware:
        raise UserError(
            "lora.quantization_aware: PEFT would put it on a base that is not rounded; "
            "use models/merged"
        )
    directory.mkdir(parents=True)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": config.rank,
        "lora_alpha": int(config.alpha) if config.alpha.is_integer() else config.alpha,
        "use_rslora": config.use_rslora,
        "lora_dropout": config.dropout,
        "target_modules": list(config.targets),
        "bias": "none",
        "inference_mode": True,
    }
    (directory / CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    tensors = {
        f"{PREFIX}{name}{SUFFIX}": np.ascontiguousarray(array)
        for name, array in adapter.weights.items()
    }
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})


def read_peft(directory: Path, base_sha256: str) -> Adapter:
    """The adapter in `directory`, as float32. UserError for anything that `lora.npz` cannot hold.

    `base_sha256`: digest of the base that it belongs to, which PEFT does not record.
    """
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            raise UserError(
                f"{directory / name} is missing; give the directory that PEFT's save_pretrained "
                "wrote"
            )
    settings = read_json(directory / CONFIG)
    _refuse_unsupported(directory / CONFIG, settings)
    weights = _read_weights(directory / WEIGHTS)
    used = {name.split(".")[-2] for name in weights}
    try:
        config = LoRAConfig(
            rank=settings["r"],
            alpha=settings["lora_alpha"],
            use_rslora=settings.get("use_rslora", False),
            dropout=settings.get("lora_dropout", 0.0),
            targets=tuple(target for target in TARGETS if target in used),
            quantization_aware=False,
        )
    except (KeyError, ValueError) as error:
        raise UserError(f"{directory / CONFIG}: not the settings of a LoRA adapter ({error})")
    return Adapter(weights=weights, config=config, base_sha256=base_sha256)


def _refuse_unsupported(path: Path, settings: Any) -> None:
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        raise UserError(f"{path}: not a LoRA adapter of PEFT")
    unsupported = {key: value for key, value in settings.items() if value and key not in KNOWN}
    if settings.get("bias", "none") != "none":
        unsupported["bias"] = settings["bias"]
    if settings.get("init_lora_weights") not in INITIALIZATIONS:
        unsupported["init_lora_weights"] = settings["init_lora_weights"]
    if unsupported:
        named = [f"{key} = {json.dumps(value)}" for key, value in sorted(unsupported.items())]
        raise UserError(
            f"{path}: not supported here: {', '.join(named)}; merge this adapter with PEFT, "
            "and take that as the base"
        )


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    """{"model.layers.0.self_attn.q_proj.lora_A": float32 array, ...}.

    UserError for a tensor of any other kind.
    """
    weights = {}
    with open_weights(path) as file:
        for tensor_name in file.keys():
            name = tensor_name.removeprefix(PREFIX).removesuffix(SUFFIX)
            weights[name] = file.get_tensor(tensor_name).astype("float32")
    for name in weights:
        if not _is_lora_array(name):
            raise UserError(
                f"{path}: {name}: not supported here; only lora_A and lora_B of model.layers.N.…."
                f"{{{','.join(TARGETS)}}} are"
            )
    if not weights:
        raise UserError(f"{path}: holds no tensors")
    return weights


def _is_lora_array(name: str) -> bool:
    parts = name.split(".")
    return (
        parts[:2] == ["model", "layers"]
        and parts[-1] in ("lora_A", "lora_B")
        and parts[-2] in TARGETS
    )
