import dataclasses
import datetime
import hashlib
import os
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import litert_lm
import pytest
from litert_lm_builder import litertlm_builder
from sentencepiece import sentencepiece_model_pb2

from gemma_finetune.export import bundle
from gemma_finetune.export.bundle import (
    check_contents,
    create_litertlm,
    create_mediapipe_task,
    expected_contents,
    fix_zip_dates,
)
from gemma_finetune.formats.bundle_file import BundleFile
from gemma_finetune.formats.chat_template import render_prompt
from gemma_finetune.utils.errors import UserError
from imports import SCRIPTS

pytestmark = pytest.mark.slow

CREATE = {"task": create_mediapipe_task, "litertlm": create_litertlm}


@pytest.mark.parametrize("kind", CREATE)
def test_the_same_bytes_when_made_again(bundles, parts, tmp_path, kind):
    os.utime(parts.tokenizer, (time.time() - 9e6,) * 2)
    CREATE[kind](parts, tmp_path / f"again.{kind}")
    assert (tmp_path / f"again.{kind}").read_bytes() == bundles[kind].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [f"again.{kind}"]


def test_a_bundle_is_made_without_libraries_that_it_does_not_need(parts, bundles, tmp_path):
    """mediapipe's bundler imports all three, and needs none."""
    code = f"""
import sys
from pathlib import PosixPath
from gemma_finetune.export.bundle import Parts, create_mediapipe_task
parts = {parts!r}
create_mediapipe_task(parts, {str(tmp_path / "made.task")!r})
assert not {{"tensorflow", "torch", "jax"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=True, timeout=120)
    assert (tmp_path / "made.task").read_bytes() == bundles["task"].read_bytes()


@pytest.mark.parametrize("year", [1980, 2040, 2107])
def test_a_task_has_the_same_bytes_whatever_the_clock_says(
    bundles, parts, tmp_path, monkeypatch, year
):
    now = time.struct_time((year, 12, 31, 23, 59, 58, 3, 1, 0))
    monkeypatch.setattr(time, "localtime", lambda *_: now)
    create_mediapipe_task(parts, tmp_path / "bundle.task")
    assert (tmp_path / "bundle.task").read_bytes() == bundles["task"].read_bytes()


def set_clock(monkeypatch, *times):
    """Makes LiteRT-LM's builder see one of `times` a build, and the last of them from then on."""
    left = list(times)

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return left.pop(0) if len(left) > 1 else left[0]

    fake = SimpleNamespace(datetime=Clock, timezone=datetime.timezone)
    monkeypatch.setattr(litertlm_builder, "datetime", fake)


WHOLE_SECOND = datetime.datetime(2026, 11, 25, 10, 0, 0, 0, datetime.UTC)  # written without .000000


@pytest.mark.parametrize(
    "times",
    [
        [datetime.datetime(1970, 1, 1, 0, 0, 0, 1, datetime.UTC)],
        [datetime.datetime(2110, 12, 31, 23, 59, 59, 999_999, datetime.UTC)],
        [WHOLE_SECOND, WHOLE_SECOND.replace(microsecond=1)],
    ],
)
def test_a_litertlm_has_the_same_bytes_whatever_the_clock_says(
    bundles, parts, tmp_path, monkeypatch, times
):
    set_clock(monkeypatch, *times)
    create_litertlm(parts, tmp_path / "bundle.litertlm")
    assert (tmp_path / "bundle.litertlm").read_bytes() == bundles["litertlm"].read_bytes()


def test_a_litertlm_whose_header_has_another_form_is_not_left(parts, tmp_path, monkeypatch):
    set_clock(monkeypatch, WHOLE_SECOND)
    with pytest.raises(RuntimeError, match="no uuid and time as litert-lm-builder writes them"):
        create_litertlm(parts, tmp_path / "bundle.litertlm")
    assert list(tmp_path.iterdir()) == []


