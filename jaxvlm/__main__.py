"""`python -m jaxvlm` is the command `jaxvlm`."""

from jaxvlm.cli import main

if __name__ == "__main__":
    main()
