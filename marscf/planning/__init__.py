"""What a scale will take before it is begun: time, memory, disk, download (`marscf plan`).

`work` counts what is left to do, `probe` measures a few steps on this machine, `recorded` has the rates of
a GPU that is not here, `estimate` puts them together and `shown` prints it.
"""
