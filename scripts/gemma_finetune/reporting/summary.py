"""metrics/summary.json: the few figures by which people compare two runs."""

from collections.abc import Sequence


def summarize(
    train: dict, rungs: dict[str, dict], quantizations: Sequence[str], verdict: str
) -> dict:
    """At most a dozen figures of a run, from train.json, evaluate.json and the gate's verdict.

    Exact match of a quantization is what LiteRT-LM answers from its `.task`. KL is in nats a token,
    against the merged model. MB is the `.task`'s size. `val_loss` is absent if no row validates.
    """
    exact_match = {"base": rungs["base"]["exact_match"], "lora": rungs["lora"]["exact_match"]}
    kl, size = {}, {}
    for name in quantizations:
        exact_match[name] = rungs[f"task_{name}"]["exact_match"]
        kl[name] = rungs[f"tflite_{name}"]["kl"]
        size[name] = round(rungs[f"task_{name}"]["bytes"] / 1e6, 2)

    summary = {"gate": verdict, "exact_match": exact_match, "kl": kl, "mb": size}
    if "val_loss" in train:
        summary["val_loss"] = train["val_loss"]
    return summary
