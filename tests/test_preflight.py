"""The preflight: names, bounds, traffic, refusals, the search for a batch, the report; the real compiler where there is one."""

import dataclasses
import json
import os
import stat
import sys
from pathlib import Path

import commands
import pytest
import tensorflow as tf

from tfft.errors import UserError
from tfft.run.tpu_check import Options, choose
from tfft.tpu import compile_step, traffic
from tfft.tpu.chips import CHIPS, GIB, parse_tpu
from tfft.tpu.compiler import Compiled, Compiler
from tfft.tpu.refusals import Refusal, layer, refusal
from tfft.tpu.report import Bucket, Report
from tfft.tpu.roofline import bound, largest_batch

# ---- names


@pytest.mark.parametrize("name, generation, replicas", [("v5e-8", "v5e", 8), ("V6E-4", "v6e", 4), ("v5litepod-16", "v5e", 16),
                                                        ("v4-8", "v4", 4), ("v5p-2", "v5p", 1)])
def test_tpu_names(name, generation, replicas):
    tpu = parse_tpu(name)
    assert (tpu.chip.name, tpu.replicas) == (generation, replicas)


@pytest.mark.parametrize("name, message", [
    ("v5ee-8", "--tpu=v5ee-8: Unknown TPU generation 'v5ee'. Did you mean 'v5e'? Known: v4, v5e, v5p, v6e."),
    ("v5e", "write generation-size, for example v4-8"), ("v4-3", "counts TensorCores, 2 a chip"),
    ("v6e-0", "at least one chip"), ("", "is no TPU's name")])
def test_tpu_names_mistaken(name, message):
    with pytest.raises(UserError) as error:
        parse_tpu(name)
    assert message in str(error.value)


# ---- bounds

def test_bound_by_hand():
    made = bound(CHIPS["v5e"], 4, rows=8, flops=197e9, hbm_bytes=1638e6, gradient_bytes=400e6)
    assert made.compute == pytest.approx(1e-3)  # 197 GFLOP at 197 TFLOP/s
    assert made.memory == pytest.approx(2e-3)  # 1.638 GB at 819 GB/s
    assert made.network == pytest.approx(3e-3)  # 2 x 3/4 x 0.4 GB at 200 GB/s
    assert (made.binds, made.step) == ("all-reduce", made.network)
    assert made.examples_per_second == pytest.approx(32 / 3e-3)


def test_bound_of_one_replica_has_no_all_reduce():
    made = bound(CHIPS["v4"], 1, rows=8, flops=275e9, hbm_bytes=600e6, gradient_bytes=400e6)
    assert made.network == 0 and made.binds == "compute" and made.step == pytest.approx(1e-3)


def fits_up_to(limit, each, fixed, calls):
    def fits(rows):
        calls.append(rows)
        return fixed + each * rows, limit
    return fits


def test_largest_batch_of_a_straight_line_takes_three_compiles():
    calls = []
    assert largest_batch(fits_up_to(1000, 2, 100, calls), 4, 8) == (448, 0)  # 100 + 2 x 450 = 1000, rounded down to 8s
    assert calls == [4, 32, 448]


def test_largest_batch_of_a_bent_line_is_found_by_compiling():
    calls = []

    def fits(rows):  # what the chip hides at small batches it needs at large ones
        calls.append(rows)
        return 100 + rows + 2 * max(0, rows - 100), 1000

    best, worst = largest_batch(fits, 8, 8)
    assert len(calls) <= 4 and fits(best)[0] <= 1000 < fits(worst)[0]
    assert best >= 0.9 * 366  # 100 + r + 2 (r - 100) = 1000


def test_largest_batch_where_the_first_does_not_fit():
    best, worst = largest_batch(fits_up_to(1000, 10, 0, calls := []), 256, 8)
    assert best == 96 and worst == 256 and calls == [256, 32, 96]


def test_largest_batch_where_none_fits():
    assert largest_batch(fits_up_to(10, 1, 100, []), 64, 8) == (0, 8)


