"""An expert on the host that a program may ask: the program calls it back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental.buffer_callback import buffer_callback

from gailfe_jax.artifacts.host_policy import AnyPolicy, HostPolicy
from gailfe_jax.artifacts.oracle import AsksExpert, Oracle
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.parallel.devices import computes_on_cpu
from gailfe_jax.types import Array


@struct.dataclass
class HostOracle:
    """A `HostPolicy` as an argument of a program.

    Its function must not use JAX: an operation of JAX inside a program's call to the host can wait for that very
    program.

    Attributes:
      policy: who is asked.
    """

    policy: HostPolicy = struct.field(pytree_node=False)

    def act(self, obs: Array) -> Array:
        """The action `[..., a]` at `obs [..., o]`; a choice as its row."""
        shape = jax.ShapeDtypeStruct((*obs.shape[:-1], self.policy.action_size), jnp.float32)
        if computes_on_cpu():

            def in_place(_context: Any, out: Any, obs: Any) -> None:
                # A copy: a function may keep its observations, and this memory is XLA's.
                np.asarray(out)[...] = self.policy.act_rows(np.array(np.asarray(obs)))

            return buffer_callback(in_place, shape, vmap_method="broadcast_all")(obs)
        return jax.pure_callback(
            lambda obs: self.policy.act_rows(np.array(obs)), shape, obs, vmap_method="broadcast_all"
        )


def oracle_of(policy: AnyPolicy) -> AsksExpert:
    """What a program asks in a policy's place."""
    return Oracle.of(policy) if isinstance(policy, Policy) else HostOracle(policy)
