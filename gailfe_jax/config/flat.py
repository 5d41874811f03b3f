"""Configuration: `Config` is static (it shapes the program), `Hyper` is traced (so it can be swept by `vmap`)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax.numpy as jnp
from flax import struct

from gailfe_jax.errors import GailfeError

GeneratorName = Literal["trpo", "ppo", "backprop", "likelihood"]
CONFIG_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Config:
    """Static settings: a change of any of them means another compiled program.

    The defaults are for imitation by TRPO in iterations of 1024 steps (Zhu et al. 2020); `gailfe_jax.preset` gives
    those for the other methods and what differs between tasks.
    """

    env: str = "hopper"
    """Task: hopper, halfcheetah, walker2d, a Gymnasium id of theirs, or brax:<name>; delayed20:<task> pays its rewards
    every 20 steps."""
    engine: str = "auto"
    """Physics engine: auto, mujoco_c, mjx or warp."""
    mjx_solver: Literal["newton", "cg"] | None = None
    """MJX and warp: constraint solver, none for the model file's own, as for all settings of the simulator here; what
    each costs in fidelity is in docs/performance.md. mujoco_c, bit for bit Gymnasium's, takes none of them."""
    mjx_iterations: int | None = None
    """MJX and warp: most iterations of the constraint solver."""
    mjx_ls_iterations: int | None = None
    """MJX and warp: most line-search steps per solver iteration."""
    mjx_tolerance: float | None = None
    """MJX and warp: improvement below which the solver stops."""
    mjx_integrator: Literal["euler", "implicitfast", "rk4"] | None = None
    """MJX and warp: integrator; rk4 evaluates the simulator four times a step, the others once."""
    mjx_euler_damping: bool | None = None
    """MJX and warp: whether the Euler integrator treats joint damping implicitly, which solves one more system."""
    warp_nconmax: int | None = None
    """Warp: contacts per environment; none for twice what the model can have."""
    warp_njmax: int | None = None
    """Warp: constraint rows per environment; none for twice what the model can have."""
    algo: str = "gail"
    """Method; `gailfe algorithms` lists them."""
    num_envs: int = 8
    """Environments per seed."""
    unroll_length: int = 128
    """Steps of each environment per iteration; num_envs * unroll_length is the iteration's batch."""
    hidden: tuple[int, ...] = (100, 100)
    """Hidden layers of the policy and of the value network."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of all networks."""
    obs_normaliser: Literal["demonstrations", "running"] = "demonstrations"
    """Imitation: standardise observations by the demonstrations' statistics, or by running ones of the policy's own;
    every move of running statistics moves the policy too, unseen by its trust region. The true reward: running."""
    init_log_std: float = -0.5
    """Initial log standard deviation of the Gaussian policy, or of each of its components."""
    mixture: int = 1
    """Components of the policy's Gaussian mixture; 1 is a plain Gaussian."""

    bc_steps: int = 0
    """Start imitation from behavioural cloning: maximum-likelihood steps on the demonstrations."""
    bc_minibatch: int = 256
    """Pairs per step of maximum likelihood, there and in bc, dagger, SMILe and Forward Training."""
    bc_validation: float = 0.2
    """BC: share of the demonstrated trajectories (of the pairs, where there is one trajectory) that is held out; the
    snapshot that explains them best is kept. 0 holds nothing out and keeps the last one."""
    fit_steps: int = 200
    """DAgger: steps of maximum likelihood per iteration. SMILe, Forward Training: for each of their policies."""
    aggregate_capacity: int = 200_000
    """DAgger: labelled observations held; beyond them the oldest make room."""
    warmup_iterations: int = 0
    """Iterations at the start that fit the discriminator and the values and leave the policy as it is: after cloning,
    the first steps on an untrained discriminator and value network would undo much of it."""

    bc_auxiliary: bool = False
    """Add the demonstrations' log-likelihood, weighted by hyper.bc_weight, to what the policy maximises."""

    generator: GeneratorName = "trpo"
    """How the policy steps: trpo, ppo, or backprop (MAIL: through a learned model); likelihood is for bc and dagger."""
    normalise_reward: bool = True
    """Divide environment rewards by the running standard deviation of their discounted sum (PPO and TRPO alone)."""
    cg_iterations: int = 10
    """TRPO: conjugate-gradient iterations."""
    line_search_steps: int = 10
    """TRPO: most halvings of the step."""
    policy_average: float = 0.0
    """Evaluate and save an exponential average of the policy's parameters with this decay per iteration: single steps
    can make a deterministic gait stumble. 0 takes the newest parameters; the policy that acts is always the newest."""
    fisher_fraction: float = 0.5
    """TRPO: share of the batch on which Fisher products are taken; the line search's KL is over the whole batch."""
    value_epochs: int = 5
    """TRPO: passes over the batch when the value network is fitted."""
    value_minibatch: int = 256
    """TRPO: minibatch of the value fit."""
    ppo_epochs: int = 10
    """PPO: passes over the batch."""
    ppo_minibatches: int = 8
    """PPO: minibatches per pass."""
    anneal: bool = False
    """Decay the step sizes (policy_lr, value_lr, max_kl, disc_lr, irlf_lr, model_lr, bc_lr) linearly to zero over the
    run."""

    warm_restarts: int = 0
    """Cycles in each of which disc_lr and model_lr decay from their value to zero along a half cosine (SGDR,
    Loshchilov & Hutter 2016); 0 keeps them constant."""

    sil_updates: int = 0
    """Self-imitation (Oh et al. 2018): updates per iteration on past steps that did better than thought; 10 there."""
    sil_minibatch: int = 512
    """Self-imitation: steps per update."""
    sil_capacity: int = 50
    """Self-imitation: past episodes held."""

    horizon: int = 16
    """MAIL: steps a gradient is carried back through the model; divides unroll_length."""
    terminal_value: bool = True
    """MAIL: add a learned value where a window ends, without which a short horizon is greedy."""
    model_rollouts: Literal["real", "model"] = "real"
    """MAIL: differentiate along real steps, or roll out in the model from real states."""
    model_step: Literal["trust_region", "adam"] = "trust_region"
    """MAIL: natural-gradient steps within max_kl, or Adam steps at policy_lr with the gradient clipped."""
    policy_steps: int = 3
    """MAIL: policy steps per iteration (the discriminator and the model are fitted once)."""
    model: Literal["mlp", "gated"] = "mlp"
    """MAIL: the forward model's network, a ReLU MLP or one whose action gates the state."""
    model_hidden: tuple[int, ...] = (200, 200)
    """MAIL: hidden layers of the forward model."""
    model_ensemble: int = 1
    """MAIL: forward models; their disagreement measures how far one is from the data."""
    model_capacity: int = 100_000
    """MAIL: past moves the forward model learns from."""
    model_fit_steps: int = 40
    """MAIL: Adam steps on the forward model per iteration."""
    model_minibatch: int = 256
    """MAIL: moves per such step."""

    disc_reward: Literal["-log_d", "1-d", "log_1-d", "logit"] = "-log_d"
    """What the policy maximises: -log D, or 1 - D (MAIL's sum of D, up to a constant that keeps it positive), which pay
    for staying alive; log(1 - D), always negative, which pays for ending the episode; or the logit log(1 - D) - log D
    (AIRL), of either sign and the least bias."""
    disc_hidden: tuple[int, ...] = (100, 100)
    """Hidden layers of the discriminator."""
    disc_steps: int = 20
    """Discriminator gradient steps per iteration."""
    disc_minibatch: int = 128
    """Most pairs of each kind (policy, expert, failure) per discriminator step."""
    disc_replay: int = 0
    """Policy pairs kept for the discriminator beside the fresh batch; 0 trains it on the fresh batch only."""
    gradient_penalty: bool = True
    """Add a gradient penalty (weight: hyper.gradient_penalty_weight) to the discriminator's loss."""

    features: str = "quadratic"
    """FEM, GTAL, IRLF: features of x, the standardised observation and action: linear [x, 1], quadratic
    [x, (0.01 x)^2, 1], moments [x, x^2, 1], or a name given to gailfe_jax.register_features."""

    linear_offset: Literal["policy", "positive", "negative", "none"] = "policy"
    """FEM, GTAL, IRLF: what the reward w . phi is counted from: policy, its mean over the batch; positive, its least
    value so far, which pays for staying alive; negative, its greatest, which pays for ending the episode; none, zero,
    by which falling pays while the policy is unlike the expert."""

    failure_capacity: int = 1500
    """GAILFE, IRLF: failed trajectories kept (N)."""
    failure_last_steps: int = 0
    """GAILFE, IRLF: use only the last h steps of each failure; 0 uses whole trajectories."""
    positives: Literal["demonstrations", "own", "both"] = "demonstrations"
    """What the discriminator takes for good: demonstrations, the agent's own good episodes, or half of each."""
    own_episodes: str = "best"
    """Which own episodes are good: best (the own_capacity highest returns), or the last own_capacity successes:
    survived, return_above:F (F of the expert's return)."""
    own_capacity: int = 10
    """Own episodes held."""
    env_reward: bool = False
    """Maximise the environment's reward as well (GASIL): r_env + alpha times the discriminator's reward."""
    alpha_decay: bool = False
    """Decay alpha (hyper.alpha) linearly to zero over the run."""
    failure_source: Literal["both", "own", "collected"] = "both"
    """GAILFE, IRLF: failures from the demonstration file, the agent's own, or both."""
    annotator: str = "default"
    """GAILFE, IRLF: what counts as failed: terminated, return_below:F, flipped, bottom_quantile:Q, or the task's
    default."""
    multiplier: Literal["dual", "fixed"] = "dual"
    """GAILFE: lambda_F adapted as a dual variable, or held at hyper.failure_weight."""

    @property
    def engine_options(self) -> dict[str, Any]:
        """What goes to the physics engine: its settings that are not the model's own."""
        named = ((field.name, field.name.partition("_")) for field in dataclasses.fields(self))
        options = {option: getattr(self, name) for name, (part, _, option) in named if part in ("mjx", "warp")}
        return {option: value for option, value in options.items() if value is not None}

    @property
    def batch_size(self) -> int:
        """Environment steps per iteration and seed."""
        return self.num_envs * self.unroll_length

    def __post_init__(self) -> None:
        positive = (
            "mixture",
            *("num_envs", "unroll_length", "cg_iterations", "line_search_steps", "value_epochs", "value_minibatch"),
            *("bc_minibatch", "ppo_epochs", "ppo_minibatches", "disc_steps", "disc_minibatch", "failure_capacity"),
            *("own_capacity", "sil_minibatch", "sil_capacity", "fit_steps", "aggregate_capacity"),
            *("horizon", "policy_steps", "model_ensemble", "model_capacity", "model_fit_steps", "model_minibatch"),
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise GailfeError(f"{name}: got {getattr(self, name)}; expected at least 1")
        for name in (
            "bc_steps",
            "warmup_iterations",
            "disc_replay",
            "failure_last_steps",
            "warm_restarts",
            "sil_updates",
        ):
            if getattr(self, name) < 0:
                raise GailfeError(f"{name}: got {getattr(self, name)}; expected 0 or more")
        for name in ("mjx_iterations", "mjx_ls_iterations", "warp_nconmax", "warp_njmax"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise GailfeError(f"{name}: got {getattr(self, name)}; expected at least 1, or none")
        if self.mjx_tolerance is not None and not 0 <= self.mjx_tolerance < math.inf:
            raise GailfeError(f"mjx_tolerance: got {self.mjx_tolerance}; expected 0 or more, or none")
        for name in ("hidden", "disc_hidden", "model_hidden"):
            if any(not isinstance(size, int) or size < 1 for size in getattr(self, name)):
                raise GailfeError(f"{name}: got {getattr(self, name)}; expected layer sizes of at least 1")
        if not math.isfinite(self.init_log_std):
            raise GailfeError(f"init_log_std: got {self.init_log_std}; expected a finite number")
        if not 0 <= self.policy_average < 1:
            raise GailfeError(f"policy_average: got {self.policy_average}; expected a decay in [0, 1)")
        if not 0 <= self.bc_validation < 1:
            raise GailfeError(f"bc_validation: got {self.bc_validation}; expected a share in [0, 1)")
        if not 0 < self.fisher_fraction <= 1:
            raise GailfeError(f"fisher_fraction: got {self.fisher_fraction}; expected a share in (0, 1]")
        if self.anneal and self.warm_restarts:
            raise GailfeError("warm_restarts: got cycles beside anneal; expected one schedule of the two")
        if self.generator == "backprop":
            if self.unroll_length % self.horizon:
                raise GailfeError(
                    f"horizon: got {self.horizon}; expected a divisor of unroll_length = {self.unroll_length}"
                )
            if not self.model_hidden:
                raise GailfeError("model_hidden: got no layers; expected at least one")
        if self.generator == "ppo" and self.ppo_minibatches > self.batch_size:
            raise GailfeError(
                f"ppo_minibatches: got {self.ppo_minibatches}; expected at most num_envs * unroll_length = "
                f"{self.batch_size}"
            )


@struct.dataclass
class Hyper:
    """Traced settings: numbers (or `[S]` arrays of them, under `vmap`) that never meet Python control flow."""

    gamma: float = 0.995
    """Discount (that of the original GAIL code)."""
    gae_lambda: float = 0.97
    """Trace decay of the advantage estimator (that of the original GAIL code)."""
    max_kl: float = 0.02
    """TRPO: bound on the mean KL divergence of one step, in nats."""
    cg_damping: float = 0.1
    """TRPO: added to the Fisher matrix's diagonal."""
    bc_lr: float = 1e-3
    """Adam learning rate of maximum likelihood: bc, dagger, and the start from behavioural cloning."""
    bc_weight_decay: float = 0.0
    """BC, DAgger: decoupled weight decay, the share of the weights that a step takes being bc_lr times this."""
    bc_patience: float = 30.0
    """BC: iterations without a better validation loss after which a seed stops."""
    dagger_beta: float = 0.0
    """DAgger: p of the share p^i of steps at which the expert acts in iteration i = 0, 1, ...; 0 lets it act alone in
    the first iteration and never again."""
    bc_weight: float = 0.1
    """Weight of the demonstrations' log-likelihood beside the standardised advantages, where it is added."""
    policy_lr: float = 3e-4
    """PPO: Adam learning rate of the policy."""
    value_lr: float = 1e-3
    """Adam learning rate of the value network."""
    clip: float = 0.2
    """PPO: clip range of the probability ratio."""
    max_grad_norm: float = 0.5
    """PPO: bound on the global norm of the policy's and the value's gradients."""
    entropy: float = 0.0
    """Weight of the policy's entropy (lambda_H), subtracted under min over theta."""
    disc_lr: float = 3e-4
    """Adam learning rate of the discriminator."""
    pathwise: float = 0.5
    """MAIL: share of the gradient through the model; the rest is the likelihood-ratio gradient. 1 is the paper's."""
    model_lr: float = 1e-3
    """MAIL: Adam learning rate of the forward model."""
    disagreement_weight: float = 0.0
    """MAIL, model rollouts: reward paid per step and unit of the models' disagreement."""
    disagreement_limit: float = 1e6
    """MAIL, model rollouts: a rollout stops where the models disagree by more (in standardised changes)."""
    sil_weight: float = 0.1
    """Self-imitation: weight of its policy loss."""
    sil_value_weight: float = 0.01
    """Self-imitation: weight of its value loss."""
    sil_beta: float = 0.1
    """Self-imitation: how far importance weights undo the priorities."""
    alpha: float = 0.1
    """Weight of the discriminator's reward, about 1 per step, beside the environment's, whose discounted sum varies by
    about 1 once it is scaled."""
    disc_entropy: float = 1e-3
    """Weight of the discriminator's Bernoulli entropy bonus."""
    gradient_penalty_weight: float = 1.0
    """Weight of the discriminator's gradient penalty, where enabled."""
    expert_noise: float = 0.0
    """Standard deviation of Gaussian noise on the expert's pairs, in standardised units."""
    failure_threshold: float = -0.6931471805599453
    """GAILFE: Z_F, the least allowed mean log D on failures; log(1/2)."""
    dual_lr: float = 0.05
    """GAILFE: step size eta of the dual variable."""
    dual_init: float = 1.0
    """GAILFE: first value of the dual variable."""
    failure_weight: float = 1.0
    """GAILFE: lambda_F where the multiplier is fixed."""
    irlf_lr: float = 0.05
    """IRLF: step size of the demonstrations' weights w_D."""
    irlf_slack: float = 2.0
    """IRLF: quadratic penalty that keeps w_D small, so that features match nearly; 0, the paper's, sums all gaps."""
    irlf_lambda: float = 10.0
    """IRLF: first lambda, the inverse weight of failures."""
    irlf_lambda_min: float = 5.0
    """IRLF: last lambda; positive."""
    irlf_decay: float = 0.98
    """IRLF: what lambda is multiplied by in every iteration."""


def hyper_arrays(hyper: Hyper) -> Hyper:
    """`hyper` with every field a float32 array, so that a new value does not retrace.

    Raises:
      GailfeError: a field is not a finite number.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(hyper):
        value = jnp.asarray(getattr(hyper, field.name), jnp.float32)
        if not bool(jnp.all(jnp.isfinite(value))):
            raise GailfeError(f"{field.name}: got {getattr(hyper, field.name)}; expected a finite number")
        values[field.name] = value
    return Hyper(**values)
