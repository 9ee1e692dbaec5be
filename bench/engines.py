"""The engines: which environment and which host each one runs in, and how it is told the number of
threads and the instruction set."""

import dataclasses
import os


@dataclasses.dataclass(frozen=True)
class Engine:
    name: str
    venv: str
    host: str
    onnx: bool = False  # reads the ONNX file
    flags: tuple = ()  # of its compiler


ENGINES = [
    Engine("torch", "torch", "torch_eager"),
    Engine("torch.compile", "torch", "torch_compiled"),
    Engine("onnxruntime", "onnxruntime", "ort", onnx=True),
    Engine("openvino", "openvino", "openvino_cpu", onnx=True),
    Engine("deepsparse", "deepsparse", "deepsparse_cpu", onnx=True),
    Engine("tensorflow", "tensorflow", "tensorflow_xla"),
    # The fastest flags of what was tried: none, O3, O3 with data tiling, and that with all ukernels.
    Engine("iree", "iree", "iree_cpu", onnx=True,
           flags=("--iree-opt-level=O3", "--iree-opt-data-tiling")),
    Engine("iree-default", "iree", "iree_cpu", onnx=True),
    Engine("spcc-generic", "report", "spcc_object", flags=("--pipeline=generic",)),
    Engine("spcc-dense", "report", "spcc_object", flags=("--sparse=off",)),
    Engine("spcc", "report", "spcc_object"),
]
BY_NAME = {engine.name: engine for engine in ENGINES}
OURS = [engine.name for engine in ENGINES if engine.host == "spcc_object"]

# Settings of libraries that the caller's environment must not decide.
FOREIGN = ("ATEN_", "DNNL_", "GOMP_", "KMP_", "MKL_", "NM_", "NVPL_", "OMP_", "ONEDNN_", "ONNX",
           "OPENBLAS_", "OV_", "TF_", "TORCH", "XLA_")
# The settings that keep an engine to AVX2. IREE and spcc are compiled for the level instead.
ISA_ENVIRONMENT = {
    "x86-64-v3": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "DNNL_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "NM_ARCH": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    }
}
# ONNX Runtime has no setting. oneDNN's binds a part of OpenVINO, the other settings nothing that
# matters: the three reach rates in dense products that AVX2 alone can't.
UNRESTRICTED = {"x86-64-v3": ("onnxruntime", "openvino", "deepsparse", "tensorflow")}


def environment(contestant):
    """The environment variables of the contestant's process."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    variables.update(ISA_ENVIRONMENT.get(contestant.isa, {}))
    variables.update(
        OMP_NUM_THREADS=str(contestant.threads),
        MKL_NUM_THREADS=str(contestant.threads),
        NM_DISABLE_ANALYTICS="True",
        TF_CPP_MIN_LOG_LEVEL="2",
        TORCHINDUCTOR_COMPILE_THREADS="1",
        PYTHONUNBUFFERED="1",
    )
    return variables


def is_restricted(contestant):
    """Whether the engine keeps to the contestant's instruction set."""
    return contestant.engine not in UNRESTRICTED.get(contestant.isa, ())
