"""Training on several devices, of one machine or of several, through keras.distribution.

The devices hold copies of the model, or parts of one. Each process runs the same script on the same
files; only the first one writes.
"""

import hashlib
import os
from pathlib import Path

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from gemma_finetune.models.library import keras
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import read_json


def join_job() -> None:
    """Joins the job's other processes, if there is a job. Call before JAX is asked for devices.

    JAX recognizes a Slurm step, an MPI run or a TPU pod. Otherwise a job is described by
    KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and _PROCESS_ID; UserError if only in part.
    """
    try:
        keras.distribution.initialize()
    except ValueError as error:
        if os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):
            raise UserError(
                f"train.distribution: KERAS_DISTRIBUTION_... do not describe a whole job: {error}"
            )


def refuse_job() -> None:
    """UserError if a job is described: each of its processes would train and write on its own."""
    described = sorted(name for name in os.environ if name.startswith("KERAS_DISTRIBUTION_"))
    if described:
        raise UserError(
            f"{', '.join(described)}: set, but train.distribution is none, so each process would "
            "train alone. Set train.distribution to data_parallel or model_parallel, or unset "
            "these variables"
        )


def set_distribution(kind: str, base: Path, batch_size: int) -> None:
    """Spreads all that is built from now on over the devices. Call before the model is loaded.

    data_parallel: each device holds the model and reads its share of each batch. model_parallel:
    each device holds a part of every large matrix and reads the whole batch, for a base too large
    for one device. UserError if a batch cannot be shared equally.
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
    """Whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def share_of_batch() -> tuple[int, int]:
    """(n, count): this process feeds the n-th of `count` equal parts of each batch."""
    copies = isinstance(keras.distribution.distribution(), keras.distribution.DataParallel)
    return (jax.process_index(), jax.process_count()) if copies else (0, 1)


def check_same_everywhere(fact: str, what: str) -> None:
    """UserError unless every process calls this with the same `fact`; `what` describes it."""
    digest = np.frombuffer(hashlib.sha256(fact.encode()).digest(), "uint8")
    if jax.process_count() > 1 and not (process_allgather(digest) == digest).all():
        raise UserError(
            f"train.distribution: the processes differ in {what}; "
            "run them in one folder that all hosts share"
        )


def gemma_layout_map(
    mesh: keras.distribution.DeviceMesh, config: dict
) -> keras.distribution.LayoutMap:
    """How Gemma 3's matrices are cut along the mesh's "model" axis; keras-hub has no such map.

    As in Megatron (Shoeybi et al., 2019, arXiv:1909.08053): attention by heads, the feed-forward by
    its inner features, the embedding by its tokens. A matrix whose dimension the number of devices
    does not divide stays whole: Gemma 3's single key/value head. So do the adapter and its
    optimizer state, which are small. `config` is the base's config.json.
    """
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    features = config["intermediate_size"]
    cuts = {  # layer of a block: (the dimension that is cut, the axes of its kernel)
        "attention/query": (heads, ("model", None, None)),
        "attention/key": (kv_heads, ("model", None, None)),
        "attention/value": (kv_heads, ("model", None, None)),
        "attention/attention_output": (heads, ("model", None, None)),
        "ffw_gating": (features, (None, "model")),
        "ffw_gating_2": (features, (None, "model")),
        "ffw_linear": (features, ("model", None)),
    }
    by_path = {rf"decoder_block_\d+/{layer}/kernel": cut for layer, cut in cuts.items()}
    by_path["token_embedding/embeddings"] = (config["vocab_size"], ("model", None))

    layouts = keras.distribution.LayoutMap(mesh)
    for path, (size, axes) in by_path.items():
        if size % mesh.shape[1] == 0:
            layouts[path] = axes
    return layouts
