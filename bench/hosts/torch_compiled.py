"""torch.compile with freezing: weights are constants, prepacked by Inductor."""

import os

import host
import torch_job


def as_module(bert):
    """The model with its tensors as parameters, which freezing needs."""
    import torch

    def spelling(name):
        return name.replace(".", "/")

    class Weights:
        def __init__(self, module):
            self.module = module

        def __contains__(self, name):
            return hasattr(self.module, spelling(name))

        def __getitem__(self, name):
            return getattr(self.module, spelling(name))

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, tensor in bert.t.items():
                self.register_parameter(spelling(name), torch.nn.Parameter(tensor, False))

        def forward(self, ids, mask, types):
            bert.t = Weights(self)
            return bert(ids, mask, types)["last_hidden_state"]

    return Module().eval()


def load(job):
    # Read when torch is imported.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(job["cache"], "inductor")
    os.environ["TORCHINDUCTOR_FREEZING"] = "1"
    import torch

    bert, arguments = torch_job.prepare(job)
    model = torch.compile(as_module(bert))

    def run():
        with torch.no_grad():
            return model(*arguments)

    run()
    return torch_job.settings("freezing, no_grad"), run, lambda y: y.numpy()


if __name__ == "__main__":
    host.serve(load)
