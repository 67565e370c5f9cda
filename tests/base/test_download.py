"""The hubs' own clients with their real exceptions; only the network call is replaced."""

import huggingface_hub
import kagglehub
import pytest
import requests
from huggingface_hub import errors
from kagglehub import exceptions

from gemma_finetune.base.download import fetch
from gemma_finetune.config import load_section
from gemma_finetune.models.config import ModelConfig
from gemma_finetune.utils.errors import UserError

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
        (
            lambda: errors.RemoteEntryNotFoundError("none", response=http(404)),
            "has no config.json; use a model in Hugging Face or KerasHub layout",
        ),
        (lambda: errors.LocalEntryNotFoundError("offline"), "cannot be reached .*local directory"),
        (lambda: errors.HfHubHTTPError("boom", response=http(500)), "cannot be reached"),
    ],
)
def test_hugging_face_trouble_says_what_to_do(monkeypatch, error, says):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", raising(error()))
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


def test_an_unsupported_model_is_refused_by_its_config_alone(monkeypatch, tmp_path):
    """The real clients would load every file of it next."""
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "llama"}')

    def config_alone(name, path=None, revision=None):
        assert path == "config.json", "the whole model is downloaded"
        return str(config)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", config_alone)
    monkeypatch.setattr(kagglehub, "model_download", config_alone)
    for preset in (
        "hf://meta-llama/Llama-3.1-70B",
        "hf://meta-llama/Llama-3.1-70B@main",
        "kaggle://metaresearch/llama-3.1/transformers/70b/1",
    ):
        with pytest.raises(UserError, match=f'{preset}: config.json: model_type is "llama"'):
            fetch(preset)


def test_a_model_in_the_cache_needs_no_network(monkeypatch, tmp_path):
    def cached(handle, path=None):
        if path:
            raise requests.ConnectionError("no route")
        return str(tmp_path)

    monkeypatch.setattr(kagglehub, "model_download", cached)
    assert fetch("gemma3_instruct_270m") == tmp_path


def test_unknown_names_are_refused_without_a_download():
    supported = (
        "function_gemma_instruct_270m, gemma3_1b, gemma3_270m, gemma3_instruct_1b, "
        "gemma3_instruct_270m$"
    )
    with pytest.raises(UserError, match=f"'gemma3_2b' is unknown; .*, or one of {supported}"):
        fetch("gemma3_2b")
    for preset in ("gemma3_instruct_4b", "gemma3_4b_text", "embedding_gemma3_300m"):
        with pytest.raises(UserError, match=f"'{preset}' is not supported; .* {supported}"):
            fetch(preset)
    for preset in ("s3://bucket/model", "file:///models/gemma", "C:\\models"):
        with pytest.raises(
            UserError, match=f"is unknown; use tiny, a directory, hf://.* {supported}"
        ):
            fetch(preset)
    with pytest.raises(UserError, match="directory ./nowhere does not exist$"):
        fetch("./nowhere")


def test_a_home_directory_is_to_be_written_in_full(monkeypatch):
    """DVC, which watches the directory, would look for a folder that is named ~."""
    monkeypatch.setenv("HOME", "/home/me")
    with pytest.raises(UserError, match="model.preset: write /home/me/gemma in full, without ~$"):
        fetch("~/gemma")


def test_a_file_is_no_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "lora.npz").touch()
    with pytest.raises(UserError, match="models/lora.npz is a file; name the directory of a model"):
        fetch("models/lora.npz")
    with pytest.raises(UserError, match="the directory models/none does not exist$"):
        fetch("models/none")


@pytest.mark.parametrize(
    ("preset", "meant"),
    [
        ("google/gemma-3-270m-it", "hf://google/gemma-3-270m-it"),
        ("google/gemma-3-1b-it@main", "hf://google/gemma-3-1b-it@main"),
        ("hf:/google/gemma-3-270m-it", "hf://google/gemma-3-270m-it"),
        ("HF://google/gemma-3-270m-it", "hf://google/gemma-3-270m-it"),
        ("hf://google/gemma-3-270m-it/", "hf://google/gemma-3-270m-it"),
        ("huggingface.co/google/gemma-3-270m-it/", "hf://google/gemma-3-270m-it"),
        ("https://huggingface.co/google/gemma-3-270m-it", "hf://google/gemma-3-270m-it"),
        ("https://hf.co/google/gemma-3-270m-it?library=x", "hf://google/gemma-3-270m-it"),
        ("https://huggingface.co/google/gemma-3-270m-it/tree/main", "hf://google/gemma-3-270m-it"),
        ("KAGGLE://keras/gemma3/keras/gemma3_1b", "kaggle://keras/gemma3/keras/gemma3_1b"),
        (
            "https://www.kaggle.com/models/keras/gemma3/keras/gemma3_1b/3",
            "kaggle://keras/gemma3/keras/gemma3_1b/3",
        ),
    ],
)
def test_another_spelling_of_a_hub_is_understood(preset, meant):
    with pytest.raises(UserError, match=f" is no directory; did you mean {meant}[?]$"):
        fetch(preset)


def test_an_empty_preset_is_refused(write_params):
    path = write_params({"model.preset": ""})
    with pytest.raises(UserError, match="model.preset: string should have at least 1 character"):
        load_section("model", ModelConfig, path)
