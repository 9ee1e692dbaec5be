"""PyTorch, eager: the model of ../torch_engine.py."""

import host
import torch_job


def load(job):
    import torch

    model, arguments = torch_job.prepare(job)

    def run():
        with torch.inference_mode():
            return model(*arguments)["last_hidden_state"]

    text = "inference_mode, scaled_dot_product_attention"
    return torch_job.settings(text), run, lambda y: y.numpy()


if __name__ == "__main__":
    host.serve(load)
