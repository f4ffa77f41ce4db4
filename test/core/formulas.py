# SPDX-License-Identifier: Apache-2.0
"""The formulas of FuRL and SAC in plain NumPy, gradients by hand: what the code is tested against.

FuRL: arXiv 2406.00645; SAC: arXiv 1812.05905, with the entropy constants of Stable-Baselines3;
Adam: arXiv 1412.6980, algorithm 1. All in double precision. A net is a list of layers, each a list
of its weights [out, in] and biases [out], with ReLU between the layers.
"""

import numpy as np

PERIODS = (50, 100, 150, 200)


# Nets.


def forward(net, x):
    """Outputs [B, out] of a net for x [B, in], and what went into each of its layers."""
    entered = []
    for number, (weights, biases) in enumerate(net):
        if number:
            x = np.maximum(x, 0)
        entered.append(x)
        x = x @ weights.T + biases
    return x, entered


def backward(net, entered, gradient):
    """Gradients of the net's input [B, in] and of its layers, from that of its outputs."""
    layers = []
    for number in reversed(range(len(net))):
        layers.insert(0, [gradient.T @ entered[number], gradient.sum(0)])
        gradient = gradient @ net[number][0]
        if number:
            gradient = gradient * (entered[number] > 0)
    return gradient, layers


class Adam:
    """Adam on some arrays, which it changes in place."""

    def __init__(self, arrays, rate):
        self.arrays, self.rate, self.steps = arrays, rate, 0
        self.first = [np.zeros_like(array) for array in arrays]
        self.second = [np.zeros_like(array) for array in arrays]

    def step(self, gradients):
        self.steps += 1
        for theta, m, v, g in zip(self.arrays, self.first, self.second, gradients, strict=True):
            m[...] = 0.9 * m + 0.1 * g
            v[...] = 0.999 * v + 0.001 * g**2
            m_hat, v_hat = m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)
            theta -= self.rate * m_hat / (np.sqrt(v_hat) + 1e-8)


def arrays(*nets):
    """All arrays of some nets, one after the other."""
    return [array for net in nets for layer in net for array in layer]


# FuRL: the rewards and their losses.


def cosines(image, text, frames, prompt):
    """r = cos(f_I(phi_I(o)), f_L(phi_L(l))) [B] of frames [B, E] for a prompt [E].

    Also gives the function that turns a gradient of the rewards into those of both nets.
    """
    p, entered_p = forward(image, frames)
    q, entered_q = forward(text, prompt[None])
    length_p, length_q = np.linalg.norm(p, axis=1, keepdims=True), np.linalg.norm(q)
    unit_p, unit_q = p / length_p, q / length_q
    r = unit_p @ unit_q[0]

    def gradients(by_r):
        by_r, cosine = by_r[:, None], r[:, None]
        by_p = by_r * (unit_q - cosine * unit_p) / length_p
        by_q = (by_r * (unit_p - cosine * unit_q) / length_q).sum(0, keepdims=True)
        return backward(image, entered_p, by_p)[1], backward(text, entered_q, by_q)[1]

    return r, gradients


def hinge(better, worse, d):
    """l_d(p, n) = max(0, r(n) - r(p) + d)."""
    return max(0.0, worse - better + d)


def ordered_pairs(better, worse, d):
    """pos-neg and pos-pos: mean hinge over pairs; the loss and its gradients by both rewards."""
    count = len(better)
    loss, by_better, by_worse = 0.0, np.zeros(count), np.zeros(count)
    for i in range(count):
        value = hinge(better[i], worse[i], d)
        loss += value / count
        if value > 0:
            by_better[i] -= 1 / count
            by_worse[i] += 1 / count
    return loss, by_better, by_worse


def ordered_by_goal(r, distances, gap, d):
    """neg-neg: mean hinge over all i, j with D_i < D_j - gap; the loss and its gradient."""
    pairs = [
        (i, j) for i in range(len(r)) for j in range(len(r)) if distances[i] < distances[j] - gap
    ]
    loss, by_r = 0.0, np.zeros(len(r))
    for i, j in pairs:
        value = hinge(r[i], r[j], d)
        loss += value / len(pairs)
        if value > 0:
            by_r[i] -= 1 / len(pairs)
            by_r[j] += 1 / len(pairs)
    return loss, by_r


# FuRL: which frames are positive, and who acts.


def labels(success):
    """Of each frame of an episode: 'positive', 'negative' or None.

    Positive: up to the first success, and the unbroken run of success frames after it. Negative:
    all frames of an episode without success.
    """
    if not any(success):
        return ['negative'] * len(success)
    result, reached = [], False
    for number, now in enumerate(success):
        if reached and not now:
            return result + [None] * (len(success) - number)
        reached = reached or now
        result.append('positive')
    return result


