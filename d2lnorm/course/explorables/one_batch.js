// One channel of a batch: drag a value, and see which outputs of batch norm move.

export const spec = {
  values: { list: [0, 8], min: -1000, max: 1000, step: 0.1 },
  gamma: { min: -3, max: 3, step: 0.1 },
  beta: { min: -3, max: 3, step: 0.1 },
  eps: { options: [1e-5, 0.1, 1] },
  training: { flag: true },
  running_mean: { min: -1000, max: 1000 },
  running_var: { min: 0, max: 1e6 },
};

// Batch norm of the values: their mean and var, X_hat and Y; `refused` says why there is no output.
export function compute({ values, gamma, beta, eps, training, running_mean, running_var }) {
  if (!values.length) return { refused: "An empty batch: there is nothing to normalize. Add a value." };
  if (training && values.length === 1)
    return {
      refused:
        "One value is refused in training: it is its own mean, so its output would be beta, whatever it is. " +
        "PyTorch says: Expected more than 1 value per channel when training. Add a value, or switch to evaluation.",
    };
  const batch = { mean: mean(values), var: variance(values) };
  const used = training ? batch : { mean: running_mean, var: running_var };
  const X_hat = values.map((x) => (x - used.mean) / Math.sqrt(used.var + eps));
  return { ...batch, used, X_hat, Y: X_hat.map((x) => gamma * x + beta) };
}

// Which outputs moved since the hand took hold. Two values move by what eps does alone: that does not count.
const moves = (Y, held) =>
  held?.Y?.length === Y.length && Y.map((y, i) => Math.abs(y - held.Y[i]) > (Y.length === 2 ? 0.005 : 1e-6));

function sentence(result, moving, held, { values, training }) {
  if (result.refused) return result.refused;
  const { X_hat, Y } = result, n = Y.length, ask = "Drag a value: which outputs move?";
  if (!moving) return `${n} outputs. ${ask}`;
  const touched = values.filter((x, i) => !near(x, held.values[i])).length;
  const moved = sum(moving), far = Math.max(...X_hat) > 0.99 * Math.sqrt(n - 1);
  if (!touched) return moved ? `${moved} of ${n} outputs moved. ${ask}` : `${n} outputs. ${ask}`;
  const limit = !training || !far ? ""
    : n === 2 ? " Two values have X_hat -1 and 1, wherever they lie (but for eps)."
    : ` However far a value lies, its X_hat stays below root(n - 1) = ${fixed(Math.sqrt(n - 1))}.`;
  return `You moved ${touched} of ${n} values: ${moved} of ${n} outputs moved.${limit}`;
}

function draw(state, stage) {
  const { values, training } = state, result = { ...compute(state), values }, { held } = stage, n = values.length;
  const { X_hat = [], Y = [], used } = result, [left, right, top, bottom] = [14, stage.width - 14, 66, 196];
  const x = linear(...stage.around("x", n ? values : [0]), left, right);
  const y = linear(...stage.around("y", [...Y, -2, 2]), left, right);
  stage.size(230);
  stage.axis("x axis", x, top, "values X");
  stage.axis("y axis", y, bottom, "outputs Y");
  const moving = moves(Y, held);
  if (used) {
    const [m, s] = [x(used.mean), Math.sqrt(used.var)], whose = training ? "mean" : "running mean";
    stage.line("mean", m, top - 38, m, top, { stroke: RED, "stroke-width": 2 });
    stage.line("deviation", x(used.mean - s), top - 38, x(used.mean + s), top - 38, { stroke: RED, "stroke-width": 2 });
    stage.text("mean is", clamp(m, 120, right - 120), top - 46, `${whose} ± standard deviation`);
  }
  for (const [i, value] of values.entries()) {
    const at = y(Y[i] ?? 0), moved = moving && moving[i], same = range(i).filter((j) => near(values[j], value)).length;
    if (Y.length) {
      stage.line(`join ${i}`, x(value), top, at, bottom, { opacity: 0.35 });
      const path = { stroke: RED, "stroke-width": 5, opacity: 0.5 };
      if (moved) stage.line(`path ${i}`, y(held.Y[i]), bottom, at, bottom, path);
      const shape = moved ? `M${at} ${bottom - 9}l9 9l-9 9l-9 -9z` : `M${at - 6} ${bottom - 6}h12v12h-12z`;
      stage.shape("path", `y ${i}`, { d: shape, fill: moved ? RED : GREEN });
    }
    const set = (to) => stage.set({ values: values.with(i, to) }), label = `value ${i + 1} of ${n}`;
    stage.handle(`x ${i}`, x(value), top - 9 * same, { label, value, scale: x, rule: spec.values, set });
  }
  const row = (name, numbers) => [name, ...values.map((_, i) => (numbers.length ? fixed(numbers[i]) : "–"))];
  stage.table("table", [row("X", values), row("X_hat", X_hat), row("Y", Y)]);
  const of = (m, v) => `mean ${fixed(m, 3)}, var ${fixed(v, 3)}.`;
  const batch = n ? `This batch: ${of(mean(values), variance(values))}` : "";
  const running = `Evaluation uses running ones, which stay: ${of(state.running_mean, state.running_var)}`;
  stage.say("numbers", training ? batch : `${batch} ${running}`);
  stage.say("formula", "X_hat = (X - mean) / root(var + eps), Y = gamma X_hat + beta. Diamonds: outputs that moved.");
  stage.control("training");
  for (const name of ["gamma", "beta", "eps"]) stage.control(name);
  const more = n ? +(Math.max(...values) + 1).toFixed(6) : 0;
  stage.button("add a value", () => stage.set({ values: [...values, Math.min(more, 1000)] }), n > 7);
  stage.button("remove one", () => stage.set({ values: values.slice(0, -1) }), !n);
  stage.button("start again", stage.again);
  return { ...result, sentence: sentence(result, moving, held, state) };
}

export default {
  render: (place) => new Stage(place, "Batch norm of one channel", spec, draw).end,
};
