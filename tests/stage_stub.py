"""Stands in for a stage's script in a clone: writes the stage's outs from its deps and parameters.

For tests of what runs again and what the caches restore: real DVC, the real dvc.yaml, no waiting.
"""

import functools
import hashlib
import json
import os
import sys
from pathlib import Path

import yaml

from gemma_finetune.auto import KEYS

PIPELINE = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load(Path("params.yaml").read_text())


def main():
    name, *items = Path(sys.argv[0]).stem, *sys.argv[1:]
    if os.environ.get("STOP_AT") == name:
        sys.exit("stopped")
    stage = PIPELINE[name]
    digest = hashlib.sha256(json.dumps(list(parameters(stage.get("params", [])))).encode())
    for dep in paths(stage["deps"], items):
        for file in files_in(Path(dep)):
            digest.update(file.read_bytes())
    for kind in ("outs", "metrics", "plots"):
        for out in paths(stage.get(kind, []), items):
            for file in expected_files(out):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content(file, digest.hexdigest()))


def parameters(entries):
    """The values of a list in dvc.yaml, where an entry may be {file: keys}."""
    for entry in entries:
        file, keys = next(iter(entry.items())) if isinstance(entry, dict) else (None, [entry])
        found = json.loads(Path(file).read_text()) if file else PARAMS
        yield from (functools.reduce(dict.__getitem__, key.split("."), found) for key in keys)


def paths(entries, items):
    """The paths of a list in dvc.yaml, where an entry may be {path: options}."""
    for entry in entries:
        path = entry if isinstance(entry, str) else next(iter(entry))
        path = path.replace("${data.raw}", PARAMS["data"]["raw"])
        path = path.replace("${model.watch}", PARAMS["model"]["watch"])
        yield path.replace("${item.quantization}", items[0] if items else "")


def files_in(path):
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def expected_files(out):
    """The file of an out, or those that other stages expect in it."""
    if Path(out).suffix:
        return [Path(out)]
    inside = {
        dep
        for stage in PIPELINE.values()
        for dep in paths(stage["deps"], [])
        if dep.startswith(f"{out}/")
    }
    return [Path(dep) for dep in sorted(inside)] or [Path(out, "content.txt")]


def content(file, digest):
    number = int(digest[:6], 16)
    if file.name == "settings.json":  # which later stages read parameters from
        chosen = {name: {key: PARAMS[name][key] for key in keys} for name, keys in KEYS.items()}
        return json.dumps(chosen)
    if file.suffix == ".json":
        return json.dumps({"value": number})
    return f"a,b\n1,{number}\n" if file.suffix == ".csv" else digest


main()
