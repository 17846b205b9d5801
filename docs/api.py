"""Build the API reference from the docstrings: .venv/bin/python docs/api.py [FOLDER]      default: work/api

Open FOLDER/index.html. A warning of any kind ends the build.
"""

import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

import langpose


def main(folder: str = "work/api") -> None:
    warnings.simplefilter("error")
    for name in langpose.__all__:
        getattr(langpose, name)  # they are loaded when asked for
    pdoc.render.configure(docformat="markdown", math=True)
    modules = [module.name for module in pkgutil.iter_modules(langpose.__path__, "langpose.")]
    pdoc.pdoc("langpose", *modules, output_directory=Path(folder))
    print(Path(folder) / "index.html")


if __name__ == "__main__":
    main(*sys.argv[1:])
