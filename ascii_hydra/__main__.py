"""`python -m ascii_hydra`."""

from ascii_hydra.cli import main

if __name__ == "__main__":
    main()
