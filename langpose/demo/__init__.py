"""The embedded demo: procedural human motion and stand-ins for the licensed files, in their true formats."""
