"""The export stages on the shapes of Gemma 3 270M and 1B, beside litert-torch's own one-shot road,
in one run.

Random weights and a random adapter: time and memory depend on shapes alone. Prints seconds, CPU
seconds and peak memory of merge, tflite, quantize and bundle, then of `litert-torch export_hf`,
which converts the merged directory, quantizes it to INT8 and writes a .litertlm in one process.
INT8 alone needs no scaling for INT4; --calibration-tokens 1024 adds it.

    pip install psutil
    # Gemma's tokenizer.model
    python benchmarks/export.py --tokenizer TOKENIZER --shapes 270m 1b
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import yaml
from process import measure
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from gemma_finetune.export.merge import target_shapes  # noqa: E402
from gemma_finetune.formats.hf_layout import finish_layout  # noqa: E402
from gemma_finetune.formats.lora_file import base_digest, save_lora  # noqa: E402
from gemma_finetune.models.config import LoRAConfig  # noqa: E402

SHAPES = {
    "270m": dict(num_hidden_layers=18, hidden_size=640, intermediate_size=2048),
    "1b": dict(num_hidden_layers=26, hidden_size=1152, intermediate_size=6912),
}
HEADS, HEAD_DIM, VOCABULARY = 4, 256, 262144
PREFILL_LENGTHS, CACHE_LENGTH = [8, 128, 512], 1280
PROMPT = (
    "<start_of_turn>user\nTurn on the light.<end_of_turn>\n"
    "<start_of_turn>model\nIt is on.<end_of_turn>\n"
)


def config(shape):
    """config.json of a Gemma 3 text model: every sixth layer looks at all tokens."""
    kinds = [
        "full_attention" if n % 6 == 5 else "sliding_attention"
        for n in range(shape["num_hidden_layers"])
    ]
    return shape | {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "layer_types": kinds,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 1,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCABULARY,
        "query_pre_attn_scalar": 256,
        "sliding_window": 512,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 32768,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "use_bidirectional_attention": False,
    }


def tensor_shapes(shape):
    """{Hugging Face name: shape} of the model's tensors."""
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    found = {"model.embed_tokens.weight": (VOCABULARY, hidden), "model.norm.weight": (hidden,)}
    for n in range(shape["num_hidden_layers"]):
        layer = {
            f"self_attn.{name}_proj": (HEAD_DIM * (HEADS if name == "q" else 1), hidden)
            for name in "qkv"
        }
        layer |= {f"self_attn.{name}_norm": (HEAD_DIM,) for name in "qk"}
        layer |= {"self_attn.o_proj": (hidden, HEADS * HEAD_DIM), "mlp.down_proj": (hidden, inner)}
        layer |= {f"mlp.{name}_proj": (inner, hidden) for name in ("gate", "up")}
        norms = ("input", "post_attention", "pre_feedforward", "post_feedforward")
        layer |= {f"{name}_layernorm": (hidden,) for name in norms}
        found |= {f"model.layers.{n}.{name}.weight": size for name, size in layer.items()}
    return found


def prepare(folder, shape, tokenizer, tokens):
    """A folder that the export stages can run in: a random base, a random adapter, one
    conversation. `tokens`: for AWQ's scales.
    """
    rng, base = np.random.default_rng(0), folder / "models/base"
    base.mkdir(parents=True)
    tensors = {
        name: (0.02 * rng.standard_normal(size, np.float32)).astype(ml_dtypes.bfloat16)
        for name, size in tensor_shapes(shape).items()
    }
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(tokenizer, base / "tokenizer.model")
    (base / "config.json").write_text(json.dumps(config(shape)))
    finish_layout(base, "bfloat16")
    lora = LoRAConfig(
        rank=8,
        alpha=16,
        use_rslora=False,
        dropout=0.0,
        targets=("q_proj", "v_proj"),
        quantization_aware=False,
    )
    weights = {}
    for module, (out, into) in target_shapes(base, lora.targets).items():
        weights[f"{module}.lora_A"] = rng.standard_normal((8, into), np.float32) / 100
        weights[f"{module}.lora_B"] = rng.standard_normal((out, 8), np.float32) / 100
    save_lora(folder / "models/lora.npz", weights, lora, base_digest(base))
    (folder / "scripts").symlink_to(ROOT / "scripts")  # where quantize looks for recipes
    (folder / "data/formatted").mkdir(parents=True)
    for split in ("train", "validation"):
        (folder / f"data/formatted/{split}.jsonl").write_text(
            json.dumps({"id": "0", "text": PROMPT}) + "\n"
        )
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["export"] |= {
        "prefill_lengths": PREFILL_LENGTHS,
        "cache_length": CACHE_LENGTH,
        "calibration_tokens": tokens,
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def export_hf(folder):
    """litert-torch's own command for the same: convert, quantize to INT8, bundle."""
    flags = {
        "model": "models/merged",
        "output_dir": "theirs",
        "cache_length": CACHE_LENGTH,
        "bundle_litert_lm": True,
        "prefill_lengths": PREFILL_LENGTHS,
        "quantization_recipe": "dynamic_wi8_afp32",
    }
    call = f"from litert_torch.generative.export_hf import export; export.export(**{flags!r})"
    return measure([sys.executable, "-c", call], folder)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--calibration-tokens", type=int, default=0)
    arguments = parser.parse_args()
    print("| | seconds | CPU s | peak GB |\n|---|---:|---:|---:|", flush=True)
    for name in arguments.shapes:
        with tempfile.TemporaryDirectory() as folder:
            tokens = arguments.calibration_tokens
            prepare(Path(folder), SHAPES[name], arguments.tokenizer, tokens)
            for stage in (["merge"], ["tflite"], ["quantize", "int8"], ["bundle", "int8"]):
                command = [sys.executable, ROOT / f"scripts/{stage[0]}.py", *stage[1:]]
                report(f"{name} {' '.join(stage)}", *measure(command, folder))
            report(f"{name} litert-torch export_hf", *export_hf(folder))


def report(name, seconds, cpu, peak):
    print(f"| {name} | {seconds:.0f} | {cpu:.0f} | {peak / 1e3:.1f} |", flush=True)


if __name__ == "__main__":
    main()
