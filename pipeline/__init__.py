"""The experiment pipeline around the library: DVC stages, parameters, where things lie."""
