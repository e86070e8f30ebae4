// Which values of a block share the statistics of one: touch a cell, change it, and see which outputs change.

const SHAPE = [3, 4, 2, 2]; // N, C, H, W
const [N, C, H, W] = SHAPE;
const PIXELS = H * W, CELLS = N * C * PIXELS;
const [LABEL, GAP] = [20, 6]; // pixels: beside the channels, and between the images

export const spec = {
  norm: { options: ["BN", "LN", "GN", "IN", "RMS"] },
  groups: { options: [1, 2, 4] },
  values: { list: [CELLS, CELLS], min: -1000, max: 1000 },
  cell: { min: 1, max: CELLS, step: 1, whole: true },
  change: { min: -3, max: 3, step: 0.1 },
};
const NAMES = {
  BN: "batch norm (in training)", LN: "layer norm", GN: "group norm", IN: "instance norm", RMS: "RMS norm",
};
const place = (cell) => {
  const i = cell - 1;
  return { image: Math.floor(i / (C * PIXELS)), channel: Math.floor(i / PIXELS) % C, pixel: i % PIXELS };
};

// For each cell, the set of cells whose statistics it shares: two cells with the same key are in one set.
function keys(norm, groups) {
  const key = {
    BN: ({ channel }) => channel,
    LN: ({ image }) => image,
    RMS: ({ image }) => image,
    IN: ({ image, channel }) => image * C + channel,
    GN: ({ image, channel }) => image * C + Math.floor(channel / (C / groups)),
  }[norm];
  return range(CELLS).map((i) => key(place(i + 1)));
}

function normalized(X, key, norm, eps = 1e-5) {
  const sets = {}, Y = [...X];
  for (const [i, k] of key.entries()) (sets[k] ??= []).push(i);
  for (const set of Object.values(sets)) {
    const x = set.map((i) => X[i]), m = norm === "RMS" ? 0 : mean(x), s = Math.sqrt(variance(x, m) + eps);
    for (const i of set) Y[i] = (X[i] - m) / s;
  }
  return Y;
}

// The block with one cell changed: who shares its statistics, what they are, all outputs, and which of them changed.
export function compute({ norm, groups, values, cell, change }) {
  const key = keys(norm, groups), X = values.with(cell - 1, values[cell - 1] + change);
  const shares = key.map((k) => k === key[cell - 1]), set = X.filter((_, i) => shares[i]);
  const [before, Y] = [normalized(values, key, norm), normalized(X, key, norm)];
  const changed = Y.map((y, i) => Math.abs(y - before[i]) > 1e-9);
  const square = mean(set.map((x) => x * x));
  return { X, shares, count: set.length, mean: mean(set), var: variance(set), square, before, Y, changed };
}

function block(stage, name, x0, y0, [wide, high], numbers, cell, marked, { before, touch }) {
  const start = { "text-anchor": "start" };
  for (const image of range(N))
    stage.text(`${name} image ${image}`, x0 + LABEL + (image + 0.5) * (W * wide + GAP), y0 - 6, `image ${image + 1}`);
  for (const channel of range(C))
    stage.text(`${name} ${channel}`, x0, y0 + 20 + channel * (H * high + 6), `c${channel + 1}`, start);
  for (const [i, number] of numbers.entries()) {
    const { image, channel, pixel } = place(i + 1), is = i === cell - 1;
    const x = x0 + LABEL + image * (W * wide + GAP) + (pixel % W) * wide;
    const y = y0 + channel * (H * high + 6) + Math.floor(pixel / W) * high;
    const rect = stage.shape("rect", `${name} ${i} cell`, {
      x: x + 1.5, y: y + 1.5, width: wide - 3, height: high - 3, stroke: "currentColor", class: touch ? "touch" : "",
      fill: is ? RED : BLUE, "fill-opacity": is || marked[i] ? 0.35 : 0, "stroke-width": is ? 3 : marked[i] ? 2 : 0.4,
    });
    if (touch) rect.onpointerdown = () => touch(i + 1);
    const words = { "pointer-events": "none", "font-weight": marked[i] && !before ? 700 : 400 };
    const way = before && marked[i] ? (number > before[i] ? "↑" : "↓") : "";
    stage.text(`${name} ${i} number`, x + wide / 2, y + high / 2 + 4, way + fixed(number, before ? 2 : 1), words);
  }
}