# ---- traffic

HLO = """HloModule step, is_scheduled=true

%fused (p.0: f32[100,384], p.1: s32[16]) -> f32[16,384] {
  %p.0 = f32[100,384]{1,0:T(8,128)} parameter(0)
  %p.1 = s32[16]{0:T(128)} parameter(1)
  ROOT %gather.1 = f32[16,384]{1,0:T(8,128)S(1)} gather(%p.0, %p.1), offset_dims={1}
}

ENTRY %main (a.1: f32[100,384], b.1: s32[16]) -> f32[16,384] {
  %a.1 = f32[100,384]{1,0:T(8,128)} parameter(0)
  %b.1 = s32[16]{0:T(128)} parameter(1)
  %table = f32[16,384]{1,0:T(8,128)S(1)} fusion(%a.1, %b.1), kind=kCustom, calls=%fused, metadata={op_name="m/embedding/Gather"}
  %copy-start = (f32[16,384]{1,0:T(8,128)}, f32[16,384]{1,0:T(8,128)S(1)}, u32[]{:S(2)}) copy-start(%table)
  %copy-done = f32[16,384]{1,0:T(8,128)} copy-done(%copy-start)
  %near = f32[16,384]{1,0:T(8,128)S(1)} negate(%table), metadata={op_name="m/near/Neg"}
  ROOT %sum = f32[16,384]{1,0:T(8,128)} add(%copy-done, %near), metadata={op_name="m/sum/Add"}, cost={"estimated_cycles":"70"}
}
"""


@pytest.mark.parametrize("shape, size", [
    ("f32[100,384]{1,0:T(8,128)}", 104 * 384 * 4), ("bf16[3,130]{1,0:T(8,128)(2,1)}", 8 * 256 * 2), ("f32[]", 4),
    ("pred[4,2,100]{0,2,1:T(8,128)(4,1)}", 2 * 104 * 128), ("(f32[8,128]{1,0}, u32[]{:S(2)})", 4096),
    ("f32[8,128]{1,0:S(1)}", 0), ("bf16[1536]{0:T(1024)(128)(2,1)}", 2048 * 2)])
def test_bytes_of_shapes_by_hand(shape, size):
    assert traffic.hbm_bytes(shape) == size


def test_traffic_by_hand():
    moved = traffic.traffic(HLO)
    row = 16 * 384 * 4
    # a gather reads the rows that it takes and its indices (a tile of 128); what stays in VMEM costs nothing
    assert moved == {"m/embedding/Gather": row + 512, "copy-start": row, "m/near/Neg": 0, "m/sum/Add": 2 * row}
    assert traffic.cycles(HLO) == 70


# ---- refusals

TENSORFLOW_SAYS = """Failed getting HLO text: 'Detected unsupported operations when trying to compile graph \
__inference_f_21[] on XLA_CPU_JIT: \
PyFunc (No registered 'PyFunc' OpKernel for XLA_CPU_JIT devices compatible with node {{node \
classifier_1/bert_backbone_1/transformer_layer_3_1/self_attention_layer_1/PyFunc}}){{node \
classifier_1/bert_backbone_1/transformer_layer_3_1/self_attention_layer_1/PyFunc}}
The op is created at: """


def test_refusal_of_an_op_names_it_and_its_layer():
    found = refusal(TENSORFLOW_SAYS)
    assert (found.op, found.layer) == ("PyFunc", "classifier/bert_backbone/transformer_layer_3/self_attention_layer")
    assert str(found).startswith(f"PyFunc in {found.layer}: XLA has no such op")


# libtpu 0.0.42.1 on tf.signal.fft of complex128, and on a product of two matrices of 60,000 x 60,000
LIBTPU_SAYS = """INVALID_ARGUMENT: during context [pre-optimization]: Unexpected operand type for FFT: c128[64]{0}
\t

Suspected Python Code Location:
  site-packages/tensorflow/python/framework/ops.py:1221"""
