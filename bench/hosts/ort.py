"""ONNX Runtime, CPU provider, all graph optimizations."""

import host


def load(job):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(job["onnx"], options, providers=["CPUExecutionProvider"])
    inputs = host.read_inputs(job, "int64")
    settings = {
        "version": ort.__version__,
        "settings": "ORT_ENABLE_ALL, ORT_SEQUENTIAL, weights prepacked (default)",
    }
    return settings, lambda: session.run(None, inputs)[0], lambda y: y


if __name__ == "__main__":
    host.serve(load)
