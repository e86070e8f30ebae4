// Pull the gradient of one output of batch norm, and see what reaches the inputs.

const EPS = 1e-5; // under the root: it keeps the product with X_hat from being 0 by about 1e-6

export const spec = {
  values: { list: [2, 8], min: -1000, max: 1000 },
  output: { min: 1, max: 8, step: 1, whole: true },
  pull: { min: -1, max: 1, step: 0.1 },
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
  const { values, output, pull, gamma } = state, n = values.length, result = compute(state), { held } = stage;
  stage.control("output", "pull output", short, n);
  for (const name of ["gamma", "spread"]) stage.control(name, name === "spread" ? "X times" : name);
  stage.button("start again", stage.again);
  if (result.refused) return { sentence: result.refused };
  const { X, X_hat, dX, sigma } = result, [left, right, top, bottom] = [66, stage.width - 30, 96, 290];
  const column = linear(0, n - 1, left, right), up = linear(-1, 1, top + 66, top - 66);
  const down = (gradient) => bottom - 66 * clamp(gradient, -1.2, 1.2); // the same scale; what is longer is cut off
  stage.size(430);
  stage.line("outputs", left - 20, top, right + 20, top, { opacity: 0.4 });
  stage.line("inputs", left - 20, bottom, right + 20, bottom, { opacity: 0.4 });
  for (const [key, y, words] of [["Y", top, "dL/dY"], ["X", bottom, "dL/dX"], ["x", 398, "X"], ["h", 420, "X_hat"]])
    stage.text(`name ${key}`, 4, y + 4, words, { "text-anchor": "start" });
  for (const i of range(n)) {
    const x = column(i), to = down(dX[i]), long = Math.abs(to - bottom), cut = Math.abs(dX[i]) > 1.2;
    const head = Math.min(8, long) * (to < bottom ? 1 : -1), was = held?.dX?.length === n && down(held.dX[i]);
    const set = () => stage.set({ output: i + 1 });
    if (i !== output - 1) stage.shape("circle", `y ${i}`, { cx: x, cy: top, r: 4, fill: "currentColor" });
    stage.shape("circle", `y ${i} reach`, { cx: x, cy: top, r: 22, fill: "transparent", class: "touch" }).onclick = set;
    if (was) stage.line(`was ${i}`, x - 9, bottom, x - 9, was, { "stroke-width": 2, opacity: 0.4 });
    const end = cut ? to : to + head; // without a head: cut off
    stage.line(`arrow ${i}`, x, bottom, x, end, { stroke: RED, "stroke-width": 4 });
    stage.shape("path", `tip ${i}`, { d: cut ? "" : `M${x} ${to}l7 ${head}h-14z`, fill: RED });
    stage.text(`dx ${i}`, x, to + (dX[i] > 0 ? -8 : 18), fixed(dX[i], 3) + (cut ? " (cut)" : ""));
    stage.text(`x ${i}`, x, 402, fixed(X[i], 1));
    stage.text(`h ${i}`, x, 424, fixed(X_hat[i]));
  }
  const at = column(output - 1);
  stage.line("pull line", at, top, at, up(pull), { stroke: BLUE, "stroke-width": 4 });
  stage.text("pull is", at, up(pull) + (pull < 0 ? 28 : -18), fixed(pull, 1));
  const set = (to) => stage.set({ pull: to });
  stage.handle("pull", at, up(pull), {
    label: `gradient of output ${output}`, value: pull, scale: up, upright: true, rule: spec.pull, set,
  });
  const [s, ratio] = [fixed(sigma, 3), fixed(gamma / sigma, 3)];
  stage.say("formula", "dX = gamma / sigma · (dY - mean(dY) - X_hat · mean(dY · X_hat)); sigma = root(var + eps)");
  stage.say("scale", `gamma / sigma = ${fixed(gamma, 1)} / ${s} = ${ratio}. X_hat stays when X is multiplied. ` +
    "Arrows are gradients (a step of SGD goes against them); in grey, those before.");
  stage.say("sums", `The gradients of X sum to ${fixed(result.sum, 3)}: a number added to all X changes no output. ` +
    `Times X_hat they sum to ${fixed(result.product, 3)}: X stretched about its mean changes no output, up to eps.`);
  const reached = dX.filter((d) => Math.abs(d) > 1e-9).length, how = "Drag the round handle, or touch another output.";
  return { ...result, sentence: `You pull 1 output: the gradient reaches ${reached} of ${n} inputs. ${how}` };
}

export default {
  render: (place) => new Stage(place, "The gradient of one output of batch norm", spec, draw).end,
};
