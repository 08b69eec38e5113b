"""The CUDA of a lock, and the drivers that run it."""

from __future__ import annotations

import pytest

from engine.environments.cuda import cuda_of, runs_on


@pytest.mark.parametrize(
    ("pins", "cuda", "oldest"),
    [
        ("torch 2.8.0, nvidia-cuda-runtime-cu12 12.8.90, nvidia-cudnn-cu12 9.10.2.21", "CUDA 12.8", "525"),
        ("torch 2.9.1, nvidia-cuda-runtime 13.0.96, nvidia-cudnn-cu13 9.13.0.50", "CUDA 13.0", "580"),
        ("torch 2.5.1+cu121", "CUDA 12.1", "525"),
        ("torch 2.0.1+cu118", "CUDA 11.8", "450"),
        ("torch 1.12.1+cu102", "CUDA 10.2", "440.33"),
        ("nvidia-cublas-cu11 11.10.3.66, nvidia-cuda-nvrtc-cu11 11.7.99", "CUDA 11.7", "450"),
        ("jax 0.8.0, jax-cuda12-plugin 0.8.0, jax-cuda12-pjrt 0.8.0", "CUDA 12", "525"),
        ("jax-cuda13-plugin 0.8.0", "CUDA 13", "580"),
        ("jaxlib 0.4.20+cuda11.cudnn86", "CUDA 11", "450"),
        ("cupy-cuda12x 13.4.1", "CUDA 12", "525"),
        ("cupy-cuda117 10.6.0", "CUDA 11.7", "450"),
        ("flash-attn 2.7.0+cu12torch2.5cxx11abifalse", "CUDA 12", "525"),
        ("cuda-toolkit 13.0.2", "CUDA 13.0", "580"),
        # several: the newest counts, and one with a minor version tells more than one without
        ("nvidia-nccl-cu12 2.27.3, nvidia-cuda-runtime-cu12 12.8.90, cupy-cuda11x 13.4.1", "CUDA 12.8", "525"),
        ("nvidia-cuda-runtime-cu12 12.1.105, jax-cuda13-plugin 0.8.0", "CUDA 13", "580"),
    ],
)
def test_cuda_is_told_by_the_lock(pins: str, cuda: str, oldest: str) -> None:
    found = cuda_of([(pin.split()[0], pin.split()[1]) for pin in pins.split(", ")])
    assert (str(found), found and found.oldest_driver) == (cuda, oldest)


@pytest.mark.parametrize(
    "pin",
    [
        "torch 2.8.0+cpu", "torch 2.8.0", "numpy 2.3.0", "nvidia-ml-py 13.580.82", "numba-cuda 0.20.0",
        "x 1.0+cuddle12", "cucumber 12.0", "acme-cu 12", "pycuda 2025.1",
        "cuda-python 13.0.1", "nvidia-cuda-runtime 9.9",
    ],
)  # fmt: skip
def test_other_distributions_tell_nothing(pin: str) -> None:
    assert cuda_of([(pin.split()[0], pin.split()[1])]) is None


@pytest.mark.parametrize(
    ("pin", "driver", "runs"),
    [
        ("nvidia-cuda-runtime-cu12 12.8.90", "525.60.13", True),
        ("nvidia-cuda-runtime-cu12 12.8.90", "525", True),
        ("nvidia-cuda-runtime-cu12 12.8.90", "580.65.06", True),
        ("nvidia-cuda-runtime-cu12 12.0.1", "520.61.05", False),
        ("nvidia-cuda-runtime-cu12 12.8.90", "470.256.02", False),
        ("nvidia-cuda-runtime 13.0.96", "575.57.08", False),
        ("nvidia-cuda-runtime 13.0.96", "580.65.06", True),
        ("torch 2.0.1+cu118", "450.80.02", True),
        ("torch 2.0.1+cu118", "440.100", False),
        ("torch 1.12.1+cu102", "440.33.01", True),
        ("torch 1.12.1+cu102", "440.31", False),
        ("torch 9.0+cu150", "525", True),  # nobody knows yet
    ],
)
def test_a_driver_is_new_enough_or_not(pin: str, driver: str, runs: bool) -> None:
    cuda = cuda_of([(pin.split()[0], pin.split()[1])])
    assert cuda is not None
    assert runs_on(cuda, driver) is runs
