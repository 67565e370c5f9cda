"""The hubs' own clients with their real exceptions; only the network call is replaced."""

import huggingface_hub
import kagglehub
import pytest
import requests
from huggingface_hub import errors
from kagglehub import exceptions

from gemma_finetune.base.download import fetch
from gemma_finetune.utils.cli import UserError

pytestmark = pytest.mark.slow


def raising(error):
    def call(*args, **kwargs):
        raise error

    return call


def http(status):
    import httpx2

    request = httpx2.Request("GET", "https://huggingface.co")
    return httpx2.Response(status, request=request)


def kaggle_error(status):
    response = requests.Response()
    response.status_code = status
    return exceptions.KaggleApiHTTPError(f"{status} Client Error", response=response)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            lambda: errors.GatedRepoError("gated", response=http(403)),
            "accept the terms at .*gemma-3-270m-it and set HF_TOKEN",
        ),
        (
            lambda: errors.RepositoryNotFoundError("none", response=http(404)),
            "no such model on Hugging Face",
        ),
        (lambda: errors.LocalEntryNotFoundError("offline"), "cannot be reached .*local directory"),
        (lambda: errors.HfHubHTTPError("boom", response=http(500)), "cannot be reached"),
    ],
)
def test_hugging_face_trouble_says_what_to_do(monkeypatch, error, says):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", raising(error()))
    with pytest.raises(UserError, match=says):
        fetch("hf://google/gemma-3-270m-it")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (kaggle_error(403), "accept the terms at .*KAGGLE_USERNAME"),
        (kaggle_error(401), "set KAGGLE_USERNAME"),
        (kaggle_error(404), "no such model on Kaggle"),
        (exceptions.UnauthenticatedError("who?"), "set KAGGLE_USERNAME"),
        (requests.ConnectionError("no route"), "cannot be reached .*local directory"),
        (ValueError("Invalid model handle: x/y"), "Invalid model handle: x/y; a handle is"),
    ],
)
def test_kaggle_trouble_says_what_to_do(monkeypatch, error, says):
    monkeypatch.setattr(kagglehub, "model_download", raising(error))
    for preset in ("gemma3_instruct_1b", "kaggle://keras/gemma3/keras/gemma3_1b"):
        with pytest.raises(UserError, match=says):
            fetch(preset)


def test_a_local_directory_is_itself(tmp_path):
    assert fetch(str(tmp_path)) == tmp_path


def test_unknown_names_are_refused_without_a_download():
    with pytest.raises(UserError, match="'gemma3_2b' is unknown; .*gemma3_instruct_1b"):
        fetch("gemma3_2b")
    with pytest.raises(UserError, match="directory ./nowhere does not exist$"):
        fetch("./nowhere")


def test_a_name_of_hugging_face_without_its_scheme_is_guessed():
    for name in ("google/gemma-3-270m-it", "google/gemma-3-1b-it@main"):
        with pytest.raises(UserError, match=f"did you mean hf://{name}[?]$"):
            fetch(name)