LIBTPU_SAYS_OF_MEMORY = ("RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (40.25G) "
                         "exceeds available HBM (15.75G).")


def test_refusal_of_the_tpu_compiler_finds_the_layer_of_the_op():
    stablehlo = """#loc7 = loc("classifier_1/odd_layer_1/FFT")
    %5 = stablehlo.convert %4 : (tensor<64xf64>) -> tensor<64xcomplex<f64>> loc("classifier_1/Cast")
    %6 = stablehlo.fft %5, type = FFT, length = [64] : (tensor<64xcomplex<f64>>) -> tensor<64xcomplex<f64>> loc(#loc7)"""
    places = compile_step.places(stablehlo)
    assert places == {"convert": "classifier_1/Cast", "fft": "classifier_1/odd_layer_1/FFT"}
    found = refusal(LIBTPU_SAYS, places)
    assert (found.op, found.layer) == ("fft", "classifier/odd_layer")
    assert str(found).startswith("fft in classifier/odd_layer: INVALID_ARGUMENT: during context")
    assert str(found).endswith("Unexpected operand type for FFT: c128[64]{0}")


@pytest.mark.parametrize("message", [
    LIBTPU_SAYS_OF_MEMORY, "Ran out of memory in memory space hbm. Used 40.25G of 15.75G hbm."])
def test_refusal_for_memory_says_how_much(message):
    found = refusal(message)
    assert (found.needed, found.available) == (int(40.25 * GIB), int(15.75 * GIB))
    assert str(found).startswith("needs 40.25 GiB of HBM where the compiler has 15.75 GiB")


def test_layers_of_op_names():
    assert layer("gradient_tape/classifier_1/transformer_layer_3_1/dense_1/MatMul/MatMul_1") == (
        "classifier/transformer_layer_3/dense/MatMul (backward)")
    assert layer("MatMul") == ""


# ---- the compiler's process

FAKE = """#!{python}
import json, sys
if sys.argv[-1] == "--versions":
    print(json.dumps({{"jax": "1", "libtpu": "2"}}))
    sys.exit()
open("{calls}", "a").write(sys.argv[-1] + " ")
hlo, answer, optimised = sys.argv[3:6]
if open(hlo, "rb").read() == b"crash":
    sys.exit("it fell")
open(optimised, "w").write(open("{hlo}").read())
json.dump({{"error": "", "seconds": 1.5, "flops": 7.0, "bytes_accessed": 9.0, "memory": {{
    "argument": 100, "output": 60, "alias": 50, "temp": 30, "generated_code": 2}}}}, open(answer, "w"))
"""


@pytest.fixture
def fake(tmp_path):
    """(a Python that answers as the compiler's would, the file that counts its calls)."""
    calls, hlo, python = tmp_path / "calls", tmp_path / "hlo.txt", tmp_path / "python"
    hlo.write_text(HLO)
    python.write_text(FAKE.format(python=sys.executable, calls=calls, hlo=hlo))
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return str(python), calls


def test_compiler_answers_and_remembers(fake, tmp_path):
    compiler = Compiler(fake[0], tmp_path / "cache")
    made, remembered = compiler.compile(b"step", CHIPS["v4"])
    assert (made.needed, made.flops, made.cycles, remembered) == (142, 7.0, 70, False)
    assert made.hbm_bytes == sum(traffic.traffic(HLO).values())
    again = compiler.compile(b"step", CHIPS["v4"])
    assert again == (made, True) and fake[1].read_text() == "v4:2x2x1 "
    assert not compiler.compile(b"other", CHIPS["v4"])[1] and not compiler.compile(b"step", CHIPS["v5e"])[1]


def test_compiler_that_dies_is_told(fake, tmp_path):
    with pytest.raises(UserError, match="ended without an answer: it fell"):
        Compiler(fake[0], tmp_path / "cache").compile(b"crash", CHIPS["v4"])


