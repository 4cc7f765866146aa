"""Run the parts of the campaign one after another and write docs/reliability.md.

python -m tools.torture --seconds 1800 --seed 0
python -m tools.torture --parts inputs --seed 0 --only 1234    # a loss, once more
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import monotonic

from tests.support.places import ROOT
from tools.torture import (
    determinism,
    faults,
    inputs,
    nights,
    servers,
    sharing,
    texts,
    untrusted,
)
from tools.torture.campaign import Campaign, Part
from tools.torture.page import Chapter, compose

# The function of each part, what it shows, and its share of the time
PARTS: dict[str, tuple[Part, str, float]] = {
    "inputs": (inputs.read_mutants, "Recordings that are damaged, lie or have no end", 0.20),
    "faults": (faults.inject_faults, "Calls that fail, and processes that are ended", 0.25),
    "servers": (servers.disturb_servers, "Servers and a cluster that are disturbed", 0.07),
    "sharing": (sharing.share, "Many processes, and folders that fail", 0.07),
    "texts": (texts.write_and_parse, "Texts that are written, and options that are given", 0.02),
    "untrusted": (untrusted.distrust, "Models and files of strangers", 0.06),
    "determinism": (determinism.repeat, "The same again", 0.06),
    "nights": (nights.work_long, "Long work", 0.27),
}


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="some, with commas between")
    parser.add_argument("--seconds", type=float, default=1750.0, help="of all parts together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the number of a trial that is to be repeated")
    parser.add_argument("--out", type=Path, help="default: docs/reliability.md, if all parts run")
    options = parser.parse_args()
    names = options.parts.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        Path(folder).chmod(0o755)  # other users read what is in it
        campaign = Campaign(options.seconds, options.seed, Path(folder), options.only)
        chapters = []
        for i, name in enumerate(names):  # what a part leaves of its time is for those behind it
            weights = [PARTS[one][2] for one in names[i:]]
            chapters.append(_run(name, campaign.rest(weights[0] / sum(weights))))
    everything = names == list(PARTS) and options.only is None
    out = options.out or (ROOT / "docs" / "reliability.md" if everything else None)
    if out:
        out.write_text(compose(chapters, campaign), encoding="utf-8")
    sys.exit(int(any(row.losses for chapter in chapters for row in chapter.rows)))


def _run(name: str, campaign: Campaign) -> Chapter:
    function, title, _ = PARTS[name]
    part = replace(campaign, folder=campaign.make_folder(name))
    rows = function(part)
    chapter = Chapter(name, title, monotonic() - part.began, rows)
    print(f"{name}: {chapter.took_s:.0f} s", flush=True)
    for row in rows:
        print(f"  {row.name}: {row.tried} tried, {len(row.losses)} lost; {'; '.join(row.notes)}")
        for loss in row.losses:
            print(f"    {loss.number}: {loss.what}")
    return chapter


if __name__ == "__main__":
    main()
