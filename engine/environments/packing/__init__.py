"""The program that packs wheels into layer tars. It runs inside the base image, with that image's own Python.

It is standard library only, for Python 3.9 and newer, because it also packs the very first wheels of a
base, before anything is installed there. The folder is mounted into the container and run by
``python3 -m packing``; the host itself uses only ``tarwriter``. Nothing of a wheel is executed.
"""
