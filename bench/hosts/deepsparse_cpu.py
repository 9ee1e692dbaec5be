"""DeepSparse, synchronous, one stream."""

import host


def load(job):
    import deepsparse

    inputs = list(host.read_inputs(job, "int64").values())
    engine = deepsparse.compile_model(
        job["onnx"], batch_size=job["batch"], num_cores=job["threads"], num_streams=1
    )
    settings = {
        "version": deepsparse.__version__,
        "settings": f"num_cores, num_streams=1, supported ops {engine.fraction_of_supported_ops}",
        "isa_used": engine.cpu_avx_type,
    }
    return settings, lambda: engine.run(inputs)[0], lambda y: y


if __name__ == "__main__":
    host.serve(load)
