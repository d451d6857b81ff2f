"""`python -m sketchcolor`."""

from sketchcolor.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
