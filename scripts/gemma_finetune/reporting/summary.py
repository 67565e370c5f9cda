"""metrics/summary.json: the few figures by which people compare two runs."""

from collections.abc import Sequence


def summarize(
    train: dict, rungs: dict[str, dict], quantizations: Sequence[str], verdict: str
) -> dict:
    """The figures of a run: train.json, evaluate.json and the gate's verdict, in at most a dozen
    numbers.

    Exact match of a quantization is its `.task`'s, answered by LiteRT-LM; KL is in nats a token; MB
    is the `.task`'s.
    """
    exact_match = {"base": rungs["base"]["exact_match"], "lora": rungs["lora"]["exact_match"]}
    kl, size = {}, {}
    for name in quantizations:
        exact_match[name] = rungs[f"task_{name}"]["exact_match"]
        kl[name] = rungs[f"tflite_{name}"]["kl"]
        size[name] = round(rungs[f"task_{name}"]["bytes"] / 1e6, 2)
    summary = {"exact_match": exact_match, "kl": kl, "mb": size, "gate": verdict}
    if "val_loss" in train:  # absent where no row validates
        summary["val_loss"] = train["val_loss"]
    return summary
