"""metrics/summary.json: the few figures by which people compare two runs."""

from collections.abc import Sequence


def summarize(
    train: dict, rungs: dict[str, dict], quantizations: Sequence[str], verdict: str
) -> dict:
    """At most a dozen figures of a run, from train.json, evaluate.json and the gate's verdict.

    The score has the name of its figure: exact_match, or another that fits evaluate.task. That of a
    quantization is what LiteRT-LM answers from its `.task`; that of the tuned model stands under
    `lora` if logits give it, else under `merged`, which generates answers. KL is in nats a token,
    against the merged model. MB is the `.task`'s size. `val_loss` is absent if no row validates.
    """
    name = rungs["test_set"]["score"]
    tuned = "lora" if name in rungs["lora"] else "merged"
    score = {"base": rungs["base"][name], tuned: rungs[tuned][name]}
    kl, size = {}, {}
    for quantization in quantizations:
        score[quantization] = rungs[f"task_{quantization}"][name]
        kl[quantization] = rungs[f"tflite_{quantization}"]["kl"]
        size[quantization] = round(rungs[f"task_{quantization}"]["bytes"] / 1e6, 2)

    summary = {"gate": verdict, name: score, "kl": kl, "mb": size}
    if "val_loss" in train:
        summary["val_loss"] = train["val_loss"]
    return summary
