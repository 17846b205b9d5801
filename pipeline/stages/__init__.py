"""One file a DVC stage. A stage reads its parameters, calls the library and writes its outputs."""

from pipeline import guard

guard.check()
