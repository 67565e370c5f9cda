"""`model.preset` -> a local directory. Downloads go through kagglehub and huggingface_hub only."""

import os
import re
from contextlib import suppress
from pathlib import Path

from gemma_finetune.base.architecture import AGAIN, check_config
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import read_json

KAGGLE_PAGES = "https://www.kaggle.com/models"
HF_PATTERNS = ["*.json", "*.safetensors", "tokenizer.model", "*.h5", "assets/*"]
# {scheme: (how people begin what they write for it, what follows the scheme)}
_HUBS = {
    "hf://": (
        re.compile(r"(hf:/*|(https?:/+)?(www\.)?(huggingface\.co|hf\.co)/)?", re.IGNORECASE),
        re.compile(r"[a-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?", re.IGNORECASE),  # org/name
    ),
    "kaggle://": (
        re.compile(r"(kaggle:/*|(https?:/+)?(www\.)?kaggle\.com/models/)", re.IGNORECASE),
        re.compile(r"[\w.-]+(/[\w.-]+){3}(/\d+)?"),  # org/model/framework/variant/version
    ),
}
_PAGE_END = re.compile(r"(/(tree|blob|resolve)/[^?#]*)?/*([?#].*)?$")  # of a model's page
LARGEST = 1.5e9  # parameters of a KerasHub preset that is offered
_OFFLINE = "check the network, or set model.preset to a local directory"


def fetch(preset: str) -> Path:
    """The directory of `preset`.

    A local path is returned as it is. `hf://org/name[@revision]`, `kaggle://...` and a KerasHub
    preset name are downloaded, or found in the hub's own cache. Its config.json comes first: a
    model that is not supported is not downloaded. UserError says what to do about missing
    credentials, unaccepted terms, no network, or an unknown name.
    """
    meant = _meant(preset)
    if not meant and preset.startswith("hf://"):
        return _fetch_hugging_face(preset)
    if not meant and preset.startswith("kaggle://"):
        return _fetch_kaggle(preset, preset.removeprefix("kaggle://"))
    path = Path(preset)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"model.preset: {preset} is a file; name the directory of a model")
    if meant:
        raise UserError(f"model.preset: {preset} is no directory; did you mean {meant}?")
    if preset.startswith("~"):
        raise UserError(f"model.preset: write {path.expanduser()} in full, without ~")
    if os.sep in preset and "://" not in preset:
        raise UserError(f"model.preset: the directory {preset} does not exist")
    return _fetch_kaggle(preset, _kaggle_handle(preset))


def _meant(preset: str) -> str | None:
    """The model on a hub that is meant by `preset`, a page or a name in another spelling."""
    for scheme, (beginning, name) in _HUBS.items():
        found = beginning.match(preset)
        if found:
            rest = _PAGE_END.sub("", preset[found.end() :])
            is_path = Path(rest).parent.exists()
            if name.fullmatch(rest) and not is_path and preset != scheme + rest:
                return scheme + rest
    return None


def revision(preset: str, directory: Path) -> str | None:
    """Which commit (Hugging Face) or version (Kaggle) of `preset` is in `directory`, from `fetch`.

    Both hubs name the folder after it. None for the user's own directory.
    """
    return None if Path(preset).is_dir() else directory.name


def _kaggle_handle(preset: str) -> str:
    from gemma_finetune.models.loader import keras_hub

    presets = keras_hub.models.Gemma3Backbone.presets
    families = ("gemma3", "function_gemma")
    known = {
        name: facts["kaggle_handle"].removeprefix("kaggle://")
        for name, facts in presets.items()
        if name.startswith(families) and facts["metadata"]["params"] <= LARGEST
    }
    if preset not in known:
        raise UserError(
            f"model.preset: {preset!r} is {'not supported' if preset in presets else 'unknown'}; "
            f"use tiny, a directory, hf://…, kaggle://…, or one of {', '.join(sorted(known))}"
        )
    return known[preset]


def _check_first(preset: str, config: str | Path) -> None:
    """UserError if the config.json of `preset`, downloaded to `config`, is no supported model's."""
    check_config(read_json(config, remedy=AGAIN), f"{preset}: config.json")


def _fetch_hugging_face(preset: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    name, _, revision = preset.removeprefix("hf://").partition("@")
    try:
        config = huggingface_hub.hf_hub_download(name, "config.json", revision=revision or None)
        _check_first(preset, config)
        directory = huggingface_hub.snapshot_download(
            name, revision=revision or None, allow_patterns=HF_PATTERNS
        )
    except errors.GatedRepoError:
        raise UserError(
            f"{preset}: not accessible; accept the terms at https://huggingface.co/{name} "
            "and set HF_TOKEN (a token with read access)"
        )
    except errors.RevisionNotFoundError:
        raise UserError(f"{preset}: has no revision {revision!r}")
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(
            f"{preset}: no such model on Hugging Face, or a private one: "
            "check the name, or set HF_TOKEN"
        )
    except errors.RemoteEntryNotFoundError:
        raise UserError(
            f"{preset}: has no config.json; "
            "use a model in Hugging Face or KerasHub layout, not GGUF or TFLite"
        )
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise UserError(
            f"{preset}: Hugging Face cannot be reached ({_first_line(error)}); {_OFFLINE}"
        )
    return Path(directory)


def _fetch_kaggle(preset: str, handle: str) -> Path:
    import kagglehub
    import requests
    from kagglehub import exceptions

    page = "/".join([KAGGLE_PAGES, *handle.split("/")[:2]])  # of org/model/…
    try:
        with suppress(requests.ConnectionError):  # without a network, the whole may be in the cache
            _check_first(preset, kagglehub.model_download(handle, path="config.json"))
        return Path(kagglehub.model_download(handle))
    except exceptions.KaggleApiHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 404:
            raise UserError(
                f"{preset}: no such model on Kaggle, or it has no config.json; see {page}"
            )
        raise UserError(
            f"{preset}: Kaggle refused it (HTTP {status}); accept the terms at {page} and "
            "set KAGGLE_USERNAME and KAGGLE_KEY (kaggle.com > Settings > API)"
        )
    except (exceptions.UnauthenticatedError, exceptions.CredentialError):
        raise UserError(
            f"{preset}: set KAGGLE_USERNAME and KAGGLE_KEY (kaggle.com > Settings > API)"
        )
    except (requests.RequestException, exceptions.BackendError) as error:
        raise UserError(f"{preset}: Kaggle cannot be reached ({_first_line(error)}); {_OFFLINE}")
    except ValueError as error:
        raise UserError(
            f"{preset}: {_first_line(error)}; "
            "a handle is kaggle://org/model/keras/variant[/version]"
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__
