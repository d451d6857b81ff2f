"""`python app.py`: the web app, as `python -m sketchcolor serve`."""

import sys

from sketchcolor.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
