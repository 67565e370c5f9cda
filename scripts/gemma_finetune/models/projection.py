"""A frozen projection, by the product that the machine does fastest.

Keras asks XLA for bfloat16 x bfloat16 -> bfloat16. On a CPU that runs at the speed of float32; the
same product with a float32 result, rounded afterwards, runs twice as fast with AVX-512 and three to
four times with AMX.
"""

from functools import partial

import jax
import jax.numpy as jnp
import keras


def project(dense: keras.layers.Layer, x, kernel=None):
    """What `dense` makes of x. A plain EinsumDense must be frozen; an adapter comes back here for
    the base below it.

    With a `kernel`, which must be frozen too, what `dense` would make of x if that were its own.
    """
    fast = (
        isinstance(dense, keras.layers.EinsumDense)
        and x.dtype == jnp.bfloat16
        and jax.default_backend() == "cpu"
    )
    if fast:
        return _product(dense.equation, x, dense.kernel.value if kernel is None else kernel)
    return dense(x) if kernel is None else jnp.einsum(dense.equation, x, kernel)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(equation, x, kernel):
    return jnp.einsum(equation, x, kernel, preferred_element_type=jnp.float32).astype(x.dtype)


def _forward(equation, x, kernel):
    return _product(equation, x, kernel), kernel


def _backward(equation, kernel, gradient):
    """JAX's own would widen the kernel to float32. None: the kernel is frozen."""
    inputs, rest = equation.split(",")
    axes, outputs = rest.split("->")
    return _product(f"{outputs},{axes}->{inputs}", gradient, kernel), None


_product.defvjp(_forward, _backward)
