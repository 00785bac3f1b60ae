"""Parameter-efficient fine-tuning: the method, its size, and where in the backbone it acts."""

import dataclasses

from tfft.config.schema import setting
from tfft.errors import UserError

LOW_RANK = ("lora", "dora")
MERGED = (*LOW_RANK, "ia3")  # methods after which the matrices can be changed so that they do the same alone
BESIDE_MATRICES = (*MERGED, "adapters")  # methods that put layers around matrices
# method -> the matrices it acts on where `targets` is (): globs of their names, or of the layers they are in
USUAL = {"lora": ("*",), "dora": ("*",), "ia3": ("key", "value", "*output_dense"),
         "adapters": ("attention_output", "*feedforward_output_dense")}


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """The backbone's own weights stay as they are; few new ones are trained beside them, and the head."""

    method: str = setting("none", "lora (Hu et al. 2022), dora (Liu et al. 2024), ia3 (Liu et al. 2022), adapters (Houlsby et "
                                  "al. 2019), prefix (Li & Liang 2021), bitfit: the biases alone (Ben Zaken et al. 2022); "
                                  "none: the weights themselves",
                          choices=("none", *BESIDE_MATRICES, "prefix", "bitfit"))
    targets: tuple[str, ...] = setting((), "matrices that it acts on, by glob: 'query', 'feedforward*', 'transformer_layer_5/*'"
                                           "; () is the method's usual choice, for lora and dora all matrices of a layer")
    rank: int = setting(8, "lora, dora: rank of the update", low=1, high=1024)
    alpha: float = setting(16.0, "lora, dora: the update is multiplied by alpha / rank", low=0.001, high=10000)
    rank_stabilised: bool = setting(False, "lora, dora: multiplied by alpha / sqrt(rank) instead (Kalajdzievski 2023)")
    dropout: float = setting(0.0, "lora, dora: dropout before the update", low=0, high=0.9)
    bottleneck: int = setting(64, "adapters, prefix: their inner width", low=1, high=65536)
    prefix: int = setting(16, "prefix: keys and values before those of the tokens, in each layer", low=1, high=1024)
    start: str = setting("", "folder of an adapter to start from, that tfft export --format=adapter or PEFT (lora, dora, ia3) "
                             "wrote")
    rate: float = setting(10.0, "learning rate of all that is trained, the head too, as a multiple of train."
                                "peak_learning_rate: few new weights take more than pretrained ones", low=0.01, high=10000)


def check(e) -> None:
    """Raises: UserError where the settings do not fit together, or with others."""
    if e.adaptation.method == "none":
        changed = [field.name for field in dataclasses.fields(Adaptation)
                   if getattr(e.adaptation, field.name) != field.default]
        if changed:
            raise UserError(f"config.adaptation.{changed[0]} does nothing without a method: set config.adaptation.method, for "
                            "example to lora.")
        return
    if e.model.frozen_layers == -1:
        raise UserError(f"config.adaptation.method={e.adaptation.method} acts on the layers of the backbone, of which "
                        "config.model.frozen_layers=-1 lets none be changed. Set one of the two.")
    if e.adaptation.targets and e.adaptation.method not in BESIDE_MATRICES:
        raise UserError(f"config.adaptation.targets names matrices; {e.adaptation.method} acts on all "
                        f"{'biases' if e.adaptation.method == 'bitfit' else 'keys and values'}. Leave it empty.")
