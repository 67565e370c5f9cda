"""Converts an adapter to PEFT and back, without loss.

    # models/lora.npz -> a PEFT directory
    python scripts/peft_adapter.py export models/peft
    # a PEFT directory -> lora.npz
    python scripts/peft_adapter.py import path/to/peft models/lora.npz

`import` reads the base that the adapter was trained on (--base, by default models/base): it writes
the base's digest into the file, and refuses an adapter that does not fit the base. After it, `dvc
commit -f train && dvc repro` takes the imported models/lora.npz for the output of the train stage,
and continues from there.
"""

import argparse
from pathlib import Path

from gemma_finetune.export.merge import target_shapes
from gemma_finetune.formats.lora_file import (
    Adapter,
    base_digest,
    check_fits,
    check_shapes,
    load_lora,
    save_lora,
)
from gemma_finetune.formats.peft_adapter import CONFIG, read_peft, write_peft
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, read_json


def main() -> None:
    args = parse_arguments()
    if args.output.exists() and not args.force:
        raise UserError(f"{args.output} exists; name another place, or add --force to replace it")
    if args.direction == "export":
        adapter = export_adapter(args.input, args.output, args.base)
    else:
        adapter = import_adapter(args.input, args.output, args.base)
    config = adapter.config
    print(
        f"{len(adapter.modules)} modules, rank {config.rank}, {', '.join(config.targets)} "
        f"-> {args.output}"
    )


def export_adapter(lora: Path, directory: Path, base: Path) -> Adapter:
    """lora.npz -> a PEFT directory. It replaces nothing but another PEFT directory."""
    if directory.exists() and not (directory / CONFIG).is_file():
        raise UserError(
            f"{directory} is not a PEFT adapter, so --force does not replace it; name another place"
        )
    adapter = load_lora(lora)
    check_fits(lora, adapter, base, target_shapes(base, adapter.config.targets))
    with aside(directory) as temporary:
        write_peft(temporary, adapter, base_name(base))
    return adapter


def base_name(base: Path) -> str:
    """Where PEFT finds the base: on Hugging Face if it came from there, else its absolute path."""
    source = base / "source.json"
    preset = read_json(source).get("preset", "") if source.exists() else ""
    if preset.startswith("hf://"):
        return preset.removeprefix("hf://").partition("@")[0]
    return str(base.resolve())


def import_adapter(directory: Path, lora: Path, base: Path) -> Adapter:
    """A PEFT directory -> lora.npz, for `base`."""
    adapter = read_peft(directory, base_digest(base))
    check_shapes(directory, adapter.weights, adapter.config)
    check_fits(directory, adapter, base, target_shapes(base, adapter.config.targets))
    save_lora(lora, adapter.weights, adapter.config, adapter.base_sha256)
    return adapter


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Convert an adapter to PEFT and back.")
    directions = parser.add_subparsers(dest="direction", required=True)

    out = directions.add_parser("export", help="lora.npz -> a PEFT directory")
    out.add_argument("output", type=Path, metavar="DIRECTORY", help="to write, such as models/peft")
    out.add_argument(
        "--lora", dest="input", type=Path, default=Path("models/lora.npz"), help="the adapter"
    )

    back = directions.add_parser("import", help="a PEFT directory -> lora.npz")
    back.add_argument(
        "input", type=Path, metavar="DIRECTORY", help="what PEFT's save_pretrained wrote"
    )
    back.add_argument(
        "output", type=Path, metavar="LORA.npz", help="to write, such as models/lora.npz"
    )

    for command in (out, back):
        command.add_argument(
            "--base", type=Path, default=Path("models/base"), help="the base it was trained on"
        )
        command.add_argument("--force", action="store_true", help="replace what is there")
    return parser.parse_args()


if __name__ == "__main__":
    run(main, arguments=None)
