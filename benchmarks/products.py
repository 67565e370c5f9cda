"""The floor of training on a CPU: how fast XLA and torch multiply the matrices of Gemma 3 270M.

Prints GFLOP/s, the best of five, in bfloat16: XLA as `project` and `summed_loss` call it, summed in
float32 and rounded afterwards; torch as PEFT calls it. Each in a process of its own.

    python benchmarks/products.py
"""

import subprocess
import sys
import time

TOKENS, HIDDEN, INNER, VOCABULARY, CHUNK = 2048, 640, 2048, 262144, 256
PRODUCTS = {  # (rows, summed, columns), and the einsum that training asks for
    "gate, up": ((TOKENS, HIDDEN, INNER), "mk,kn->mn"),
    "down": ((TOKENS, INNER, HIDDEN), "mk,kn->mn"),
    "gradient of gate, up": ((TOKENS, INNER, HIDDEN), "mk,nk->mn"),
    "gradient of down": ((TOKENS, HIDDEN, INNER), "mk,nk->mn"),
    "head": ((CHUNK, HIDDEN, VOCABULARY), "mk,nk->mn"),
    "gradient of the head": ((CHUNK, VOCABULARY, HIDDEN), "mk,kn->mn"),
}


def xla(name):
    import jax
    import jax.numpy as jnp

    (rows, summed, columns), equation = PRODUCTS[name]
    second = (columns, summed) if "nk" in equation else (summed, columns)
    keys = jax.random.split(jax.random.key(0))
    a = jax.random.normal(keys[0], (rows, summed), jnp.bfloat16)
    b = jax.random.normal(keys[1], second, jnp.bfloat16)

    @jax.jit
    def product(a, b):
        return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32).astype(a.dtype)

    return lambda: product(a, b).block_until_ready()


def torch(name):
    import torch

    rows, summed, columns = PRODUCTS[name][0]
    # A Linear's weight is (out, in): forward sums over its last axis, the gradient over its first.
    forward = "gradient" not in name
    second = (columns, summed) if forward else (summed, columns)
    a, b = (torch.randn(size, dtype=torch.bfloat16) for size in ((rows, summed), second))
    return lambda: a @ (b.T if forward else b)


def gflops(product, name):
    product()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - start)
    rows, summed, columns = PRODUCTS[name][0]
    return 2 * rows * summed * columns / min(seconds) / 1e9


TOOLS = {"xla": xla, "torch": torch}


def main():
    if len(sys.argv) == 3:
        _, tool, name = sys.argv
        print(f"{gflops(TOOLS[tool](name), name):.0f}")
        return
    print("| | XLA | torch |\n|---|---:|---:|", flush=True)
    for name in PRODUCTS:
        found = [
            subprocess.run(
                [sys.executable, __file__, tool, name], check=True, capture_output=True, text=True
            ).stdout.strip()
            for tool in TOOLS
        ]
        print(f"| {name} | " + " | ".join(found) + " |", flush=True)


if __name__ == "__main__":
    main()
