// Dropout of a few values: each draw zeroes some and scales the others; the mean of many draws nears the evaluation's.

export const spec = {
  values: { list: [1, 8], min: -1000, max: 1000 },
  p: { min: 0, max: 0.95, step: 0.05 },
  training: { flag: true },
  draws: { min: 1, max: 1000, step: 1, whole: true },
  seed: { min: 0, max: 1000, step: 1, whole: true },
};

// `uniforms` holds a number between 0 and 1 for each value of each draw; a value is kept where it is at least p.
// Of all draws: the outputs' mean and standard deviation, and the formula for this deviation, |x| sqrt(p / (1 - p)).
export function compute({ values, p, training, draws }, uniforms) {
  const n = values.length, keep = (draw, i) => uniforms[draw * n + i] >= p;
  const output = (draw, i) => (keep(draw, i) ? values[i] / (1 - p) : 0);
  const all = values.map((_, i) => range(draws).map((draw) => output(draw, i)));
  const means = all.map((drawn) => mean(drawn));
  return {
    mask: values.map((_, i) => keep(draws - 1, i)),
    Y: training ? values.map((_, i) => output(draws - 1, i)) : values,
    means,
    stds: all.map((drawn, i) => Math.sqrt(variance(drawn, means[i]))),
    formula: values.map((x) => Math.abs(x) * Math.sqrt(p / (1 - p))),
  };
}

function draw(state, stage) {
  const { values, p, training, draws, seed } = state, n = values.length, { max } = spec.draws;
  const result = compute(state, uniforms(seed, max * n)), { Y, mask, means, stds, formula } = result;
  const [left, right, top, bottom] = [30, stage.width - 10, 14, 226];
  const most = Math.max(0.1, ...values.map((x) => Math.abs(x) / (1 - p))), y = linear(-most, most, bottom, top);
  const wide = (right - left) / n, column = (i) => left + (i + 0.5) * wide;
  stage.size(240);
  stage.line("zero", left, y(0), right, y(0), { opacity: 0.5 });
  stage.text("0", left - 12, y(0) + 4, "0");
  for (const [i, x] of values.entries()) {
    const at = column(i), error = formula[i] / Math.sqrt(draws), half = Math.min(22, wide * 0.3);
    const [low, high] = [y(Math.max(-most, x - 2 * error)), y(Math.min(most, x + 2 * error))];
    const band = { x: at - half, width: 2 * half, y: high, height: Math.max(1, low - high) };
    stage.shape("rect", `band ${i}`, { ...band, fill: BLUE, opacity: 0.25 });
    stage.line(`evaluation ${i}`, at - half, y(x), at + half, y(x), { stroke: "currentColor", "stroke-width": 2.5 });
    const dropped = training && !mask[i], to = y(Y[i]);
    const cross = { d: `M${at - 6} ${to - 6}l12 12m0 -12l-12 12`, stroke: "currentColor", "stroke-width": 2.5 };
    const disc = { d: `M${at} ${to}h0`, stroke: GREEN, "stroke-width": 14, "stroke-linecap": "round" };
    stage.shape("path", `output ${i}`, dropped ? cross : disc);
    const m = y(means[i]);
    const diamond = { d: `M${at} ${m - 8}l8 8l-8 8l-8 -8z`, fill: "none" };
    stage.shape("path", `mean ${i}`, { ...diamond, stroke: RED, "stroke-width": 2.5 });
  }
  const marks = "Line: the value, as evaluation gives it. Disc: the output of this draw; cross: dropped. " +
    "Diamond: the mean of all draws; band: two standard deviations of such means, by the formula.";
  stage.say("key", marks);
  stage.table("table", [
    ["X", ...values.map((x) => fixed(x))],
    ["mask", ...mask.map((kept) => (training ? (kept ? "kept" : "0") : "–"))],
    ["Y", ...Y.map((x) => fixed(x))],
    [`mean of ${draws}`, ...means.map((x) => fixed(x))],
    ["std, drawn", ...stds.map((x) => fixed(x))],
    ["std, formula", ...formula.map((x) => fixed(x))],
  ]);
  stage.control("p");
  stage.control("training");
  stage.button("draw again", () => stage.set({ draws: draws + 1 }), draws >= max);
  stage.button("draw 100", () => stage.set({ draws: Math.min(max, draws + 100) }), draws >= max);
  stage.button("other draws", () => stage.set({ seed: (seed + 1) % 1001 }));
  stage.button("start again", stage.again);
  const kept = mask.filter(Boolean).length, off = Math.max(...means.map((m, i) => Math.abs(m - values[i])));
  const sentence = training
    ? `This draw keeps ${kept} of ${n} values and divides them by 1 - p = ${fixed(1 - p)}. ` +
      `The mean of ${draws} draw${draws > 1 ? "s" : ""} is off by at most ${fixed(off)}.`
    : "Evaluation: nothing is dropped, nothing is scaled, and nothing is drawn.";
  return { ...result, sentence };
}

export default {
  render: (place) => new Stage(place, "Dropout, drawn again and again", spec, draw).end,
};
