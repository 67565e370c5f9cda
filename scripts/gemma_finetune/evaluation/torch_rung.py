"""The merged directory as transformers reads it: config, weights, tokenizer and chat template."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from gemma_finetune.evaluation.dataset import Tokens, Turn

LOCAL = {"local_files_only": True, "trust_remote_code": False}


def torch_logits(directory: str | Path, sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
    """For each sequence its logits (P, V) float32 at its positions."""
    disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, **LOCAL).eval()
    for sequence in sequences:
        ids = torch.from_numpy(sequence.ids).long()[None]  # (1, T)
        positions = torch.from_numpy(sequence.positions).long()
        with torch.inference_mode():
            output = model(ids, logits_to_keep=positions, use_cache=False)
        yield output.logits[0].numpy()


def torch_prompt_ids(directory: str | Path, turns: Sequence[Turn]) -> list[list[int]]:
    """Token ids of the prompt of each turn, by transformers' tokenizer and the chat template."""
    tokenizer = AutoTokenizer.from_pretrained(directory, **LOCAL)
    found: list = []
    for turn in turns:
        ids = tokenizer.apply_chat_template(
            list(turn.messages), turn.tools, add_generation_prompt=True, return_dict=False
        )
        found.append(ids)
    return found
