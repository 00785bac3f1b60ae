"""Parameter-efficient fine-tuning: the method, its size, and where in the backbone it acts."""

import dataclasses

from tfft.config.schema import setting
from tfft.errors import UserError

LOW_RANK = ("lora", "adalora", "dora")
MERGED = (*LOW_RANK, "ia3")  # methods after which the matrices can be changed so that they do the same alone
BESIDE_MATRICES = (*MERGED, "adapters")  # methods that put layers around matrices
SEEN = ("prefix", "prompt")  # those that put something before the tokens
# settings that a run has in common with one whose adapter it takes over
SHARED = ("method", "targets", "rank", "alpha", "rank_stabilised", "bottleneck", "prefix")
# method -> how many times `rate`. An update of AdaLoRA's orthonormal A and B grows by its values alone, LoRA's by all of B; the
# others have so few weights, each of which does so little, that they take more (docs/adapters.md: what was tried)
FASTER = {"adalora": 5, "prefix": 5, "bitfit": 5, "ia3": 20, "prompt": 20}
# method -> the matrices it acts on where `targets` is (): globs of their names, or of the layers they are in; of each the names
# that it has, the last one in Gemma
USUAL = {**dict.fromkeys(LOW_RANK, (("*",),)), "ia3": (("key",), ("value",), ("*output_dense", "ffw_linear")),
         "adapters": (("attention_output",), ("*feedforward_output_dense", "ffw_linear"))}


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """The backbone's own weights stay as they are; few new ones are trained beside them, and the head."""

    method: str = setting("none", "lora (Hu et al. 2022), adalora (Zhang et al. 2023), dora (Liu et al. 2024), ia3 (Liu et al. "
                                  "2022), adapters (Houlsby et al. 2019), prefix (Li & Liang 2021), prompt (Lester et al. "
                                  "2021), bitfit: the biases alone (Ben Zaken et al. 2022); none: the weights themselves",
                          choices=("none", *BESIDE_MATRICES, *SEEN, "bitfit"))
    targets: tuple[str, ...] = setting((), "matrices that it acts on, by glob: 'query', 'feedforward*', 'transformer_layer_5/*'"
                                           "; () is the method's usual choice, for the three low-rank ones all matrices of a "
                                           "layer")
    rank: int = setting(8, "lora, dora: rank of the update; adalora: the mean over matrices in the end, of one and a half "
                           "times as much first", low=1, high=1024)
    alpha: float = setting(16.0, "lora, adalora, dora: the update is multiplied by alpha / rank", low=0.001, high=10000)
    rank_stabilised: bool = setting(False, "lora, adalora, dora: multiplied by alpha / sqrt(rank) instead (Kalajdzievski 2023)")
    dropout: float = setting(0.0, "lora, adalora, dora: dropout before the update", low=0, high=0.9)
    bottleneck: int = setting(64, "adapters, prefix: their inner width", low=1, high=65536)
    prefix: int = setting(16, "how many come before the tokens; prefix: keys and values in each layer, prompt: vectors before "
                              "the lowest one", low=1, high=1024)
    prompt_text: str = setting("", "prompt: begins as this text, again and again; '' is common words, drawn from the seed")
    start: str = setting("", "folder of an adapter to start from, that tfft export --format=adapter or PEFT (lora, dora, ia3) "
                             "wrote")
    rate: float = setting(10.0, "learning rate of all that is trained, the head too, as a multiple of train."
                                "peak_learning_rate: few new weights take more than pretrained ones; adalora, prefix and "
                                "bitfit: five times that, ia3 and prompt: twenty times",
                          low=0.01, high=10000)

    @property
    def rate_used(self) -> float:
        """The multiple for this method."""
        return self.rate * FASTER.get(self.method, 1)


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
        raise UserError(f"config.adaptation.targets names matrices; {e.adaptation.method} acts on "
                        f"{'all biases' if e.adaptation.method == 'bitfit' else 'what comes before the tokens'}. Leave it "
                        "empty.")
    if e.adaptation.prompt_text and e.adaptation.method != "prompt":
        raise UserError("config.adaptation.prompt_text is what a prompt begins as; config.adaptation.method="
                        f"{e.adaptation.method} has none. Leave it empty, or set the method to prompt.")
    if e.adaptation.method == "prompt" and getattr(e.task, "pack", False):
        raise UserError("config.adaptation.method=prompt puts one prompt before a row, and config.task.pack=True several texts "
                        "into it. Set config.task.pack=False.")
