"""What is served: the answers to GetModelStatus, GetModelMetadata and GET /v1/models."""

from google.protobuf import json_format
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

from tfft.serving.server.models import Models
from tfft.serving.server.refusal import Code, Refusal
from tfft.vectors.folder import Index


def status(models: Models, name: str, version: int | None = None, label: str = "") -> GetModelStatusResponse:
    """The state of a model's versions, newest first. Raises: Refusal."""
    if name not in models.by_name:
        raise Refusal(Code.NOT_FOUND, f"Could not find any versions of model {name}")
    model = models.by_name[name]
    if label:
        version = model.labelled(label)
    chosen = sorted(model.states, reverse=True) if version is None else [version]
    made = GetModelStatusResponse()
    for number in chosen:
        if number not in model.states:
            raise Refusal(Code.NOT_FOUND, f"Could not find version {number} of model {name}")
        state = model.states[number]
        entry = made.model_version_status.add(version=number, state=state.state)
        entry.status.error_code, entry.status.error_message = state.code.number, state.message
    return made


def metadata(models: Models, name: str, version: int | None = None, label: str = "") -> GetModelMetadataResponse:
    """The signatures of a served version. Raises: Refusal."""
    found, _ = models.find(name, version, label)
    made = GetModelMetadataResponse()
    made.model_spec.name = name
    made.model_spec.version.value = found.number
    signatures = SignatureDefMap()
    for key, signature in found.signatures.items():
        signatures.signature_def[key].CopyFrom(signature.definition)
    made.metadata["signature_def"].Pack(signatures)
    return made


def metadata_json(response: GetModelMetadataResponse) -> dict:
    """As TF Serving prints it: the packed signatures unpacked in their place."""
    signatures = SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    return {"model_spec": json_format.MessageToDict(response.model_spec, **options),
            "metadata": {"signature_def": json_format.MessageToDict(signatures, **options)}}


def listing(models: Models, indexes: dict[str, Index]) -> dict:
    """{"models": [{"name", "versions", "labels", "signatures", "page"}]}: this server's own, for the page. "documents":
    how many are in a model's index, where it has one. "object" and "data" are OpenAI's."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "tfft"}
                                       for name in models.by_name],
            "models": [{"name": name, "versions": sorted(model.loaded, reverse=True), "labels": model.labels,
                        "signatures": sorted(model.loaded[model.newest].signatures) if model.loaded else [],
                        "page": model.loaded[model.newest].page if model.loaded else {},
                        **({"documents": len(indexes[name])} if name in indexes else {})}
                       for name, model in models.by_name.items()]}
