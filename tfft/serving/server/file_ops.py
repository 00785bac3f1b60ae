"""Refuses graphs that read or write files, or call Python or other machines: a SavedModel is a program."""

import re

# Operations of TensorFlow 2.20 that touch files, streams, Python or the network. Reading a model's own variables is
# the loader's work and is not among what a signature reaches.
REFUSED = re.compile(
    r"(Read|Write|Matching)Files?|MatchingFilesDataset|(Experimental)?(LMDB|Sql|CSV|MatchingFiles)Dataset(V\d)?|"
    r"(TextLine|FixedLengthRecord|TFRecord|WholeFile|LMDB)Reader(V\d)?|(TextLine|FixedLengthRecord|TFRecord|Cache)Dataset(V\d)?|"
    r"(Experimental)?DatasetToTFRecord|(Save|Load|Snapshot)Dataset(V\d)?|\w*Snapshot\w*(Dataset|Reader|Chunk)\w*|RecordInput|"
    r"Save(V2|Slices)?|DistributedSave|Restore(V2|Slice)?|MergeV2Checkpoints|LoadAndRemapMatrix|FileSystemSetConfiguration|"
    r"ImmutableConst|InitializeTableFromTextFile(V2)?|CreateSummary(File|Db)Writer|ImportEvent|Print(V2)?|"
    r"Debug(Identity|NanCount|NumericSummary|Gradient)\w*|(Eager)?PyFunc(Stateless)?|RemoteCall|Rpc\w*|DataService\w*|"
    r"Collective\w+|_(Host)?(Send|Recv)|LoadLibrary\w*|RegisterDataset(V2)?|GenerateVocabRemapping")
RESTORING = re.compile(r"Restore(V2|Slice)?")


def refused_ops(meta_graph) -> list[str]:
    """['ReadFile in function lookup', ...] of a MetaGraphDef: what its signatures, its start or its restoring reach.

    Restoring may read checkpoints; nothing else may. What saves variables is there in every SavedModel and runs never.
    """
    started = [tensor.name for signature in meta_graph.signature_def.values() for tensor in signature.outputs.values()]
    for key in ("saved_model_main_op", "legacy_init_op", "main_op"):
        if key in meta_graph.collection_def:
            started += meta_graph.collection_def[key].node_list.value
    found = {f"{op} in {place}": None for op, place in _reached(meta_graph, started) if REFUSED.fullmatch(op)}
    for op, place in _reached(meta_graph, [meta_graph.saver_def.restore_op_name]):
        if REFUSED.fullmatch(op) and not RESTORING.fullmatch(op):
            found[f"{op} in {place}"] = None
    return list(found)


def _reached(meta_graph, names: list[str]):
    """(operation, where it is) of all that the named nodes or tensors depend on, functions called included."""
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    seen, called, waiting = set(), set(), list(names)
    todo = []
    while waiting:
        name = re.sub(r"^\^|:\d+$", "", waiting.pop())
        if name in nodes and name not in seen:
            seen.add(name)
            todo.append((nodes[name], f"node {name}"))
            waiting.extend(nodes[name].input)
    while todo:
        node, place = todo.pop()
        yield node.op, place
        names = [node.op]
        for value in node.attr.values():
            names += [value.func.name] if value.HasField("func") else [f.name for f in value.list.func]
        for name in functions.keys() & set(names) - called:
            called.add(name)
            todo += [(inner, f"function {name}") for inner in functions[name].node_def]