def test_compiler_that_is_absent_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be run"):
        Compiler(str(tmp_path / "python"), tmp_path)
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'jax'\" >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(UserError, match=r"No module named 'jax'.*pip install 'tfft\[preflight\]'"):
        Compiler(str(script), tmp_path)


def test_text_is_turned_into_what_a_tpu_gets():
    made = compile_step.as_on_tpu("%3 = mhlo.copy %2 : tensor<2xf32>\n"
                                  "%a, %b = stablehlo.rng_bit_generator %9, algorithm = THREE_FRY : (tensor<2xui64>)")
    assert made == ("%3 = stablehlo.optimization_barrier %2 : tensor<2xf32>\n"
                    "%a, %b = stablehlo.rng_bit_generator %9, algorithm = DEFAULT : (tensor<2xui64>)")


# ---- the report

def compiled(**changes) -> Compiled:
    mebibytes = {"argument": 300, "output": 200, "alias": 200, "temp": 210, "generated_code": 1}
    return Compiled(**{"seconds": 50.0, "flops": 197e9, "bytes_accessed": 5e9, "hbm_bytes": 819_000_000,
                       "memory": {part: size * 2**20 for part, size in mebibytes.items()}, **changes})


def test_report_in_words_and_as_json():
    broken = compiled(refusal=Refusal("no", needed=17 * GIB, available=15 * GIB), memory={})
    buckets = [Bucket(64, 8, 10, compiled(), True), Bucket(128, 8, 5, broken)]
    report = Report(parse_tpu("v5e-4"), 8_000_000, buckets, {96: 3}, (64, 80), {"jax": "1"})
    text = " ".join(report.text().split())
    assert "64 8 10 yes, 50 s (kept) 511 MiB 3.1% 197 819 MB 1.00 ms" in text and "32,000" in text
    assert "length 128: needs 17.00 GiB of HBM where the compiler has 15.00 GiB" in text
    assert "not compiled: 1 more lengths (96); --max_lengths=3 compiles all" in text
    assert "largest batch of a replica at length 128 64 fit, 80 do not" in text
    assert "8.0 MB, at least 0.06 ms" in text  # 2 x 3/4 x 8 MB at 200 GB/s
    assert "epoch" not in text and not report.compiles
    made = json.loads(json.dumps(report.json()))
    assert made["buckets"][0]["bound"]["step"] == pytest.approx(1e-3) and made["buckets"][0]["hbm_needed"] == 511 * 2**20
    assert made["buckets"][1]["refusal"]["needed"] == 17 * GIB and made["not_compiled"] == {"96": 3}
    assert made["largest_per_replica_batch"] == {"fits": 64, "too_large": 80}


def test_report_of_an_epoch_counts_its_steps():
    report = Report(parse_tpu("v5e-1"), 4, [Bucket(64, 8, 60_000, compiled()), Bucket(128, 8, 30_000, compiled())], {})
    assert "an epoch takes at least 1m 30s" in " ".join(report.text().split())


# ---- which lengths

@pytest.mark.parametrize("settings, chosen", [
    ({"max_lengths": 1}, [40]), ({"max_lengths": 2}, [24, 40]), ({"max_lengths": 3}, [16, 32, 40]),
    ({"max_lengths": 0}, [8, 16, 24, 32, 40]), ({"max_lengths": 5}, [8, 16, 24, 32, 40]), ({"lengths": (32, 8, 32)}, [8, 32])])
def test_lengths_chosen_end_with_the_longest_and_spread_over_the_steps(settings, chosen):
    shapes = {length: (4, 10) for length in (40, 8, 16, 24, 32)}
    assert choose(shapes, Options(parse_tpu("v4-8"), "python", **settings)) == chosen


def test_length_that_is_not_planned_is_told():
    with pytest.raises(UserError, match="--lengths=12: the plan has no batch of that length. It has 8, 16."):
        choose({8: (4, 1), 16: (4, 1)}, Options(parse_tpu("v4-8"), "python", lengths=(12,)))


