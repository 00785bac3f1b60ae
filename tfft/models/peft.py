"""Adapters in the layout of Hugging Face's PEFT: adapter_config.json and adapter_model.safetensors, written and read."""

import json
import re
from pathlib import Path

import keras_hub
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from tfft.config import MINILM, Experiment
from tfft.config.adaptation import LOW_RANK, Adaptation
from tfft.errors import UserError
from tfft.files import save_tensors
from tfft.models.adaptation import sections
from tfft.models.adapters import Beside
from tfft.models.places import places

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
# of a layer: the end of KerasHub's path -> Hugging Face's name within encoder.layer.N
OF_BERT = {"self_attention_layer/query": "attention.self.query", "self_attention_layer/key": "attention.self.key",
           "self_attention_layer/value": "attention.self.value",
           "self_attention_layer/attention_output": "attention.output.dense",
           "feedforward_intermediate_dense": "intermediate.dense", "feedforward_output_dense": "output.dense"}
OF_DISTILBERT = {"self_attention_layer/query": "attention.q_lin", "self_attention_layer/key": "attention.k_lin",
                 "self_attention_layer/value": "attention.v_lin", "self_attention_layer/attention_output": "attention.out_lin",
                 "feedforward_intermediate_dense": "ffn.lin1", "feedforward_output_dense": "ffn.lin2"}
models = keras_hub.models
LAYOUTS = {**dict.fromkeys((models.BertBackbone, models.RobertaBackbone, models.XLMRobertaBackbone, models.ElectraBackbone),
                           ("encoder.layer", OF_BERT)),
           models.DistilBertBackbone: ("transformer.layer", OF_DISTILBERT)}
METHODS = {"lora": "LORA", "adalora": "LORA", "dora": "LORA", "ia3": "IA3"}  # of several that are one there, the first is read
CHANGING = ("pissa", "olora", "corda", "loftq")  # how LoRA can begin there, with other weights of the model beneath it


def write_peft(backbone, experiment: Experiment, folder: Path) -> None:
    """Writes what was learnt beside the backbone's matrices, for PEFT over its AutoModel; the head is not in it. AdaLoRA's is
    written as a LoRA whose matrices have ranks of their own.

    Raises: UserError where PEFT has no such method, or it is not known what its layers are called there.
    """
    config = experiment.adaptation
    if config.method not in METHODS:
        raise UserError(f"--format=peft: PEFT has no layout for config.adaptation.method={config.method}, only for "
                        f"{', '.join(METHODS)}. Use --format=adapter.")
    tensors = {}
    found = _named(backbone)
    for name, beside in found.items():
        tensors |= {f"{PREFIX}{name}.{tensor}": np.ascontiguousarray(value) for tensor, (_, value) in _tensors(beside).items()}
    save_tensors(tensors, folder / TENSORS, {"format": "pt"})
    stated = {"peft_type": METHODS[config.method], "base_model_name_or_path": _hub_name(experiment.model.backbone),
              "inference_mode": True, "target_modules": list(found), "fan_in_fan_out": False, "task_type": None,
              "modules_to_save": None}
    if config.method == "ia3":
        stated["feedforward_modules"] = [name for name, beside in found.items() if beside.of_inputs]
    else:
        stated |= {"r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout, "bias": "none",
                   "use_rslora": config.rank_stabilised, "use_dora": config.method == "dora"}
    if config.method == "adalora":
        ranks = {name: len(_kept(beside)) for name, beside in found.items()}
        stated |= {"rank_pattern": ranks, "alpha_pattern": {name: found[name].scale * rank for name, rank in ranks.items()},
                   "use_rslora": False}
    (folder / CONFIG).write_text(json.dumps(stated, indent=2) + "\n", "utf-8")


