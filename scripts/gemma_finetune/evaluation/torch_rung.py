"""The merged directory as transformers reads it: config, weights, tokenizer and chat template."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

from gemma_finetune.evaluation.dataset import Answer, Tokens, Turn, prompt_ids
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.runtime.threads import thread_count
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import require, sha256
from gemma_finetune.utils.quiet import quiet_torchao

LOCAL = {"local_files_only": True, "trust_remote_code": False}
BATCH, BATCH_TOKENS = 16, 16_384  # answers generated at once, and tokens with their prompts
COST = 1 / 6  # of a token in such a batch, which computes more than it reads; of one alone: 1


def _transformers() -> Any:
    """transformers, which imports torchao when it is first used: both without their notes."""
    quiet_torchao()
    import transformers

    transformers.utils.logging.disable_progress_bar()
    return transformers


def load_torch(directory: str | Path) -> "PreTrainedModel":
    """The model in float32. A small one gets one thread: more would wait for each other."""
    torch.set_num_threads(thread_count(Path(directory) / "model.safetensors"))
    loader = _transformers().AutoModelForCausalLM
    return loader.from_pretrained(directory, dtype=torch.float32, **LOCAL).eval()


@torch.inference_mode()
def torch_logits(model: "PreTrainedModel", sequences: Sequence[Tokens]) -> Iterator[np.ndarray]:
    """Slices (rows, V) float32 of each sequence's logits at its positions."""
    for sequence in sequences:
        ids = torch.from_numpy(sequence.ids).long()[None]  # (1, T)
        hidden = model.model(ids, use_cache=False).last_hidden_state[
            0, sequence.positions
        ]  # (P, D)
        for part in sequence.slices(model.config.vocab_size):
            yield model.lm_head(hidden[part]).numpy()


@torch.inference_mode()
def torch_answers(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    tokenizer: GemmaTokenizer,
) -> Iterator[Answer]:
    """The greedy answer to each prompt of token ids, of at most so many tokens."""
    start = 0
    while start < len(prompts):
        longest = max(map(len, prompts[start : start + BATCH])) + max(limits)
        stop = start + max(1, min(BATCH, BATCH_TOKENS // longest))
        settings = _transformers().GenerationConfig(
            do_sample=False,
            max_new_tokens=max(limits[start:stop]),
            eos_token_id=list(tokenizer.stop_ids),
            pad_token_id=tokenizer.pad,
        )
        ids, mask = _pad_left(prompts[start:stop], tokenizer.pad)
        output = model.generate(  # type: ignore[operator]
            ids, attention_mask=mask, generation_config=settings
        )
        rows = output[:, ids.shape[1] :].tolist()
        for row, limit in zip(rows, limits[start:stop], strict=True):
            yield _answer(row[:limit], tokenizer)
        start = stop


def _pad_left(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (B, T), and a mask (B, T) of what is no padding."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def _answer(ids: list[int], tokenizer: GemmaTokenizer) -> Answer:
    """The answer up to its first stop token."""
    stops = [place for place, token in enumerate(ids) if token in tokenizer.stop_ids]
    if stops:
        return Answer(tokenizer.decode(ids[: stops[0]]), tokens=stops[0] + 1, stopped=True)
    return Answer(tokenizer.decode(ids), tokens=len(ids), stopped=False)


def check_tokenizers(
    base: Path, merged: Path, turns: Sequence[Turn], tokenizer: GemmaTokenizer
) -> None:
    """UserError unless base and merged share a tokenizer, and transformers makes training's ids."""
    if sha256(require(base / "tokenizer.model", "base")) != sha256(merged / "tokenizer.model"):
        raise UserError(
            f"hop merge: {merged}/tokenizer.model is not {base}/tokenizer.model; "
            "run `dvc repro merge`"
        )
    found = torch_prompt_ids(merged, turns)
    for turn, ids in zip(turns, found, strict=True):
        expected = prompt_ids(turn.messages, tokenizer, turn.tools)
        if ids != expected:
            raise UserError(
                f"hop transformers: test row {turn.conversation}: transformers makes other token "
                f"ids of it than training; look for <bos> and line breaks in "
                f"{merged}/chat_template.jinja and tokenizer_config.json\n"
                f"  transformers: {ids}\n  training:     {expected}"
            )


def torch_prompt_ids(directory: str | Path, turns: Sequence[Turn]) -> list[list[int]]:
    """Token ids of the prompt of each turn, by transformers' tokenizer and the chat template."""
    tokenizer = _transformers().AutoTokenizer.from_pretrained(directory, **LOCAL)
    found: list = []
    for turn in turns:
        ids = tokenizer.apply_chat_template(
            list(turn.messages), turn.tools, add_generation_prompt=True, return_dict=False
        )
        found.append(ids)
    return found
