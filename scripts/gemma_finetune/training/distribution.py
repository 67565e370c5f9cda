"""Training on several devices, of one machine or of several, through keras.distribution: copies of
the model, or one in parts. Each process runs the same script on the same files; the first one
writes.
"""

import hashlib
import os
from pathlib import Path

import jax
import keras
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import read_json


def join_job() -> None:
    """Meets the other processes of a Slurm step, an MPI run or a TPU pod, which JAX recognizes, or
    of the job that KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID state. Without
    a job, this process is all.

    Call before anything asks JAX for its devices.
    """
    try:
        keras.distribution.initialize()
    except ValueError as error:
        if os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):
            raise UserError(
                f"train.distribution: KERAS_DISTRIBUTION_… do not state a whole job: {error}"
            )


def set_distribution(kind: str, base: Path, batch_size: int) -> None:
    """Makes all that is built from now on live on every device. Call before the model is loaded.

    data_parallel: each device holds the model and reads its share of each batch. model_parallel:
    each holds a part of every large matrix and reads the whole batch, for a base too large for one
    device.
    """
    if kind == "none":
        return
    count = jax.device_count()
    if kind == "data_parallel":
        if batch_size % count:
            raise UserError(
                f"train.batch_size: {batch_size} rows cannot be shared equally by {count} devices"
            )
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    else:
        mesh = keras.distribution.DeviceMesh((1, count), ("batch", "model"))
        layouts = gemma_layout_map(mesh, read_json(base / "config.json"))
        distribution = keras.distribution.ModelParallel(
            layout_map=layouts, auto_shard_dataset=False
        )
    keras.distribution.set_distribution(distribution)


def is_first_process() -> bool:
    """Whether this process is the one that writes files and talks."""
    return jax.process_index() == 0


def share_of_batch() -> tuple[int, int]:
    """(n, count): this process feeds the n-th of `count` equal parts of each batch."""
    copies = isinstance(keras.distribution.distribution(), keras.distribution.DataParallel)
    return (jax.process_index(), jax.process_count()) if copies else (0, 1)


def check_same_everywhere(fact: str, what: str) -> None:
    """UserError unless every process of the job calls this with the same `fact`; `what` names it
    for the person.
    """
    digest = np.frombuffer(hashlib.sha256(fact.encode()).digest(), "uint8")
    if jax.process_count() > 1 and not (process_allgather(digest) == digest).all():
        raise UserError(
            f"train.distribution: the processes differ in {what}; run them in one folder that all hosts share"
        )


def gemma_layout_map(
    mesh: keras.distribution.DeviceMesh, config: dict
) -> keras.distribution.LayoutMap:
    """How Gemma 3's matrices are cut along the mesh's "model" axis; keras-hub has none for Gemma 3.

    As Megatron (Shoeybi et al., 2019, arXiv:1909.08053): attention by heads, the feed-forward by
    its inner features, the embedding by its tokens. What doesn't divide by the number of devices
    stays whole: Gemma 3's single key/value head. So do the adapter and its optimizer state, which
    are small.
    """
    cuts = {  # layer of a block: (what must divide, the axes of its kernel)
        "attention/query": (config["num_attention_heads"], ("model", None, None)),
        "attention/key": (config["num_key_value_heads"], ("model", None, None)),
        "attention/value": (config["num_key_value_heads"], ("model", None, None)),
        "attention/attention_output": (config["num_attention_heads"], ("model", None, None)),
        "ffw_gating": (config["intermediate_size"], (None, "model")),
        "ffw_gating_2": (config["intermediate_size"], (None, "model")),
        "ffw_linear": (config["intermediate_size"], ("model", None)),
    }
    cuts = {rf"decoder_block_\d+/{layer}/kernel": cut for layer, cut in cuts.items()}
    cuts["token_embedding/embeddings"] = (config["vocab_size"], ("model", None))
    layouts = keras.distribution.LayoutMap(mesh)
    for path, (size, axes) in cuts.items():
        if size % mesh.shape[1] == 0:
            layouts[path] = axes
    return layouts