def test_a_given_digest_is_compared_with_the_file_that_was_written(parts, tmp_path):
    contents = dataclasses.replace(expected_contents(parts), model_sha256="0" * 64)
    for kind, create in CREATE.items():
        with pytest.raises(UserError, match="model_sha256: put in"):
            create(parts, tmp_path / f"bundle.{kind}", contents)
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_a_zip_changes_but_its_dates(tmp_path):
    """Also with extra fields, comments, and bytes between the entries."""
    contents = {}
    for name, year in (("a.zip", 1999), ("b.zip", 2033)):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for number in range(3):
                entry = zipfile.ZipInfo(f"{number}" * 5, date_time=(year, 5, 6, 7, 8, 10))
                entry.extra, entry.comment = b"ab\x02\x00xy", b"a comment" * number
                archive.writestr(entry, b"PK\x01\x02" * number)
                archive.fp.write(b"padding")
                archive.start_dir = archive.fp.tell()
        before = (tmp_path / name).read_bytes()
        fix_zip_dates(tmp_path / name)
        contents[name] = (tmp_path / name).read_bytes()
        assert len(contents[name]) == len(before)
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert archive.testzip() is None
            dates = {entry.date_time for entry in archive.infolist()}
        assert dates == {(1980, 1, 1, 0, 0, 0)}
    assert contents["a.zip"] == contents["b.zip"]


@pytest.mark.parametrize("kind", CREATE)
def test_given_contents_are_not_computed_again(bundles, parts, tmp_path, monkeypatch, kind):
    """Hashing a model of gigabytes takes seconds."""
    contents = expected_contents(parts)
    monkeypatch.setattr(bundle, "sha256", None)
    CREATE[kind](parts, tmp_path / f"bundle.{kind}", contents)
    assert (tmp_path / f"bundle.{kind}").read_bytes() == bundles[kind].read_bytes()


@pytest.mark.parametrize("kind", CREATE)
def test_a_changed_byte_of_the_model_inside_is_found(bundles, parts, tmp_path, kind):
    content, model = bytearray(bundles[kind].read_bytes()), parts.tflite.read_bytes()
    content[content.index(model) + len(model) // 2] ^= 1
    path = tmp_path / f"bundle.{kind}"
    path.write_bytes(content)
    found = BundleFile(path).contents()
    expected = BundleFile(bundles[kind]).contents()
    with pytest.raises(UserError, match="model_sha256: put in"):
        check_contents(path, expected, found)


def test_a_task_s_model_stays_aligned_and_uncompressed(bundles, parts):
    with zipfile.ZipFile(bundles["task"]) as archive:
        assert archive.testzip() is None
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert bundles["task"].read_bytes().index(parts.tflite.read_bytes()) % 4 == 0


@pytest.mark.parametrize("kind", CREATE)
def test_litert_lm_answers_turn_after_turn(bundles, tokenizer, kind):
    """The runtime's prompts are training's, and it reads one <bos>, once."""
    history = []
    with litert_lm.Engine(
        str(bundles[kind]),
        litert_lm.Backend.CPU(thread_count=1),
        cache_dir=":nocache",
        enable_benchmark=True,
    ) as engine:
        assert engine.bos_token_id == tokenizer.bos
        assert engine.eos_token_ids == [[token_id] for token_id in tokenizer.stop_ids]
        with engine.create_conversation(max_output_tokens=3) as chat:
            for text in ("Hi", "on", "off"):
                history.append({"role": "user", "content": text})
                prompt = chat.render_message_to_string(text)
                assert render_prompt(history).endswith(prompt)
                answer = "".join(part["text"] for part in chat.send_message(text)["content"])
                counts = chat.get_benchmark_info()
                start_tokens = 1 if len(history) == 1 else 0
                read = start_tokens + len(tokenizer.encode(prompt))
                assert counts.last_prefill_token_count == read
                assert counts.last_decode_token_count == 3
                history.append({"role": "assistant", "content": answer.strip()})
    assert [path.name for path in bundles[kind].parent.iterdir() if "cache" in path.name] == []


def test_litertlm_puts_a_system_text_into_the_first_turn(bundles):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    with litert_lm.Engine(
        str(bundles["litertlm"]), litert_lm.Backend.CPU(), cache_dir=":nocache"
    ) as engine:
        with engine.create_conversation(messages=messages[:1]) as chat:
            assert chat.render_message_to_string("Hi") == render_prompt(messages)


def test_refuses_the_tokenizer_of_another_model(parts, tmp_path):
    model = sentencepiece_model_pb2.ModelProto.FromString(parts.tokenizer.read_bytes())
    del model.pieces[-1]
    other = tmp_path / "tokenizer.model"
    other.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="tokenizer is another model's"):
        expected_contents(dataclasses.replace(parts, tokenizer=other))