def read_peft(backbone, config: Adaptation, folder: Path) -> int:
    """Gives an adapted backbone what a folder of PEFT's has; returns how many tensors of other parts are left aside.

    Raises: UserError where the folder is none, was made with other settings, or has not just the tensors of these.
    """
    try:
        stated, tensors = json.loads((folder / CONFIG).read_text("utf-8")), load_file(folder / TENSORS)
        if not isinstance(stated, dict):
            raise ValueError(f"{CONFIG} has no settings")
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"config.adaptation.start={folder}: no adapter of PEFT can be read there ({error}). It needs {CONFIG} "
                        f"and {TENSORS}.") from error
    _check(stated, config, folder)
    layer = LAYOUTS[type(backbone)][0] if type(backbone) in LAYOUTS else "layer"
    before = re.compile(rf"^{re.escape(PREFIX)}(?:\w+\.)?(?={re.escape(layer)}\.)")  # 'base_model.model.bert.'
    given = {before.sub("", name): value for name, value in tensors.items()}
    given = {f"{name}.weight" if name.endswith(".lora_magnitude_vector") else name: value for name, value in given.items()}
    wanted = {f"{name}.{tensor}": (variable, value) for name, beside in _named(backbone).items()
              for tensor, (variable, value) in _tensors(beside).items()}
    own = {name: value for name, value in given.items() if name.startswith(f"{layer}.")}
    for name in sorted(wanted.keys() ^ own.keys()):
        where = "has it, the settings do not ask for it" if name in own else "lacks it"
        raise UserError(f"config.adaptation.start={folder}: it is of other matrices: {name}: the folder {where}. Its "
                        f"target_modules are {stated.get('target_modules')}; set config.adaptation.targets to the same.")
    for name, (variable, value) in wanted.items():
        if own[name].shape != value.shape:
            raise UserError(f"config.adaptation.start={folder}: {name} has shape {own[name].shape} there, {value.shape} here.")
        variable.assign(own[name].astype(np.float32).T.reshape(variable.shape))
    return len(given) - len(own)


def _hub_name(backbone: str) -> str:
    """A backbone as Hugging Face's hub names it, where that is known; else as the config does."""
    return "sentence-transformers/all-MiniLM-L6-v2" if backbone == MINILM else backbone.removeprefix("hf://")


def _check(stated: dict, config: Adaptation, folder: Path) -> None:
    kind = stated.get("peft_type")
    if kind not in METHODS.values():
        raise UserError(f"config.adaptation.start={folder}: its peft_type is {kind}; "
                        f"{' and '.join(sorted({*METHODS.values()}))} can be read.")
    method = "dora" if stated.get("use_dora") else next(name for name in METHODS if METHODS[name] == kind)
    there = {"method": method}
    if method in LOW_RANK:
        there |= {"rank": stated.get("r"), "alpha": stated.get("lora_alpha"), "rank_stabilised": bool(stated.get("use_rslora"))}
    other = [f"--config.adaptation.{name}={value}" for name, value in there.items() if getattr(config, name) != value]
    if other:
        raise UserError(f"config.adaptation.start={folder} was made with other settings. Train with {' '.join(other)}")
    if str(stated.get("init_lora_weights")).startswith(CHANGING):
        raise UserError(f"config.adaptation.start={folder}: its init_lora_weights={stated['init_lora_weights']} has changed "
                        "the model's weights too. Have PEFT save it as a LoRA (path_initial_model_for_weight_conversion).")
    for name in ("rank_pattern", "alpha_pattern"):
        if stated.get(name):
            raise UserError(f"config.adaptation.start={folder}: its {name} gives layers settings of their own; here all have "
                            "the same.")


def _named(backbone) -> dict[str, Beside]:
    """What stands in the places of matrices, by Hugging Face's names for these."""
    if type(backbone) not in LAYOUTS:
        known = ", ".join(kind.__name__ for kind in LAYOUTS)
        raise UserError(f"PEFT's layout is known for {known}; this backbone is a {type(backbone).__name__}. Use tfft's own: "
                        "--format=adapter.")
    where, names = LAYOUTS[type(backbone)]
    made = {}
    for number, layer in enumerate(sections(backbone)[1]):
        for place in places(layer):
            if isinstance(place.layer, Beside):
                made[f"{where}.{number}.{names[place.path.partition('/')[2].removesuffix('_adapted')]}"] = place.layer
    return made


def _tensors(beside) -> dict[str, tuple]:
    """{PEFT's name: (variable, its value as PEFT has it)}; matrices are [outputs, inputs] there."""
    if hasattr(beside, "factors"):
        axis = 0 if beside.of_inputs else 1
        return {"ia3_l": (beside.factors, np.expand_dims(beside.factors.numpy(), axis))}
    if beside.values is not None:
        kept = _kept(beside)
        return {"lora_A.weight": (None, np.array(beside.left()).T[kept]), "lora_B.weight": (None, beside.b.numpy().T[:, kept])}
    made = {"lora_A.weight": (beside.a, beside.a.numpy().T), "lora_B.weight": (beside.b, beside.b.numpy().T)}
    if beside.magnitude is not None:
        made["lora_magnitude_vector.weight"] = (beside.magnitude, beside.magnitude.numpy())
    return made


def _kept(beside) -> np.ndarray:
    """Places of AdaLoRA's values that are left; the first one where there are none, as PEFT has no rank of 0."""
    kept = np.flatnonzero(beside.values.numpy())
    return kept if len(kept) else np.arange(1)
