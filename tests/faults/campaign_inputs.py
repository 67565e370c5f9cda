"""What a stage reads is damaged: under `dvc repro`, and under the stage's own command, where DVC
does not look.
"""

import random

import pytest

from faults import dag

READERS = [
    stage for stage in dag.STAGES if stage not in ("validate", "base")
]  # these read nothing that a stage made
DAMAGES = ("cut short", "a bit flipped", "empty", "of another run", "missing")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stage", READERS)
def test_dvc_makes_good_what_was_damaged(reference, tmp_path, observed, stage, damage):
    """Every file that the stage reads and another stage made is damaged; all outputs end as they
    were.
    """
    clone = dag.fork(reference, tmp_path / "clone", None)
    files = inputs(reference, clone, stage)
    for file in files:
        harm(file, reference / file.relative_to(clone), damage, stage)
    said = dag.repro(clone)
    assert said.returncode == 0, said.stdout
    wrong = [out for name in dag.STAGES for out in dag.differing(reference, clone, name)]
    assert wrong == []
    assert dag.lock(clone) == dag.lock(reference)
    observed("input", stage, damage, f"{len(files)} files: all outputs the same bytes again")


@pytest.mark.parametrize("stage", READERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_stage_by_hand_refuses_what_is_damaged(reference, tmp_path, observed, stage, damage):
    """One file, drawn. A flipped bit in a weight or a text is another value: only digests tell, and
    DVC has them.
    """
    clone = dag.fork(reference, tmp_path / "clone", stage)
    file = random.Random(f"{stage} {damage}").choice(inputs(reference, clone, stage))
    harm(file, reference / file.relative_to(clone), damage, stage)
    said = dag.run(clone, dag.command(reference, stage))
    right = "the right file" if not dag.differing(reference, clone, stage) else "OTHER OUTPUT"
    observed(
        *("input, by hand", stage, f"{file.relative_to(clone)} {damage}"),
        dag.last_words(said.stdout) if said.returncode else right,
    )
    assert "Traceback" not in said.stdout, said.stdout[-3000:]
    assert not said.returncode or dag.half_made(reference, clone, stage) in (
        [],
        ["metrics/check.json"],
    )
    assert dag.left_behind(clone) == []


def inputs(reference, clone, stage):
    files = [file for dep in dag.deps(reference, stage) for file in dag.files(clone / dep)]
    return [file for file in files if file.stat().st_size]


def harm(path, sound, damage, stage):
    """Damages a file; `sound` is the same one of the reference."""
    content = sound.read_bytes()
    draw = random.Random(f"{stage} {path.name} {damage}")
    if damage == "missing":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut short":
        path.write_bytes(content[: int(len(content) * draw.uniform(0.1, 0.9))])
    elif damage == "a bit flipped":
        place = draw.randrange(len(content))
        path.write_bytes(
            content[:place]
            + bytes([content[place] ^ 1 << draw.randrange(8)])
            + content[place + 1 :]
        )
    else:
        path.write_bytes(other(sound))


def other(path):
    """What another run would have left under this name: sound, and not this run's."""
    content = path.read_bytes()
    if path.suffix in (".jsonl", ".csv"):
        lines = content.splitlines(keepends=True)
        return b"".join(lines[: max(len(lines) // 2, 2)])
    if path.suffix == ".tflite":
        return path.with_stem("int4" if path.stem != "int4" else "int8").read_bytes()
    return content[:-4] + bytes(4)
