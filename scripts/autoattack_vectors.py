#!/usr/bin/env python3
"""Write what the published AutoAttack code does on a small network, as numbers.

    scripts/autoattack_vectors.py --package DIR > adversarial/testdata/published.json

DIR holds the folder autoattack of github.com/fra31/auto-attack. The network is
tanh(x A) B; all numbers it needs are in the output, or drawn by `sequence`. For APGD: from given starts
(images moved by `move`, inside the ball), the best loss of each image and the
images where it was. For FAB-T: how far away the nearest wrong image was found.
For Square: how many of 100 colour images it fooled, by seed.
"""
import argparse
import json
import sys

import torch

N, SIDE, HIDDEN, CLASSES = 8, 6, 12, 5
EPS = {"Linf": 0.03, "L2": 0.14}


def rounded(t, digits=4):
    return (t * 10**digits).round() / 10**digits


def sequence(seed, *shape):
    """Numbers from [0, 1) that any language can draw: the upper 24 bits of a linear congruential generator (Knuth's MMIX)."""
    out = torch.empty(shape).flatten()
    for i in range(out.numel()):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        out[i] = (seed >> 40) / 2**24
    return out.view(shape)


def squares(square):
    """Square Attack's counts of fooled images."""
    a, b = (sequence(1, 300, 16) - 0.5) * 0.6, (sequence(2, 16, 5) - 0.5) * 2
    x = sequence(3, 100, 3, 10, 10)
    model = lambda x: (x.flatten(1) @ a).tanh() @ b
    y = model(x).argmax(1)
    for norm, eps in (("Linf", 0.04), ("L2", 0.4)):
        for queries in (20, 300):
            counts = []
            for seed in range(8):
                attack = square(model, norm=norm, eps=eps, n_queries=queries, n_restarts=1, seed=seed, device="cpu", resc_schedule=False)
                counts.append(int((model(attack.perturb(x, y)).argmax(1) != y).sum()))
            yield {"norm": norm, "eps": eps, "queries": queries, "fooled": counts}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--package", required=True)
    sys.path.insert(0, p.parse_args().package)
    from autoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from autoattack.fab_pt import FABAttack_PT
    from autoattack.square import SquareAttack

    torch.manual_seed(7)
    torch.set_num_threads(1)
    a = rounded(torch.randn(SIDE * SIDE, HIDDEN) * 0.3)
    b = rounded(torch.randn(HIDDEN, CLASSES))
    x = rounded(torch.rand(N, 1, SIDE, SIDE).mul(1.4).sub(0.2).clamp(0, 1))
    move = rounded(torch.rand(N, 1, SIDE, SIDE) * 2 - 1)
    model = lambda x: (x.flatten(1) @ a).tanh() @ b
    y = model(x).argmax(1)
    out = {"n": N, "side": SIDE, "hidden": HIDDEN, "classes": CLASSES, "a": a.flatten().tolist(), "b": b.flatten().tolist(),
           "x": x.flatten().tolist(), "move": move.flatten().tolist(), "y": y.tolist(), "apgd": [], "fab": []}
    for norm, eps in EPS.items():
        for steps in (12, 100):
            for loss in ("ce", "dlr", "dlr-targeted"):
                cls = APGDAttack_targeted if loss == "dlr-targeted" else APGDAttack
                attack = cls(model, n_iter=steps, norm=norm, eps=eps, device="cpu")
                attack.init_hyperparam(x)
                attack.loss = loss
                attack.y_target = model(x).sort(dim=1)[1][:, -2]
                length = move.abs().amax((1, 2, 3)) if norm == "Linf" else move.flatten(1).norm(dim=1)
                start = x + eps * move / length.view(-1, 1, 1, 1)
                best, acc, loss_best, _ = attack.attack_single_run(x, y, x_init=start)
                out["apgd"].append({"norm": norm, "eps": eps, "steps": steps, "loss": loss, "best_loss": loss_best.tolist(),
                                    "stands": acc.tolist(), "best": rounded(best.flatten(), 6).tolist()})
        for target in (2, 3, 4, 5):
            attack = FABAttack_PT(model, n_iter=20, norm=norm, eps=eps, device="cpu", targeted=True, n_target_classes=CLASSES - 1)
            attack.target_class = target
            adv = attack.attack_single_run(x, y, is_targeted=True)
            d = (adv - x).flatten(1)
            size = d.abs().amax(1) if norm == "Linf" else d.norm(dim=1)
            out["fab"].append({"norm": norm, "steps": 20, "target": target, "distance": size.tolist()})
    out["square"] = list(squares(SquareAttack))
    json.dump(out, sys.stdout)
    print()


if __name__ == "__main__":
    main()
