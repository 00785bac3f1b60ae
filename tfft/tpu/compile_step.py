"""Compiles one lowered step with the real TPU compiler; a script for a process of its own, which has jax and libtpu alone.

    python compile_step.py step.hlo answer.json optimised.txt v5e:2x2
    python compile_step.py --versions

No TPU and no network is needed: libtpu has a client that only compiles. TensorFlow must not be in the process, since both
bring an XLA of their own. The topology's first device stands for all: the step has no communication in it.
"""

import json
import os
import re
import sys
import time

# Read by libtpu as it is loaded: ask no metadata server, take this machine for the only host, let others compile beside.
ENVIRONMENT = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost",
               "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3",
               "TPU_STDERR_LOG_LEVEL": "3", "TPU_MIN_LOG_LEVEL": "3"}


def as_on_tpu(text: str) -> str:
    """StableHLO of a step lowered for a CPU -> what TensorFlow hands to a TPU.

    Copies that are only a hint to the scheduler become barriers, which this compiler knows; random numbers come from the
    hardware (tfft.tpu.lower marks them by Threefry, whose state has the same shape).
    """
    text = re.sub(r"mhlo\.copy (%\S+) :", r"stablehlo.optimization_barrier \1 :", text)
    return text.replace("algorithm = THREE_FRY", "algorithm = DEFAULT")


def places(text: str) -> dict[str, str]:
    """{op: where its first use came from} of StableHLO: {"fft": "classifier_1/odd_layer_1/FFT"}."""
    locations = dict(re.findall(r'^#(loc\d+) = loc\("([^"]+)"', text, re.MULTILINE))
    found: dict[str, str] = {}
    for op, number, name in re.findall(r'stablehlo\.(\w+).* loc\((?:#(loc\d+)|"([^"]+)")', text):
        found.setdefault(op, name or locations.get(number, ""))
    return found


def compile_for_tpu(hlo: bytes, topology: str, optimised: str) -> dict:
    """What the compiler says: time, memory, cost, or the error. Writes the optimised HLO where there is one."""
    import numpy as np
    from jax._src.interpreters import mlir as jax_mlir
    from jax.experimental import topologies
    from jaxlib import xla_client
    from jaxlib.mlir import ir

    device = topologies.get_topology_desc(topology, platform="tpu").devices[0]
    module = xla_client._xla.mlir.xla_computation_to_mlir_module(xla_client.XlaComputation(hlo))
    text = as_on_tpu(module.decode() if isinstance(module, bytes) else str(module))
    options = xla_client.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    options.device_assignment = xla_client.DeviceAssignment.create(np.zeros((1, 1), "int32"))
    begin = time.monotonic()
    with jax_mlir.make_ir_context():
        try:
            executable = _compile(device, ir.Module.parse(text), options)
        except Exception as error:  # whatever the compiler refuses
            return {"device": device.device_kind, "seconds": time.monotonic() - begin, "error": str(error),
                    "places": places(text)}
    seconds = time.monotonic() - begin
    with open(optimised, "w", encoding="utf-8") as file:
        file.write(executable.hlo_modules()[0].to_string())
    cost = executable.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    memory = executable.get_compiled_memory_stats()
    return {"device": device.device_kind, "seconds": seconds, "error": "", "flops": float(cost["flops"]),
            "bytes_accessed": float(cost["bytes accessed"]),
            "memory": {part: getattr(memory, f"{part}_size_in_bytes")
                       for part in ("argument", "output", "alias", "temp", "generated_code")}}


def _compile(device, module, options):
    from jaxlib import xla_client

    if hasattr(device.client, "compile_and_load"):  # jax 0.7 and later
        return device.client.compile(module, xla_client.DeviceList((device,)), options)
    return device.client.compile(str(module).encode(), options)


def versions() -> dict[str, str]:
    """Raises: ImportError where jax or libtpu is not there."""
    import importlib.metadata

    import jax
    import libtpu  # noqa: F401

    return {"jax": jax.__version__, "libtpu": importlib.metadata.version("libtpu")}


def main(arguments: list[str]) -> None:
    os.environ.update(ENVIRONMENT)
    if arguments == ["--versions"]:
        print(json.dumps(versions()), flush=True)
        os._exit(0)
    hlo, answer, optimised, topology = arguments
    with open(hlo, "rb") as file:
        made = compile_for_tpu(file.read(), topology, optimised)
    with open(answer, "w", encoding="utf-8") as file:
        json.dump(made, file)
    os._exit(0)  # libtpu aborts in its exit handlers


if __name__ == "__main__":
    main(sys.argv[1:])