# ---- several tasks

def test_step_of_several_tasks_has_one_shape_of_each(fake, thin_preset, tmp_path, capsys):
    """entities and pairs (two texts a row) in a step of 8 and 4, on two replicas."""
    from test_multi_task import config_of, write_rows

    from tfft.config import resolve_any
    from tfft.run.joint import prepare_tasks
    from tfft.run.tpu_check_tasks import JointStep, check_tasks, shapes_of_parts

    write_rows(tmp_path)
    config = resolve_any(config_of(tmp_path, thin_preset, "topics", train__accumulation=2))
    presets = dict.fromkeys(config.tasks, (thin_preset, tmp_path / "cache"))
    options = Options(parse_tpu("v5e-2"), fake[0], str(tmp_path / "report.json"), search_batch=False)
    assert check_tasks(config, presets, options) == 0
    out, made = " ".join(capsys.readouterr().out.split()), json.loads((tmp_path / "report.json").read_text())
    assert "a step has rows x tokens of each task: entities 4 x 16, pairs 2 x 16" in out
    assert made["tasks"]["pairs"] == {"rows_per_replica": 2, "length": 16}
    bucket, = made["buckets"]
    assert (bucket["length"], bucket["rows_per_replica"], bucket["steps"], bucket["compiles"]) == (16, 6, 7, True)
    with pytest.raises(UserError, match="The part of pairs in a step .* cannot be divided over 4 replicas x 2 micro-batches"):
        check_tasks(config, presets, dataclasses.replace(options, tpu=parse_tpu("v5e-4")))
    course = prepare_tasks(config, presets, print, tf.distribute.get_strategy(), dict.fromkeys(config.tasks))
    step = JointStep(course, shapes_of_parts(course, 2), None, options.tpu, print)
    assert step.multiple == 6 and [tuple(spec[0]["token_ids"].shape) for spec in step._spec(12, 16)] == [(8, 16), (8, 16)]


# ---- the command

def test_mistaken_name_is_told_at_once(tmp_path):
    _, error = commands.run(["preflight", "--tpu=v5x-8", f"--config={commands.ROOT}/configs/imdb.py"], str(tmp_path), code=2)
    assert "Unknown TPU generation 'v5x'. Did you mean" in error and "Traceback" not in error


def real_compiler() -> str:
    """The Python that has the TPU compiler, or a skipped test."""
    python = os.environ.get("TFFT_COMPILER_PYTHON") or sys.executable
    try:
        Compiler(python, Path())
    except UserError as error:
        pytest.skip(f"no TPU compiler (pip install 'tfft[preflight]', or TFFT_COMPILER_PYTHON): {error}"[:200])
    return python


@pytest.mark.slow
def test_whole_preflight_with_the_real_compiler(tiny_preset, reviews, tmp_path):
    python = real_compiler()
    run = [argument for argument in commands.arguments(tiny_preset, reviews, "")[1:] if not argument.startswith("--workdir")]
    command = ["preflight", *run, "--config.train.precision=mixed_bfloat16", "--tpu=v5e-2", "--max_lengths=1",
               "--nolargest_batch", f"--json={tmp_path / 'report.json'}", f"--compiler_python={python}"]
    out, _ = commands.run(command, str(tmp_path / "cache"))
    made = json.loads((tmp_path / "report.json").read_text())
    bucket, = made["buckets"]
    assert bucket["compiles"] and bucket["length"] == 24 and bucket["rows_per_replica"] == 8
    assert 0 < bucket["hbm_bytes"] and bucket["flops"] > 1e5 and bucket["estimated_cycles"] > 0
    assert made["gradient_bytes"] > 4000 and "not compiled: 2 more lengths (8, 16)" in out
    out, error = commands.run(command, str(tmp_path / "cache"))
    assert "(kept)" in out and "(remembered)" in error
