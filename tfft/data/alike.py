"""Whether the sources of a mixture, or the runs of an ensemble, have the same names to learn: what cannot be one is refused."""

import numpy as np

from tfft.data.spelling import some
from tfft.errors import UserError


def same_names(what: str, found: dict[str, set[str]], setting: str, given: bool) -> list[str]:
    """Words on the names (labels, types) that the training rows of each source have. setting: of config.data, which lists them
    all; '' where there is none; given: whether it does.

    Raises: UserError where they differ and nobody has listed them; without such a setting, where of two sources each has names
    that the other lacks.
    """
    every = set().union(*found.values())
    few = {name: every - names for name, names in found.items() if names != every}
    if not few:
        return []
    first = next(iter(few))
    other = next((name for name in found if found[name] - found[first]), first)
    crossed = next(((a, b) for a in found for b in found if found[a] - found[b] and found[b] - found[a]), None)
    if not given and (setting or crossed):
        a, b = crossed or (other, first)
        told = [f"{x} has {some(sorted(own))}, which {y} lacks" for x, y in ((a, b), (b, a)) if (own := found[x] - found[y])]
        way = f" Where a source merely has no row of some, name all {what}: --config.data.{setting}=\"('one','two')\"."
        raise UserError(f"The sources of this mixture have different {what}, and a model learns one table of them: "
                        f"{'; '.join(told)}. Write them alike in the files, or train a run for each.{way if setting else ''}")
    return [f"{name}: no training row has the {what} {some(sorted(missing))}, which other sources have" for name, missing in
            few.items()]


def same_range(what: str, found: dict[str, np.ndarray]) -> list[str]:
    """A word where the numbers of one source have another range than those of another."""
    ranges = {name: (float(values.min()), float(values.max())) for name, values in found.items() if len(values)}
    widths = [high - low for low, high in ranges.values()]
    if max(widths) <= 2 * min(widths):
        return []
    told = ", ".join(f"{name} {low:.4g} to {high:.4g}" for name, (low, high) in ranges.items())
    return [f"warning: the sources have {what} of different ranges, which are learnt on one scale: {told}. Where they mean the "
            "same, write them alike"]


def check_same(what: str, known: list[tuple[str, ...]]) -> None:
    """Raises: UserError where models have learnt other names, tuples one for each, than the first."""
    for names in known:
        if odd := sorted({*names} ^ {*known[0]}):
            raise UserError(f"not all of them know the {what} {odd[0]!r}{f' and {len(odd) - 1} more' if odd[1:] else ''}. "
                            f"Train them on rows with the same {what}s, or name them all in the config.")
        if names != known[0]:
            raise UserError(f"they have the same {what}s in another order. Name them in one order in the config.")
