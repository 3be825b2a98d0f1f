"""Write the parameters and multiply-adds of each model's network on its card.

    python3 Testing/run.py python Testing/count_networks.py [MODEL …]

Counted on the network itself at the card's input size (`SpineSegLib.models.describe.count`). A test holds the numbers
true; run this again after a change of a network or of a card's arguments or input size.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from SpineSegLib.io import written_whole  # noqa: E402
from SpineSegLib.models import registry  # noqa: E402
from SpineSegLib.models.describe import count  # noqa: E402
from SpineSegLib.resources import resource  # noqa: E402


def with_counts(text: str, parameters: int, multiply_adds: int) -> str:
    """Return a card's text with the counts in its network entry, everything else as it was."""
    start = text.index(key := '\n  "network": ') + len(key)
    network, length = json.JSONDecoder().raw_decode(text[start:])
    network["counts"] = {"parameters": parameters, "multiply_adds": multiply_adds}
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in network.items())
    return f"{text[:start]}{{\n{lines}\n  }}{text[start + length :]}"


def main(names: list[str]) -> int:
    """Count and write."""
    for name in names or registry():
        path = resource("Models", f"{name}.json")
        before = path.read_text(encoding="utf-8")
        after = with_counts(before, *count(registry()[name]))
        if after != before:
            with written_whole(path) as part:
                part.write_text(after, encoding="utf-8", newline="\n")
            print(f"{name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
