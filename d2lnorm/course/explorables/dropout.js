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

const TALL = 4; // the picture goes up to so many times the largest value; what is beyond is cut off

function draw(state, stage) {
  const { values, p, training, draws, seed } = state, n = values.length, { max } = spec.draws;
  const result = compute(state, uniforms(seed, max * n)), { Y, mask, means, stds, formula } = result;
  const [left, right, top, bottom] = [44, stage.width - 10, 20, 232];
  const most = TALL * Math.max(0.1, ...values.map(Math.abs));
  const y = linear(-most, most, bottom, top), wide = (right - left) / n, column = (i) => left + (i + 0.5) * wide;
  const inside = (v) => y(clamp(v, -most, most));
  stage.size(252);
  for (const v of [-most, -most / 2, 0, most / 2, most]) {
    stage.line(`level ${v}`, left, y(v), right, y(v), { opacity: v ? 0.2 : 0.5 });
    stage.text(`level ${v} is`, left - 8, y(v) + 4, short(v), { "text-anchor": "end" });
  }
  const errors = formula.map((s) => s / Math.sqrt(draws));
  for (const [i, x] of values.entries()) {
    const at = column(i), half = Math.min(22, wide * 0.3), dropped = training && !mask[i], to = inside(Y[i]);
    if (training) {
      const [low, high] = [inside(x - 2 * errors[i]), inside(x + 2 * errors[i])];
      const band = { x: at - half, width: 2 * half, y: high, height: Math.max(1, low - high) };
      stage.shape("rect", `band ${i}`, { ...band, fill: BLUE, opacity: 0.25 });
    }
    stage.line(`evaluation ${i}`, at - half, y(x), at + half, y(x), { stroke: "currentColor", "stroke-width": 2.5 });
    const cross = { d: `M${at - 6} ${to - 6}l12 12m0 -12l-12 12`, stroke: "currentColor", "stroke-width": 2.5 };
    const disc = { d: `M${at} ${to}h0`, stroke: GREEN, "stroke-width": 14, "stroke-linecap": "round" };
    stage.shape("path", `output ${i}`, dropped ? cross : disc);
    const cut = { "text-anchor": "start" };
    if (Math.abs(Y[i]) > most) stage.text(`output ${i} is`, at + half + 4, to + 4, fixed(Y[i], 1), cut);
    const m = inside(means[i]), diamond = { d: `M${at} ${m - 8}l8 8l-8 8l-8 -8z`, fill: "none" };
    if (training) stage.shape("path", `mean ${i}`, { ...diamond, stroke: RED, "stroke-width": 2.5 });
  }
  const marks = "Short line: the value. Disc: the output of the last draw; cross: dropped. Diamond: the mean of all " +
    "draws; band: two standard deviations of such means up and down, by the formula.";
  stage.say("key", training ? marks : "Short line: the value. Disc: the output.");
  const row = (name, cells) => [name, ...cells], numbers = (v) => v.map((x) => fixed(x)), many = draws > 1;
  const drawn = [
    row(`mean of ${draws}`, numbers(means)),
    row("std of one draw", numbers(formula)),
    row(`std / root(${draws})`, numbers(errors)),
    row("std of these draws", many ? numbers(stds) : stds.map(() => "–")),
  ];
  const [X, kept] = [row("X", numbers(values)), row("mask", mask.map((one) => (one ? "kept" : "dropped")))];
  stage.table("table", training ? [X, kept, row("Y", numbers(Y)), ...drawn] : [X, row("Y", numbers(Y))]);
  stage.control("p");
  stage.control("training");
  const still = draws >= max || !training;
  stage.button("draw again", () => stage.set({ draws: draws + 1 }), still);
  stage.button("draw 100 more", () => stage.set({ draws: Math.min(max, draws + 100) }), still);
  stage.button("other draws", () => stage.set({ seed: (seed + 1) % 1001 }), !training);
  stage.button("start again", stage.again);
  const count = mask.filter(Boolean).length, off = means.map((m, i) => Math.abs(m - values[i]));
  const worst = off.indexOf(Math.max(...off)), means_of = many ? `The mean of ${draws} draws` : "The mean of one draw";
  const keeps = count ? `keeps ${count} of ${n} values and divides them by 1 - p = ${fixed(1 - p)}` : "keeps no value";
  const sentence = training
    ? `This draw ${keeps}. ${means_of} is off most at the value ${short(values[worst])}: by ${fixed(off[worst])}; ` +
      `usual there is ${fixed(errors[worst])}.`
    : "Evaluation: nothing is dropped, nothing is scaled, and nothing is drawn.";
  return { ...result, sentence };
}

export default {
  render: (place) => new Stage(place, "Dropout, drawn again and again", spec, draw).end,
};