def turns(period, starter, length):
    """Who acts at each step of an episode: the starter first, then in turns of ``period`` steps."""
    agents = [starter, {'vlm': 'sac', 'sac': 'vlm'}[starter]]
    return [agents[step // period % 2] for step in range(length)]


# SAC.


class Sac:
    """One agent: actor, two critics and their targets, the temperature's logarithm.

    The actor's outputs are mean and logarithm of the standard deviation, side by side.
    """

    def __init__(self, actor, critics, targets, log_alpha, *, rate, gamma, tau, target_entropy):
        self.actor, self.critics, self.targets = actor, critics, targets
        self.log_alpha = log_alpha
        self.gamma, self.tau, self.target_entropy = gamma, tau, target_entropy
        self.adams = {
            'actor': Adam(arrays(actor), rate),
            'critics': Adam(arrays(*critics), rate),
            'temperature': Adam([log_alpha], rate),
        }

    def policy(self, states, noise):
        """a = tanh(mu + sigma noise) [B, A] and log pi(a | s) [B], and what their gradients need.

        log pi(a | s) = sum over A of log N(u; mu, sigma) - log(1 - a^2 + 1e-6).
        """
        outputs, entered = forward(self.actor, states)
        mean, unbounded = np.split(outputs, 2, axis=1)
        log_std = np.clip(unbounded, -20, 2)
        actions = np.tanh(mean + np.exp(log_std) * noise)
        gaussian = -(noise**2) / 2 - log_std - np.log(2 * np.pi) / 2
        log_prob = (gaussian - np.log(1 - actions**2 + 1e-6)).sum(1)
        return actions, log_prob, (entered, unbounded, log_std)

    def policy_gradients(self, by_actions, by_log_prob, actions, noise, kept):
        """Gradients of the actor's layers from those of actions [B, A] and log_prob [B]."""
        entered, unbounded, log_std = kept
        by_log_prob = by_log_prob[:, None]
        by_actions = by_actions + by_log_prob * 2 * actions / (1 - actions**2 + 1e-6)
        by_mean = by_actions * (1 - actions**2)
        # u - mu = sigma noise: of log N only -log sigma is left to depend on anything.
        by_log_std = by_mean * np.exp(log_std) * noise - by_log_prob
        by_log_std = by_log_std * ((unbounded > -20) & (unbounded < 2))
        return backward(self.actor, entered, np.hstack([by_mean, by_log_std]))[1]

    def update(self, states, actions, rewards, next_states, terminated, noise, next_noise):
        """One gradient step; rewards and terminated are [B]. Returns the losses."""
        count = len(states)
        new_actions, log_prob, kept = self.policy(states, noise)
        alpha = np.exp(self.log_alpha[0])

        # J(log alpha) = -log alpha mean(log pi + H)
        excess = (log_prob + self.target_entropy).mean()
        temperature_loss = -self.log_alpha[0] * excess
        self.adams['temperature'].step([np.array([-excess])])

        # y = r + gamma (1 - d) (min Q'(s', a') - alpha log pi(a' | s'))
        next_actions, next_log_prob, _ = self.policy(next_states, next_noise)
        following = np.hstack([next_states, next_actions])
        lowest = np.min([forward(net, following)[0][:, 0] for net in self.targets], axis=0)
        y = rewards + self.gamma * (1 - terminated) * (lowest - alpha * next_log_prob)

        # J(Q) = 1/2 sum over critics of mean (Q - y)^2
        critic_loss, gradients = 0.0, []
        for net in self.critics:
            q, entered = forward(net, np.hstack([states, actions]))
            error = q[:, 0] - y
            critic_loss += (error**2).mean() / 2
            gradients += arrays(backward(net, entered, error[:, None] / count)[1])
        self.adams['critics'].step(gradients)

        # J(pi) = mean(alpha log pi - min Q), with the critics as they are now
        chosen = np.hstack([states, new_actions])
        values, by_chosen = [], []
        for net in self.critics:
            q, entered = forward(net, chosen)
            values.append(q[:, 0])
            by_chosen.append(backward(net, entered, np.ones_like(q))[0])
        lowest, which = np.min(values, axis=0), np.argmin(values, axis=0)
        actor_loss = (alpha * log_prob - lowest).mean()
        by_actions = -np.array(by_chosen)[which, np.arange(count), states.shape[1] :] / count
        by_log_prob = np.full(count, alpha / count)
        gradients = self.policy_gradients(by_actions, by_log_prob, new_actions, noise, kept)
        self.adams['actor'].step(arrays(gradients))

        # Q' <- tau Q + (1 - tau) Q'
        for target, source in zip(arrays(*self.targets), arrays(*self.critics), strict=True):
            target[...] = self.tau * source + (1 - self.tau) * target
        return {
            'actor_loss': actor_loss,
            'critic_loss': critic_loss,
            'ent_coef': alpha,
            'ent_coef_loss': temperature_loss,
        }
