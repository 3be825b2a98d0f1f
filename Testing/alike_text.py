"""What the README says of networks that were trained alike: made of the plan and its results, no number is typed."""

from __future__ import annotations

from alike import Plan, Results, read_plan, read_results

SIGNS = {1: "+", 0: "0", -1: "−"}
VERDICTS = {"same": "yes", "other": "**no**, the other way", "undecided": "not told apart"}


def columns(name: str, plan: Plan, results: Results) -> tuple[str, str]:
    """Return milliseconds of a full network, and Dice of its narrow variant with its millions of parameters."""
    taken = results.times.get("milliseconds", {}).get(name)
    run = plan.networks.get(name)
    dice = results.dice(run) if run else None
    if dice is None:
        return f"{taken}" if taken is not None else "–", "–"
    size = results.runs[run]["parameters"] / 1e6
    return f"{taken}" if taken is not None else "–", f"{dice.mean():.2f} ({size:.2f})"


def alike_text() -> str:
    """Return how the columns of the table came about, and how the papers' ablations came out."""
    plan = read_plan()
    results = read_results(plan)
    return "\n\n".join([_setting(plan, results), _table(plan, results), _summary(plan, results)])


def _setting(plan: Plan, results: Results) -> str:
    sides = sorted({run.facts["side"] for run in plan.runs.values()})
    sizes = [results.runs[name]["parameters"] / 1e6 for name in plan.networks.values() if name in results.runs]
    spread = f"{min(sizes):.2f} to {max(sizes):.2f} M parameters, in brackets" if sizes else "not trained yet"
    optimiser, recipe = plan.recipe["optimiser"], plan.recipe
    times = results.times
    clock = (
        f"*ms* is one forward of the full network at the size beside it, float32, {times['threads']} threads "
        f"({times['instructions']}), the least of several calls."
        if times
        else "*ms* is not measured yet."
    )
    trained = sum(name in results.runs for name in plan.networks.values())
    return (
        f"{clock} **Dice, narrow, is not the full network's**: each X-ray network of papers 1 and 5 was made narrow "
        f"({spread}; arguments in `Testing/alike.yaml`) and trained from random weights, all alike: {plan.steps} "
        f"steps of {recipe['batch']} digital necks, {sides[0]} pixels ({sides[-1]} with Segment Anything's encoder and "
        f"in its ablations: about a third of the papers' sizes), {optimiser['name']} at {optimiser['lr']}, BCE and "
        "Dice, one target, the spinous processes; then `segment` and `evaluate` on 20 necks of unseen seeds at their "
        f"own size. {trained} of {len(plan.networks)} have a number. `sam` is shown a point in each true process, as "
        "in its paper, and has an advantage. So short a training from random weights is no judgement of networks that "
        "live on pretrained ones. Made by `Testing/train_alike.py`."
    )


def _table(plan: Plan, results: Results) -> str:
    rows = [
        "| paper | what its ablation adds | Dice printed | Dice, narrow | gain | goes the paper's way |",
        "| --- | --- | --- | --- | ---: | --- |",
    ]
    for step in plan.ablations:
        printed = " → ".join("best" if value is None else f"{value:.3f}" for value in step.printed)
        found = results.verdict(step)
        if found is None:
            rows.append(f"| {step.paper} | {step.what} | {printed} | – | – | not trained yet |")
            continue
        ours = " → ".join(f"{results.dice(name).mean():.3f}" for name in (step.before, step.after))
        rows.append(f"| {step.paper} | {step.what} | {printed} | {ours} | {found[0]:+.3f} | {VERDICTS[found[1]]} |")
    return "\n".join(rows)


def _summary(plan: Plan, results: Results) -> str:
    kinds: dict[str, list[str]] = {}
    for step in plan.ablations:
        if found := results.verdict(step):
            kinds.setdefault(found[1], []).append(f"{step.what} ({step.paper})")
    titles = {"same": "Reproduced", "other": "The other way", "undecided": "Not told apart from none"}
    parts = [f"{title}: {'; '.join(kinds[kind])}." for kind, title in titles.items() if kind in kinds]
    seeds = {len(results.runs[each]["seeds"]) for step in plan.ablations for each in step.names & results.runs.keys()}
    return (
        f"Directions of the papers' ablations on digital necks (paper). {' '.join(parts) or 'Not trained yet.'} A gain "
        "counts where Wilcoxon's signed-rank test over the 20 necks tells it from none (p < 0.05, not corrected) and "
        f"all trainings agree on its sign; there was {_times(seeds)} each. Where the paper prints no gain, none is its "
        "way."
    )


def _times(counts: set[int]) -> str:
    words = {1: "one training", 2: "two trainings"}
    return " or ".join(words.get(count, f"{count} trainings") for count in sorted(counts)) or "none"
