// Pull the gradient of one output of batch norm, and see what reaches the inputs.

const EPS = 1e-5; // under the root: it keeps the product with X_hat from being 0 by about 1e-6

export const spec = {
  values: { list: [2, 8], min: -1000, max: 1000 },
  output: { min: 1, max: 8, step: 1, whole: true },
  pull: { min: -2, max: 2, step: 0.1 },
  gamma: { min: -3, max: 3, step: 0.1 },
  spread: { min: 0.2, max: 5, step: 0.1 },
};

// The gradients of all inputs, where `pull` is the gradient of one output and 0 that of all others.
export function compute({ values, output, pull, gamma, spread }) {
  const X = values.map((x) => x * spread), n = X.length, m = mean(X), sigma = Math.sqrt(variance(X, m) + EPS);
  if (output > n) return { refused: `There is no output ${output}: the batch has ${n} values.` };
  const X_hat = X.map((x) => (x - m) / sigma), dY = X.map((_, i) => (i === output - 1 ? pull : 0));
  const [common, along] = [mean(dY), mean(dY.map((d, i) => d * X_hat[i]))];
  const dX = dY.map((d, i) => (gamma / sigma) * (d - common - X_hat[i] * along));
  return { X, sigma, X_hat, dX, sum: sum(dX), product: sum(dX.map((d, i) => d * X_hat[i])) };
}

function draw(state, stage) {
  const { values, output, pull, gamma } = state, n = values.length, result = compute(state);
  stage.control("output", "pull output");
  for (const name of ["gamma", "spread"]) stage.control(name, name === "spread" ? "spread of X, times" : name);
  stage.button("start again", stage.again);
  if (result.refused) return { sentence: result.refused };
  const { X, X_hat, dX, sigma } = result, [left, right, top, bottom] = [66, stage.width - 30, 80, 230];
  const column = linear(0, n - 1, left, right), largest = Math.max(1, ...dX.map(Math.abs));
  const up = linear(-2, 2, top + 52, top - 52), down = linear(-largest, largest, bottom + 56, bottom - 56);
  stage.size(360);
  stage.line("outputs", left - 20, top, right + 20, top, { opacity: 0.4 });
  stage.line("inputs", left - 20, bottom, right + 20, bottom, { opacity: 0.4 });
  for (const [key, y, words] of [["Y", top, "dL/dY"], ["X", bottom, "dL/dX"], ["x", 318, "X"], ["h", 338, "X_hat"]])
    stage.text(`name ${key}`, 4, y + 4, words, { "text-anchor": "start" });
  for (const i of range(n)) {
    const x = column(i), to = down(dX[i]), head = to < bottom ? 7 : -7, tip = Math.abs(to - bottom) > 1;
    if (i !== output - 1) stage.shape("circle", `y ${i}`, { cx: x, cy: top, r: 4, fill: "currentColor" });
    stage.line(`arrow ${i}`, x, bottom, x, to, { stroke: RED, "stroke-width": 4 });
    stage.shape("path", `tip ${i}`, { d: tip ? `M${x} ${to - head}l7 ${head * 1.6}h-14z` : "", fill: RED });
    stage.text(`dx ${i}`, x, to + (to < bottom ? -14 : 24), fixed(dX[i]));
    stage.text(`x ${i}`, x, 318, fixed(X[i], 1));
    stage.text(`h ${i}`, x, 338, fixed(X_hat[i]));
  }
  const at = column(output - 1);
  stage.line("pull line", at, top, at, up(pull), { stroke: BLUE, "stroke-width": 4 });
  stage.text("pull is", at, up(pull) + (pull < 0 ? 28 : -18), fixed(pull, 1));
  const set = (to) => stage.set({ pull: to });
  stage.handle("pull", at, up(pull), {
    label: `gradient of output ${output}`, value: pull, scale: up, upright: true, rule: spec.pull, set,
  });
  stage.say("sums", `The sum of the gradients of X is ${fixed(result.sum, 4)}, of their products with X_hat ` +
    `${fixed(result.product, 4)}. gamma / sigma = ${fixed(gamma / sigma)} scales all of them.`);
  const reached = dX.filter((d) => Math.abs(d) > 1e-9).length;
  return { ...result, sentence: `You pull 1 output: the gradient reaches ${reached} of ${n} inputs.` };
}

export default {
  render: (place) => new Stage(place, "The gradient of one output of batch norm", spec, draw).end,
};
