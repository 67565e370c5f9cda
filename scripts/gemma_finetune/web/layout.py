"""Lays out the page as a folder that any static host can serve, below any path.

index.html, chat.js, worker.js, style.css    the page, as in scripts/web/
models.json, models/                         the bundles, and the licence notice of their base
runtime/                                     LiteRT-LM for the web, from npm
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from gemma_finetune.formats.foreign import foreign
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, made_by, read_json

_SCRIPTS = Path(__file__).resolve().parents[2]
PAGE = _SCRIPTS / "web"  # the page's sources, and what npm shall fetch
RUNTIME = Path(".web/runtime")  # where npm puts it, below the current folder

_FILES = ("index.html", "chat.js", "worker.js", "style.css")
_OURS = {*_FILES, "models.json", "models", "runtime"}  # what a folder of the page holds
_LICENCE = _SCRIPTS.parent / "LICENSE"  # Apache-2.0, which the runtime is under, too
_LEFT_OUT = shutil.ignore_patterns("*.d.ts", "*.map", "testing")
_DEFAULT = "int8.litertlm"  # in a browser, INT4 answers more slowly


def find_bundles(folder: Path) -> list[Path]:
    """The `.litertlm` files in a folder, the default model first.

    UserError if there are none, and if one of them is no bundle.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file: name its folder, {folder.parent}")
    found = folder.glob("[!.]*.litertlm")
    bundles = sorted(found, key=lambda path: (path.name != _DEFAULT, path.name))
    if not bundles:
        raise UserError(
            f"{folder} has no .litertlm: make the bundles with `dvc repro bundle`, or fetch them "
            "with `dvc pull models/bundle`"
        )
    for bundle in bundles:
        _check_bundle(bundle)
    return bundles


def _check_bundle(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is not a file: remove it, or name another folder with --models")
    if what := foreign(path):
        raise UserError(f"{path} is {what}")


def lay_out(out: Path, modules: Path, bundles: Sequence[Path]) -> None:
    """Writes the folder `out`, and replaces what an earlier call wrote there.

    modules: node_modules with the runtime. UserError if `out` holds anything else.
    """
    out = out.resolve()
    _check_replaceable(out)
    with aside(out) as temporary:
        temporary.mkdir()
        for name in _FILES:
            shutil.copyfile(PAGE / name, temporary / name)
        _copy_runtime(modules, temporary / "runtime")
        _copy_models(bundles, temporary)


def _check_replaceable(out: Path) -> None:
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    names -= {".DS_Store", "Thumbs.db"}  # of file managers
    # A folder with a file of another's, such as the .git that pushes it to a host, is not ours.
    others = sorted(names - _OURS) if _OURS <= names else sorted(names)
    if others:
        raise UserError(
            f"{out} holds other files: name an empty folder, or one that is not there (found: "
            f"{', '.join(others[:3])})"
        )


def _copy_runtime(modules: Path, runtime: Path) -> None:
    """The runtime's JavaScript and WebAssembly.

    Its one import by package name becomes a path: a browser knows no package names, and an import
    map does not reach into a worker.
    """
    core = modules / "@litert-lm" / "core"
    shutil.copytree(core / "dist", runtime, ignore=_LEFT_OUT)
    shutil.copytree(core / "wasm", runtime / "wasm")
    shutil.copyfile(modules / "@litertjs/wasm-utils/dist/index.js", runtime / "wasm-utils.js")
    shutil.copyfile(_LICENCE, runtime / "LICENSE")

    load = runtime / "load.js"
    text = load.read_text(encoding="utf-8")
    load.write_text(text.replace("'@litertjs/wasm-utils'", "'./wasm-utils.js'"), encoding="utf-8")


def _copy_models(bundles: Sequence[Path], out: Path) -> None:
    """The bundles, their list for the page, and the licence notice in the manifests beside them."""
    (out / "models").mkdir()
    listed = []
    for bundle in bundles:
        shutil.copyfile(bundle, out / "models" / bundle.name)
        listed.append({"name": bundle.name, "bytes": bundle.stat().st_size})
        manifest = bundle.with_suffix(".json")
        with made_by("bundle", manifest):
            notice = read_json(manifest).get("notice") if manifest.is_file() else ""
            if notice:
                (out / "models" / "NOTICE").write_text(notice + "\n", encoding="utf-8")
    (out / "models.json").write_text(json.dumps(listed), encoding="utf-8")
