"""200 turns of one chat on each CPU backend: memory stays flat. The context overflows many times on
the way.
"""

import json
import sys

import pytest

from faults import dag

TURNS, WARM, GROWTH = 200, 60, 20  # GROWTH: MB of resident memory that the turns after WARM may add

CHAT = """
import json, sys
from pathlib import Path
sys.path.insert(0, "scripts")
from gemma_finetune.config import load_section
from gemma_finetune.inference.backend import open_backend
from gemma_finetune.inference.chat import ChatSession
from gemma_finetune.inference.config import GenerateConfig

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

config = load_section("generate", GenerateConfig)
memory, dropped = [], 0
with open_backend(sys.argv[1], None, config) as backend:
    session = ChatSession(backend, config.sampler(), 32, "Be brief.")
    for turn in range(int(sys.argv[2])):
        list(session.ask(f"Turn on light {turn} in the kitchen, please. " * (1 + turn % 3)))
        memory.append(resident())
        dropped += session.dropped > 0
print(json.dumps({"memory": memory, "dropped": dropped}))
"""


@pytest.mark.parametrize("backend", ["bundle", "tflite", "keras"])
def test_memory_stays_flat_over_a_long_chat(reference, tmp_path, observed, backend):
    clone = dag.fork(reference, tmp_path / "clone", None)
    said = dag.run(clone, [sys.executable, "-c", CHAT, backend, str(TURNS)])
    assert said.returncode == 0, said.stdout[-3000:]
    found = json.loads(said.stdout.splitlines()[-1])
    memory = found["memory"]
    growth = max(memory[-20:]) - max(memory[WARM - 20 : WARM])
    places = {"the first turn": memory[0], f"{WARM}": memory[WARM], f"{TURNS}": memory[-1]}
    where = ", ".join(f"{size:.0f} MB after {turn}" for turn, size in places.items())
    observed(
        "soak",
        backend,
        f"{TURNS} turns",
        f"{where}; the context overflowed {found['dropped']} times",
    )
    assert found["dropped"] > 10 and growth < GROWTH
