"""OpenVINO's CPU plugin in f32."""

import host


def load(job):
    import openvino as ov

    core = ov.Core()
    model = core.read_model(job["onnx"])
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": job["threads"],
            "NUM_STREAMS": "1",
            "ENABLE_CPU_PINNING": False,
        },
    )
    request = compiled.create_infer_request()
    for name, value in host.read_inputs(job, "int64").items():
        request.set_tensor(name, ov.Tensor(value))
    settings = {
        "version": ov.__version__,
        "settings": "f32 hint, LATENCY, 1 stream, pinned from outside",
    }

    def run():
        request.infer()
        return request.get_output_tensor(0).data

    return settings, run, lambda y: y


if __name__ == "__main__":
    host.serve(load)
