"""Readers of other people's files: AMASS, CMU, BABEL, Human3.6M, MPI-INF-3DHP. Each checks what it reads."""
