"""The commands of ``langpose``, a file each; langpose/cli.py puts them together."""
