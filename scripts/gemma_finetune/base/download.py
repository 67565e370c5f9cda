"""`model.preset` -> a local directory. Downloads go through kagglehub and huggingface_hub only."""

import os
import re
from pathlib import Path

from gemma_finetune.utils.cli import UserError

KAGGLE_PAGES = "https://www.kaggle.com/models"
HF_PATTERNS = ["*.json", "*.safetensors", "tokenizer.model", "*.h5", "assets/*"]
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")  # org/name, on Hugging Face
_HUB_PAGE = re.compile(r"^(hf:/|(https?://)?(www\.)?(huggingface\.co|hf\.co)/)")
_OFFLINE = "check the network, or set model.preset to a local directory"


def fetch(preset: str) -> Path:
    """The directory of `preset`.

    A local path is returned as it is. `hf://org/name[@revision]`, `kaggle://...` and a KerasHub
    preset name are downloaded, or found in the hub's own cache. UserError says what to do about
    missing credentials, unaccepted terms, no network, or an unknown name.
    """
    if preset.startswith("hf://"):
        return _fetch_hugging_face(preset)
    if preset.startswith("kaggle://"):
        return _fetch_kaggle(preset, preset.removeprefix("kaggle://"))
    if Path(preset).is_dir():
        return Path(preset)
    if os.sep in preset:
        name = _HUB_PAGE.sub("", preset)
        hint = f"; did you mean hf://{name}?" if _HUB_NAME.fullmatch(name) else ""
        raise UserError(f"model.preset: the directory {preset} does not exist{hint}")
    return _fetch_kaggle(preset, _kaggle_handle(preset))


def revision(preset: str, directory: Path) -> str | None:
    """Which commit (Hugging Face) or version (Kaggle) of `preset` is in `directory`, from `fetch`.

    Both hubs name the folder after it. None for the user's own directory.
    """
    return None if Path(preset).is_dir() else directory.name


def _kaggle_handle(preset: str) -> str:
    from gemma_finetune.models.loader import keras_hub

    presets = keras_hub.models.Gemma3Backbone.presets
    if preset not in presets:
        families = ("gemma3", "function_gemma")
        known = ", ".join(sorted(name for name in presets if name.startswith(families)))
        raise UserError(
            f"model.preset: {preset!r} is unknown; "
            f"use tiny, a directory, hf://…, kaggle://…, or one of {known}"
        )
    return presets[preset]["kaggle_handle"].removeprefix("kaggle://")


def _fetch_hugging_face(preset: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    name, _, revision = preset.removeprefix("hf://").partition("@")
    try:
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
        return Path(kagglehub.model_download(handle))
    except exceptions.KaggleApiHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status == 404:
            raise UserError(f"{preset}: no such model on Kaggle; see {page}")
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
