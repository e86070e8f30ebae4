// Which values of a block share the statistics of one: touch a cell, change it, and see which outputs change.

const SHAPE = [3, 4, 2, 2]; // N, C, H, W
const [N, C, H, W] = SHAPE;
const PIXELS = H * W, CELLS = N * C * PIXELS;

export const spec = {
  norm: { options: ["BN", "LN", "GN", "IN", "RMS"] },
  groups: { options: [1, 2, 4] },
  values: { list: [CELLS, CELLS], min: -1000, max: 1000 },
  cell: { min: 1, max: CELLS, step: 1, whole: true },
  change: { min: -3, max: 3, step: 0.1 },
};
const NAMES = { BN: "Batch norm", LN: "Layer norm", GN: "Group norm", IN: "Instance norm", RMS: "RMS norm" };
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
  return { X, shares, count: set.length, mean: mean(set), var: variance(set), square, Y, changed };
}

function block(stage, name, x0, y0, size, numbers, cell, marked, touch) {
  const [wide, high] = size, start = { "text-anchor": "start" };
  for (const image of range(N))
    stage.text(`${name} image ${image}`, x0 + 24 + (image + 0.5) * (W * wide + 8), y0 - 6, `image ${image + 1}`);
  for (const channel of range(C))
    stage.text(`${name} ${channel}`, x0, y0 + 20 + channel * (H * high + 6), `c${channel + 1}`, start);
  for (const [i, number] of numbers.entries()) {
    const { image, channel, pixel } = place(i + 1), is = i === cell - 1;
    const x = x0 + 24 + image * (W * wide + 8) + (pixel % W) * wide;
    const y = y0 + channel * (H * high + 6) + Math.floor(pixel / W) * high;
    const look = is ? { fill: RED, "stroke-width": 3 } : { fill: BLUE, "stroke-width": marked[i] ? 2 : 0.4 };
    const rect = stage.shape("rect", `${name} ${i} cell`, {
      x: x + 1.5, y: y + 1.5, width: wide - 3, height: high - 3, stroke: "currentColor",
      "fill-opacity": marked[i] ? 0.35 : 0, ...look, class: touch ? "touch" : "",
    });
    if (touch) rect.onpointerdown = () => touch(i + 1);
    const words = { "pointer-events": "none", "font-weight": marked[i] ? 700 : 400 };
    stage.text(`${name} ${i} number`, x + wide / 2, y + high / 2 + 4, fixed(number, 1), words);
  }
}

function draw(state, stage) {
  const { norm, cell, change } = state, result = compute(state), two = stage.width > 560;
  const half = two ? stage.width / 2 - 8 : stage.width, size = [Math.min(44, (half - 24 - 8 * N) / (N * W)), 26];
  const high = C * (H * size[1] + 6), below = two ? 0 : high + 56;
  const touch = (to) => stage.set({ cell: to, ...(to === cell ? {} : { change: 0 }) });
  stage.size(high + 50 + below);
  stage.text("inputs", 0, 14, "inputs X: touch a cell", { "text-anchor": "start" });
  block(stage, "x", 0, 42, size, result.X, cell, result.shares, touch);
  const [x, y] = two ? [stage.width - half, 0] : [0, below];
  stage.text("outputs", x, y + 14, "outputs Y: bold where the change is felt", { "text-anchor": "start" });
  block(stage, "y", x, y + 42, size, result.Y, 0, result.changed, null);
  stage.control("norm");
  if (norm === "GN") stage.control("groups");
  const at = ({ image, channel, pixel }) => `image ${image + 1}, channel ${channel + 1}, pixel ${pixel + 1}`;
  stage.control("cell", "cell", (to) => at(place(to)));
  stage.control("change", "change it by");
  stage.button("start again", stage.again);
  const statistics = norm === "RMS" ? `mean square ${fixed(result.square, 3)} (RMS norm takes no mean off)`
    : `mean ${fixed(result.mean, 3)}, variance ${fixed(result.var, 3)}`;
  stage.say("statistics", `Their ${statistics}.`);
  const count = result.changed.filter(Boolean).length;
  const felt = change
    ? `With it changed by ${short(change)}, ${count} of ${CELLS} outputs change.`
    : "Change it: which outputs change?";
  const sentence = `${NAMES[norm]}: ${result.count} of ${CELLS} cells share the statistics of this one. ${felt}`;
  return { ...result, sentence };
}

export default {
  render: (place) => new Stage(place, "Which values share their statistics", spec, draw).end,
};
