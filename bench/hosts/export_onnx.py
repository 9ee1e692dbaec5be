"""Writes the checkpoint as ONNX, the way that peers' users do: transformers' BertModel with eager
attention, fixed shapes, opset 14.    export_onnx.py FOLDER BATCH SEQUENCE OUT"""

import os
import sys

import torch
from transformers import BertConfig, BertModel

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from torch_engine import read_folder


def read_model(folder):
    config = BertConfig.from_pretrained(folder)
    config._attn_implementation = "eager"
    model = BertModel(config, add_pooling_layer=False).eval()
    tensors, _ = read_folder(folder)
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = [m for m in missing if not m.endswith("position_ids")]
    if missing:
        raise SystemExit(f"{folder}: no weights for {missing[:3]}")
    return model


class Hidden(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.model(input_ids, attention_mask, token_type_ids).last_hidden_state


def main():
    folder, batch, sequence, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    ones = torch.ones(batch, sequence, dtype=torch.int64)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with torch.no_grad():
        torch.onnx.export(
            Hidden(read_model(folder)),
            (ones, ones, 0 * ones),
            out,
            input_names=names,
            output_names=["last_hidden_state"],
            opset_version=14,
            dynamo=False,
        )


if __name__ == "__main__":
    main()
