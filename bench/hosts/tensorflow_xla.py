"""TensorFlow: the same encoder in its own operators, one tf.function compiled by XLA."""

import json
import math
import os

import host


def read_weights(folder):
    """The checkpoint's tensors as NumPy arrays, linears as [inputs, outputs]."""
    import numpy as np

    path = os.path.join(folder, "model.safetensors")
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    data = np.memmap(path, np.uint8, "r", 8 + size)
    tensors = {}
    for name, entry in header.items():
        if entry.get("dtype") != "F32":
            continue
        begin, end = entry["data_offsets"]
        array = data[begin:end].view("<f4").reshape(entry["shape"])
        linear = array.ndim == 2 and "embeddings" not in name
        tensors[name.removeprefix("bert.")] = np.ascontiguousarray(array.T if linear else array)
    return tensors


class Bert:
    def __init__(self, tf, folder, batch, sequence):
        with open(os.path.join(folder, "config.json")) as file:
            self.config = json.load(file)
        if self.config.get("hidden_act", "gelu") != "gelu":
            raise host.Missing("only GELU with erf is written here")
        self.tf, self.batch, self.sequence = tf, batch, sequence
        self.t = {name: tf.Variable(value) for name, value in read_weights(folder).items()}

    def linear(self, x, name):
        return self.tf.matmul(x, self.t[name + ".weight"]) + self.t[name + ".bias"]

    def norm(self, x, name):
        mean, variance = self.tf.nn.moments(x, [-1], keepdims=True)
        return self.tf.nn.batch_normalization(
            x, mean, variance, self.t[name + ".bias"], self.t[name + ".weight"],
            self.config.get("layer_norm_eps", 1e-12),
        )

    def embed(self, ids, types):
        e = "embeddings."
        x = self.tf.gather(self.t[e + "word_embeddings.weight"], ids)
        x += self.tf.gather(self.t[e + "token_type_embeddings.weight"], types)
        x += self.t[e + "position_embeddings.weight"][: self.sequence]
        return self.norm(x, e + "LayerNorm")

    def attention(self, x, bias, name):
        tf, hidden, heads = self.tf, self.config["hidden_size"], self.config["num_attention_heads"]

        def split(part):
            y = self.linear(x, name + "self." + part)
            y = tf.reshape(y, [self.batch, self.sequence, heads, hidden // heads])
            return tf.transpose(y, [0, 2, 1, 3])

        scores = tf.matmul(split("query"), split("key"), transpose_b=True)
        weights = tf.nn.softmax(scores / math.sqrt(hidden // heads) + bias)
        y = tf.transpose(tf.matmul(weights, split("value")), [0, 2, 1, 3])
        return tf.reshape(y, [self.batch * self.sequence, hidden])

    def layer(self, x, bias, name):
        y = self.attention(x, bias, name + "attention.")
        x = self.norm(self.linear(y, name + "attention.output.dense") + x,
                      name + "attention.output.LayerNorm")
        y = self.tf.nn.gelu(self.linear(x, name + "intermediate.dense"))
        return self.norm(self.linear(y, name + "output.dense") + x, name + "output.LayerNorm")

    def __call__(self, ids, mask, types):
        hidden = self.config["hidden_size"]
        x = self.tf.reshape(self.embed(ids, types), [self.batch * self.sequence, hidden])
        bias = (1 - self.tf.cast(mask, "float32"))[:, None, None, :] * -1e9
        for i in range(self.config["num_hidden_layers"]):
            x = self.layer(x, bias, f"encoder.layer.{i}.")
        return self.tf.reshape(x, [self.batch, self.sequence, hidden])


def load(job):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(job["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = Bert(tf, job["model"], job["batch"], job["sequence"])
    compiled = tf.function(model.__call__, jit_compile=True)
    arguments = [tf.constant(v) for v in host.read_inputs(job, "int32").values()]
    compiled(*arguments)
    settings = {
        "version": tf.__version__,
        "settings": "tf.function(jit_compile=True), weights as [inputs, outputs]",
    }
    return settings, lambda: compiled(*arguments).numpy(), lambda y: y


if __name__ == "__main__":
    host.serve(load)
