"""One training step, written for N replicas: local gradients, one all-reduce, unscale, finite check, clip, one update."""

import contextlib

import orbit
import tensorflow as tf

from tfft.config import Train
from tfft.models.adaptation import sections
from tfft.models.kernels import dropout_per_replica, fast_cpu, on_cpu, shape_of
from tfft.models.nudged import NUDGE, nudged
from tfft.models.remat import rematerialised
from tfft.models.tpu_kernels import lean_tpu
from tfft.training.optimizer import AdamW
from tfft.training.schedules import learning_rate


class Trainer(orbit.StandardTrainer):
    """Orbit's inner loop. Batches are what tfft.data.pipeline.dataset yields; loss_weights already carry
    1 / (sum over the global batch), so the summed loss of all replicas is the global mean.

    whole_batch: the loss of an example depends on the outputs of all; see `_whole_batch_gradients`.
    xla: XLA compiles a replica's step, as it must on a TPU; its shapes then follow from the batch's, which are static.
    halves: the shorter half of a batch's sequences and the longer one are computed apart, each no longer than it need be:
    not for XLA, whose shapes would not be static.
    forward: what makes the outputs of a batch's inputs, if that is not the model; its trained weights are the model's."""

    def __init__(self, model, optimizer: AdamW, loss, config: Train, *, dataset, global_step: tf.Variable,
                 total_steps: int, strategy, use_loop: bool, xla: bool = False, whole_batch: bool = False,
                 halves: bool = False, forward=None):
        options = orbit.StandardTrainerOptions(use_tf_while_loop=use_loop)
        super().__init__(dataset, options)
        self._model, self._optimizer, self._loss, self._config = model, optimizer, loss, config
        self._strategy, self._total_steps, self._xla, self._whole_batch = strategy, total_steps, xla, whole_batch
        self._halves, self._forward = halves, forward or model
        self._nudged = nudged(model) if config.fgm and loss else None  # of several tasks each has its own
        self._again = sections(model)[1] if config.remat and loss else []  # layers that are computed twice
        self.global_step = global_step
        self._variables = model.trainable_variables
        self._loss_scale = optimizer.loss_scale  # None but for float16
        self._sums = [tf.Variable(0.0, trainable=False, name=name) for name in ("loss_sum", "norm_sum")]
        self._steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._rate = tf.Variable(0.0, trainable=False)
        self._task_sums: dict[str, tuple[tf.Variable, float]] = {}  # of several: name -> (sum of its losses, its share)
        self.first_bad_step = tf.Variable(-1, dtype=tf.int64, trainable=False)

    def train_loop_begin(self):
        for variable in (*self._sums, self._steps, *(total for total, _ in self._task_sums.values())):
            variable.assign(tf.zeros_like(variable))

    @tf.autograph.experimental.do_not_convert  # it takes as long again as tracing, and nothing here needs it
    def train_step(self, iterator):
        made = self._strategy.run(self._replica_step, args=(tf.nest.map_structure(next, iterator),))
        loss, norm, rate, *of_tasks = (self._strategy.experimental_local_results(v)[0] for v in made)
        bad, counted = ~(tf.math.is_finite(loss) & tf.math.is_finite(norm)), 1
        if self._loss_scale is not None:  # a step that was skipped is in no mean, and is bad only where no scale helps
            loss, norm, *of_tasks = (tf.where(bad, 0.0, v) for v in (loss, norm, *of_tasks))
            counted = tf.cast(~bad, tf.int64)
            bad = self._loss_scale.update(~bad)
        self.first_bad_step.assign(tf.where(bad & (self.first_bad_step < 0), self.global_step, self.first_bad_step))
        self._sums[0].assign_add(loss)
        self._sums[1].assign_add(norm)
        for (total, _), value in zip(self._task_sums.values(), of_tasks, strict=True):
            total.assign_add(value)
        self._steps.assign_add(counted)
        self._rate.assign(rate)
        self.global_step.assign_add(1)

    def train_loop_end(self):
        steps = tf.cast(self._steps, tf.float32)
        more = {}
        if self._loss_scale is not None:
            more = {"updates": steps + 0.0, "loss_scale": self._loss_scale.scale + 0.0,
                    "skipped_steps": self._loss_scale.skipped_steps + 0}
            steps = tf.maximum(steps, 1.0)
        more |= {f"{name}/loss": total / steps / share for name, (total, share) in self._task_sums.items() if share}
        return {"loss": self._sums[0] / steps, "gradient_norm": self._sums[1] / steps, "learning_rate": self._rate + 0.0,
                **more}

    def _replica_step(self, batch):
        """Returns (global loss, global gradient norm before clipping, learning rate, of several tasks their part of the loss),
        float32[] each."""
        loss, gradients, *of_tasks = self._local_gradients(batch)
        if self._strategy.num_replicas_in_sync > 1:
            dense, tasks = [tf.convert_to_tensor(g) for g in gradients], len(of_tasks)
            loss, *summed = tf.distribute.get_replica_context().all_reduce("SUM", [loss, *of_tasks, *dense])
            of_tasks, gradients = summed[:tasks], summed[tasks:]
        with tf.name_scope("optimizer"):
            return loss, *self._updated(loss, gradients), *of_tasks

    def _updated(self, loss, gradients) -> tuple:
        """Updates the weights by the gradients of all replicas: (their norm before clipping, learning rate)."""
        gradients = [_summed(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
        if self._loss_scale is not None:
            gradients = [_scaled(g, 1 / self._loss_scale.scale) for g in gradients]
        norm = tf.linalg.global_norm(gradients)
        if self._config.clip_norm:
            scale = self._config.clip_norm / tf.maximum(norm, self._config.clip_norm)
            gradients = [_scaled(g, scale) for g in gradients]
        rate = learning_rate(self.global_step, self._config, self._total_steps)
        if self._loss_scale is None:
            self._optimizer.apply(gradients, self.global_step, rate)
        else:  # moments have seen no skipped step, so their bias correction counts none
            self._optimizer.apply(gradients, self.global_step - self._loss_scale.skipped_steps, rate,
                                  when=tf.math.is_finite(loss) & tf.math.is_finite(norm))
        return norm, rate

    def _local_gradients(self, batch):
        """This replica's part of the loss and of the gradients (float16: times the loss scale), with what is asked of weights
        whatever the batch is; of several tasks the part of each in the loss besides."""
        loss, gradients, *of_tasks = self.of_batch(batch)
        share = 1 / self._strategy.num_replicas_in_sync
        slope = share if self._loss_scale is None else share * self._loss_scale.scale
        if self._optimizer.budget:
            loss, gradients = self._optimizer.budget.penalised(loss, list(gradients), share, slope)
        if self._optimizer.anchor:
            loss, gradients = self._optimizer.anchor.penalised(self._variables, loss, list(gradients), share, slope)
        if self._config.l2:
            for i, (variable, decayed) in enumerate(zip(self._variables, self._optimizer.decayed, strict=True)):
                if decayed:
                    gradients[i] = tf.convert_to_tensor(gradients[i]) + self._config.l2 * slope * variable.value
                    loss += self._config.l2 * share * tf.nn.l2_loss(variable.value)
        return loss, gradients, *of_tasks

    def of_batch(self, batch) -> tuple:
        """(this replica's part of the loss on a batch, of the gradients), summed over micro-batches; of several tasks the part
        of each in the loss besides."""
        if self._whole_batch:
            return self._whole_batch_gradients(batch)
        if self._config.accumulation == 1:
            return self._gradients(batch)
        loss, *gradients = self._summed_over_parts(batch, self._gradients)
        return loss, gradients

    def _summed_over_parts(self, batch, gradients_of) -> list:
        """[loss, *gradients], summed over micro-batches: gradients_of(part) -> (loss, gradients)."""
        parts = self._config.accumulation
        batches = tf.nest.map_structure(lambda t: _in_parts(t, parts), batch)

        def body(i, loss, *sums):
            part = tf.nest.map_structure(lambda t: tf.gather(t, i), batches)
            part_loss, part_gradients = gradients_of(part)
            dense = [tf.convert_to_tensor(g) for g in part_gradients]
            return (i + 1, loss + part_loss, *(s + g for s, g in zip(sums, dense, strict=True)))

        zeros = [tf.zeros(v.shape) for v in self._variables]
        return tf.while_loop(lambda i, *_: i < parts, body, [tf.constant(0), tf.constant(0.0), *zeros],
                             parallel_iterations=1)[1:]

    @contextlib.contextmanager
    def _arithmetic(self):
        """Inside, layers compute as a step does."""
        kernels = lean_tpu() if self._xla else fast_cpu(on_cpu())
        with kernels, dropout_per_replica(self._strategy.num_replicas_in_sync > 1):
            yield

    def _outputs(self, inputs, forward=None):
        with self._arithmetic(), rematerialised(self._again, self._arithmetic, self._xla):
            forward = forward or self._forward
            return self._of_halves(inputs, forward) if self._halves else forward(inputs, training=True)

    def _of_halves(self, inputs, forward):
        """The outputs of all sequences in their order: queries are short, what they look for is long."""
        lengths = tf.reduce_sum(inputs["padding_mask"], axis=1)
        order = tf.argsort(lengths, stable=True)
        middle, made = tf.size(order) // 2, []
        for rows in (order[:middle], order[middle:]):
            longest = tf.maximum(tf.reduce_max(tf.gather(lengths, rows)), 1)
            part = {name: tf.gather(value, rows)[:, :longest] for name, value in inputs.items()}
            made.append(forward(part, training=True))
        return tf.gather(tf.concat(made, axis=0), tf.math.invert_permutation(order))

    def _gradients(self, batch):
        if self._nudged is not None:
            return self._adversarial_gradients(batch)
        inputs, targets, weights, _ = batch
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self._loss(targets, self._outputs(inputs)) * weights)
        scale = None if self._loss_scale is None else self._loss_scale.scale + 0.0
        return loss, self._back(tape, loss, scale)

    def _adversarial_gradients(self, batch):
        """Half of the batch's, and half of the same batch's whose embeddings are moved to where the loss of each example is
        higher: by `fgm` of their length, in the direction of that loss's slope (Miyato et al. 2017, equation 6). A direction is
        one example's own, so that replicas and micro-batches change nothing."""
        inputs, targets, weights, _ = batch
        still = tf.zeros([*shape_of(inputs["token_ids"]), self._nudged.input[NUDGE].shape[-1]])
        scale = 0.5 if self._loss_scale is None else self._loss_scale.scale / 2

        def passed(nudge):
            with tf.GradientTape() as tape:
                tape.watch(nudge)
                outputs = self._outputs({**inputs, NUDGE: nudge}, self._nudged)
                loss = tf.reduce_sum(self._loss(targets, outputs) * weights)
            return loss, *self._back(tape, loss, scale, [nudge])

        loss, *gradients, slope = passed(still)
        length = tf.sqrt(tf.reduce_sum(tf.square(slope), axis=[1, 2], keepdims=True))
        worse, *others, _ = passed(self._config.fgm * tf.math.divide_no_nan(slope, length))
        return (loss + worse) / 2, [added(pair) for pair in zip(gradients, others, strict=True)]

    def _back(self, tape: tf.GradientTape, made, slopes, also: list | None = None) -> list:
        """Gradients of the variables, and of what else is named, from those of what was made of them; None is 1."""
        with tf.name_scope("backward"):  # as tfft.training.profiling finds it
            gradients = tape.gradient(made, [*(v.value for v in self._variables), *(also or [])], output_gradients=slopes)
        # an embedding's are sparse, and how many rows of it a batch names is no static shape
        return [tf.convert_to_tensor(g) for g in gradients] if self._xla else gradients

    def _whole_batch_gradients(self, batch):
        """The same where the loss is one of all the global batch's outputs Z: every replica gathers Z, has dloss/dZ, and
        takes its own part of it back through its own outputs. Nothing is differentiated through the exchange.

        With micro-batches Z is computed first, without gradients, and each of them again for its part (Gao et al. 2021,
        "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", section 3.2), with the dropout masks that it
        had before: memory is that of one.
        """
        inputs, targets, weights, _ = batch
        parts = self._config.accumulation
        if parts == 1:
            with tf.GradientTape() as tape:
                outputs = self._outputs(inputs)
            loss, slopes = self._slopes(targets, outputs, weights)
            return loss, self._back(tape, outputs, slopes)

        seeds = [v.value for v in self._model.variables if "seed_generator" in v.path]
        before = [tf.identity(seed) for seed in seeds]
        loss, slopes = self._slopes(targets, self._outputs_of_parts(inputs), weights)
        for seed, value in zip(seeds, before, strict=True):
            seed.assign(value)

        def again(part):
            inputs, slopes = part
            with tf.GradientTape() as tape:
                outputs = self._outputs(inputs)
            return 0.0, self._back(tape, outputs, slopes)

        return loss, self._summed_over_parts((inputs, slopes), again)[1:]

    def _outputs_of_parts(self, inputs) -> tf.Tensor:
        """The outputs of a batch, one micro-batch after another."""
        parts = self._config.accumulation
        batches = tf.nest.map_structure(lambda t: _in_parts(t, parts), inputs)

        def body(i, made):
            return i + 1, made.write(i, self._outputs(tf.nest.map_structure(lambda t: tf.gather(t, i), batches)))

        _, made = tf.while_loop(lambda i, _: i < parts, body, [tf.constant(0), tf.TensorArray(tf.float32, size=parts)],
                                parallel_iterations=1)
        outputs = made.stack()
        return tf.reshape(outputs, [-1, outputs.shape[-1]])

    def _slopes(self, targets, outputs: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(this replica's part of the loss, the gradient of the whole loss with respect to its outputs float32[b*K,D])."""
        replicas, context = self._strategy.num_replicas_in_sync, tf.distribute.get_replica_context()
        if replicas > 1:
            targets, outputs, weights = tf.nest.map_structure(_gathered, (targets, outputs, weights))
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            loss = tf.reduce_sum(self._loss(targets, outputs) * weights)
        scale = None if self._loss_scale is None else self._loss_scale.scale + 0.0
        slopes = tape.gradient(loss, outputs, output_gradients=scale)
        if replicas > 1:
            slopes = tf.gather(tf.reshape(slopes, [replicas, -1, slopes.shape[-1]]), context.replica_id_in_sync_group)
        return loss / replicas, slopes


def _gathered(t: tf.Tensor) -> tf.Tensor:
    """[b, ...] of every replica -> [b x replicas, ...] in their order; `all_gather` forgets what is static of it."""
    context = tf.distribute.get_replica_context()
    rows = None if t.shape[0] is None else t.shape[0] * context.num_replicas_in_sync
    return tf.ensure_shape(context.all_gather(t, axis=0), [rows, *t.shape[1:]])


def _in_parts(t: tf.Tensor, parts: int) -> tf.Tensor:
    """[B, ...] -> [parts, B / parts, ...], static where B is."""
    sizes = shape_of(t)
    return tf.reshape(t, [parts, sizes[0] // parts, *sizes[1:]])


def _summed(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    """An embedding's gradient with each row once: small still, so that its norm and its scaling cost nothing.

    indices [4, 1, 4], values [a, b, c] -> indices [4, 1], values [a + c, b]
    """
    rows, place = tf.unique(gradient.indices)
    return tf.IndexedSlices(tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows)), rows, gradient.dense_shape)


def added(gradients: list):
    """The sum; of an embedding's sparse ones a sparse one, that may name a row several times."""
    if len(gradients) == 1:
        return gradients[0]
    if all(isinstance(g, tf.IndexedSlices) for g in gradients):
        return tf.IndexedSlices(tf.concat([g.values for g in gradients], 0), tf.concat([g.indices for g in gradients], 0),
                                gradients[0].dense_shape)
    return tf.add_n([tf.convert_to_tensor(g) for g in gradients])


def _scaled(gradient, scale: tf.Tensor):
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(gradient.values * scale, gradient.indices, gradient.dense_shape)
    return gradient * scale