@pytest.mark.parametrize("start", ["{{ bos_token }}", "<bos>"])
def test_refuses_a_template_with_a_start_token(parts, start):
    with pytest.raises(UserError, match="holds <bos>"):
        expected_contents(dataclasses.replace(parts, chat_template=start + parts.chat_template))


@pytest.mark.parametrize(
    "field, value",
    [
        ("model_sha256", "0" * 64),
        ("tokenizer_sha256", "0" * 64),
        ("start_token", "<nope>"),
        ("stop_tokens", ("<eos>",)),
        ("affixes", {"user": ("<start_of_turn>user", "<end_of_turn>\n"), "model": ("", "")}),
        ("chat_template", "{{ messages }}"),
        ("context_length", 128),
        ("model_type", "gemma3"),
        ("activation_type", ""),
    ],
)
def test_names_what_a_bundle_does_not_hold(bundles, parts, field, value):
    found = dataclasses.replace(BundleFile(bundles["litertlm"]).contents(), **{field: value})
    with pytest.raises(UserError, match=f"(?s)int8.litertlm.*{field}: put in"):
        check_contents(bundles["litertlm"], expected_contents(parts), found)


@pytest.mark.parametrize("kind", CREATE)
def test_a_bundle_that_came_out_wrong_is_not_left(parts, tmp_path, monkeypatch, kind):
    right = BundleFile.contents
    monkeypatch.setattr(
        BundleFile, "contents", lambda self: dataclasses.replace(right(self), start_token="<pad>")
    )
    with pytest.raises(UserError, match="start_token"):
        CREATE[kind](parts, tmp_path / f"int8.{kind}")
    assert list(tmp_path.iterdir()) == []


def test_the_model_type_is_gemma3_for_gemma_s_own_vocabulary_alone(tokenizer, monkeypatch):
    assert bundle.model_type(tokenizer) == "generic_model"
    vocabulary = "\0".join(tokenizer.pieces()).encode()
    monkeypatch.setattr(bundle, "GEMMA_3_VOCABULARY", hashlib.sha256(vocabulary).hexdigest())
    assert bundle.model_type(tokenizer) == "gemma3"


def test_the_licence_notice_is_in_both_bundles_and_litert_lm_runs_them(parts, bundles, tmp_path):
    notice = "Gemma is provided under ..."
    paths = {kind: tmp_path / f"int8.{kind}" for kind in CREATE}
    for kind, create in CREATE.items():
        create(dataclasses.replace(parts, notice=notice), paths[kind])
        with litert_lm.Engine(
            str(paths[kind]), litert_lm.Backend.CPU(thread_count=1), cache_dir=":nocache"
        ) as engine:
            assert engine.bos_token_id == 2
    assert notice.encode() in paths["litertlm"].read_bytes()[:16384]
    with zipfile.ZipFile(paths["task"]) as archive, zipfile.ZipFile(bundles["task"]) as without:
        assert archive.testzip() is None
        assert archive.read("NOTICE").decode() == notice
        assert archive.namelist() == [*without.namelist(), "NOTICE"]
        model = next(entry for entry in archive.infolist() if "PREFILL" in entry.filename)
        assert model.header_offset == without.getinfo(model.filename).header_offset
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