// What is to be said of a norm beside its numbers.
function remark({ norm, groups, values, cell }, { X, changed, count }) {
  if (norm === "BN") return " In evaluation, with running statistics, only the orange output would change.";
  if (norm === "GN" && groups === 1) return " With 1 group it is layer norm.";
  if (norm === "GN" && groups === C) return " With a group for each channel it is instance norm.";
  if (norm !== "RMS" || changed.filter(Boolean).length === count) return "";
  return near(Math.abs(X[cell - 1]), Math.abs(values[cell - 1]))
    ? " The mean square is as before: only the cell's sign changed."
    : " An input 0 stays 0, whatever it is divided by.";
}

// Until a cell is changed, the answer stays hidden: the reader can guess.
function draw(state, stage) {
  const { norm, groups, cell, change } = state, result = compute(state), { before } = result, two = stage.width > 560;
  const half = two ? stage.width / 2 - 8 : stage.width, size = [Math.min(52, (half - LABEL - GAP * N) / (N * W)), 26];
  const high = C * (H * size[1] + 6), below = two ? 0 : high + 56;
  stage.size(high + 50 + below);
  const shared = change ? "blue: shares its statistics" : "touch a cell (orange)";
  stage.text("inputs", 0, 14, `inputs X, ${shared}`, { "text-anchor": "start" });
  const touch = (to) => stage.set({ cell: to }), marked = result.shares.map((shares) => shares && change);
  block(stage, "x", 0, 42, size, result.X, cell, marked, { touch });
  const [x, y] = two ? [stage.width - half, 0] : [0, below];
  const felt = change ? "arrows: it rose or fell" : "without gamma and beta";
  stage.text("outputs", x, y + 14, `outputs Y, ${felt}`, { "text-anchor": "start" });
  block(stage, "y", x, y + 42, size, result.Y, cell, result.changed, { before });
  stage.control("norm", "norm", (kind) => NAMES[kind]);
  if (norm === "GN") stage.control("groups");
  const at = ({ image, channel, pixel }) => `image ${image + 1}, channel ${channel + 1}, pixel ${pixel + 1}`;
  stage.control("cell", "cell", (to) => at(place(to)));
  stage.control("change", "change it by");
  stage.button("start again", stage.again);
  const name = NAMES[norm][0].toUpperCase() + NAMES[norm].slice(1);
  const whole = norm === "LN" || norm === "RMS" ? `${name} takes all channels and pixels of an image here. `
    : norm === "GN" ? `A group is ${C / groups} of the ${C} channels of an image. ` : "";
  if (!change) {
    stage.say("statistics", whole);
    const sentence = `${name}: if the orange cell of X changes, how many outputs change, and where? Guess, then try.`;
    return { ...result, sentence };
  }
  const square = `mean square ${fixed(result.square, 3)}, Y = X / root(mean square + eps); the mean is not subtracted`;
  const statistics = norm === "RMS" ? square
    : `mean ${fixed(result.mean, 3)}, variance ${fixed(result.var, 3)}, Y = (X - mean) / root(variance + eps)`;
  stage.say("statistics", `${whole}Of the marked cells of X: ${statistics}.${remark(state, result)}`);
  const count = result.changed.filter(Boolean).length;
  const sentence = `${name}: ${result.count} of ${CELLS} cells share the statistics of the orange one. ` +
    `It is changed by ${short(change)}: ${count} of ${CELLS} outputs change.`;
  return { ...result, sentence };
}

export default {
  render: (place) => new Stage(place, "Which values share their statistics", spec, draw).end,
};
