// A deep net: how large its values and its gradients are, layer by layer.

const [BATCH, WIDTH, EPS] = [64, 32, 1e-5];
const [BINS, REACH] = [20, 3]; // a histogram goes from -REACH to REACH; its ends hold what is beyond

export const spec = {
  depth: { min: 1, max: 30, step: 1, whole: true },
  gain: { min: 0.1, max: 3, step: 0.05 },
  activation: { options: ["relu", "tanh", "sigmoid", "none"] },
  batch_norm: { flag: true },
  skip: { flag: true },
  seed: { min: 0, max: 1000, step: 1, whole: true },
};

// Each activation, its slope told by its output, and when an output counts as saturated.
const ACTIVATIONS = {
  relu: [(z) => Math.max(z, 0), (a) => (a > 0 ? 1 : 0), () => false],
  tanh: [Math.tanh, (a) => 1 - a * a, (a) => Math.abs(a) > 0.97],
  sigmoid: [(z) => 1 / (1 + Math.exp(-z)), (a) => a * (1 - a), (a) => a < 0.03 || a > 0.97],
  none: [(z) => z, () => 1, () => false],
};

const size = (H) => Math.sqrt(H.reduce((total, h) => total + h * h, 0) / H.length);

// rows (n, WIDTH) times W (WIDTH, WIDTH), or times its transpose
function times(rows, W, transposed) {
  const out = new Float64Array(rows.length);
  for (let n = 0; n < rows.length; n += WIDTH)
    for (let i = 0; i < WIDTH; i++)
      for (let j = 0, x = rows[n + i]; j < WIDTH; j++) out[n + j] += x * W[transposed ? j * WIDTH + i : i * WIDTH + j];
  return out;
}

// Batch norm of each column, in place; returns what its backward pass needs.
function normalize(Z) {
  const roots = new Float64Array(WIDTH);
  for (let j = 0; j < WIDTH; j++) {
    const column = range(BATCH).map((n) => Z[n * WIDTH + j]), m = mean(column);
    roots[j] = Math.sqrt(variance(column, m) + EPS);
    for (let n = 0; n < BATCH; n++) Z[n * WIDTH + j] = (column[n] - m) / roots[j];
  }
  return { X_hat: Z.slice(), roots };
}
function normalize_backward(G, { X_hat, roots }) {
  for (let j = 0; j < WIDTH; j++) {
    let [common, along] = [0, 0];
    for (let n = j; n < G.length; n += WIDTH) {
      common += G[n] / BATCH;
      along += (G[n] * X_hat[n]) / BATCH;
    }
    for (let n = j; n < G.length; n += WIDTH) G[n] = (G[n] - common - X_hat[n] * along) / roots[j];
  }
}

// Of each layer H = activation(norm(H W gain / sqrt(width))) (+ H): its histogram, mean, std, and the root mean square
// of the loss's gradient by H. The loss is the sum of the last outputs times `upstream`.
export function compute({ depth, gain, activation, batch_norm, skip }, { inputs, weights, upstream }) {
  const [act, slope, flat] = ACTIVATIONS[activation], kept = [], layers = [];
  let H = Float64Array.from(inputs);
  for (const l of range(depth)) {
    const own = weights.slice(l * WIDTH ** 2, (l + 1) * WIDTH ** 2);
    const W = Float64Array.from(own, (w) => (w * gain) / Math.sqrt(WIDTH));
    const Z = times(H, W), norm = batch_norm && normalize(Z), A = Z.map(act);
    H = skip ? A.map((a, i) => a + H[i]) : A;
    kept.push({ W, norm, A });
    const histogram = Array(BINS).fill(0), m = mean(H);
    for (const h of H) histogram[clamp(Math.floor(((h + REACH) / (2 * REACH)) * BINS), 0, BINS - 1)] += 1 / H.length;
    const dead = range(WIDTH).filter((j) => range(BATCH).every((n) => A[n * WIDTH + j] === 0)).length / WIDTH;
    layers.push({ histogram, mean: m, std: Math.sqrt(variance(H, m)), dead, saturated: mean(A.map((a) => +flat(a))) });
  }
  let G = Float64Array.from(upstream);
  for (const l of range(depth).reverse()) {
    layers[l].gradient = size(G);
    const { W, norm, A } = kept[l], D = G.map((g, i) => g * slope(A[i]));
    if (norm) normalize_backward(D, norm);
    const back = times(D, W, true);
    G = skip ? back.map((b, i) => b + G[i]) : back;
  }
  return { layers };
}

// What a doctor would say: first the two numbers, then what is wrong with them, or with single units.
function verdict(layers, skip) {
  const last = layers.at(-1), ratio = layers[0].gradient / last.gradient;
  const worst = (what) => layers.reduce((a, b) => (b[what] > a[what] ? b : a));
  const [dead, flat] = [worst("dead"), worst("saturated")], found = [];
  const share = (layer, what) => `${Math.round(100 * layer[what])} % of layer ${layers.indexOf(layer) + 1}, the worst,`;
  if (last.std > 100 || ratio > 100) found.push("Exploding (more than 100 times).");
  if (last.std < 0.01 || ratio < 0.01) found.push("Vanishing (less than a hundredth).");
  if (!found.length) found.push("Neither explodes (100 times) nor vanishes.");
  const before = skip ? ", before the skip connection adds" : "";
  if (dead.dead > 0.25) found.push(`Dead: ${share(dead, "dead")} give 0 for every example${before}.`);
  if (flat.saturated > 0.25)
    found.push(`Saturated: ${share(flat, "saturated")} lie on the flat ends, where hardly any gradient passes.` +
      (ratio > 1 ? " What passes elsewhere is enlarged by the weights." : ""));
  return `The last layer's standard deviation is ${short(last.std)}; the gradient at layer 1 is ` +
    `${short(ratio)} times that at the last. ${found.join(" ")}`;
}

function draw(state, stage) {
  const count = BATCH * WIDTH, numbers = normals(state.seed, 2 * count + spec.depth.max * WIDTH ** 2);
  const [inputs, upstream] = [numbers.slice(0, count), numbers.slice(count, 2 * count)];
  const { layers } = compute(state, { inputs, upstream, weights: numbers.slice(2 * count) });
  const [left, right, top, high, bars] = [44, stage.width - 6, 24, 140, 130], n = layers.length, last = layers.at(-1);
  const wide = (right - left) / n, base = top + high + 52 + bars / 2;
  const [start, end] = ["start", "end"].map((where) => ({ "text-anchor": where }));
  stage.size(base + bars / 2 + 26);
  stage.text("name", 0, 12, "values of each layer (deep blue: many); their std", start);
  stage.text("name of bars", 0, base - bars / 2 - 8, "gradient of the loss with respect to these (last: 1)", start);
  for (const [v, words] of [[-REACH, `≤ ${-REACH}`], [0, "0"], [REACH, `≥ ${REACH}`]])
    stage.text(`level ${v}`, left - 8, top + high * (0.5 - v / (2 * REACH)) + 4, words, end);
  for (const power of [-6, 0, 6]) stage.text(`1e${power}`, left - 8, base - (power / 6) * 50 + 4, `1e${power}`, end);
  stage.line("last's", left, base, right, base, { opacity: 0.6 });
  for (const [l, { histogram, gradient, std }] of layers.entries()) {
    const bar = { x: (left + l * wide + 1).toFixed(1), width: Math.max(1, wide - 2).toFixed(1) };
    for (const [b, share] of histogram.entries()) {
      const dark = Math.min(1, 2.5 * share).toFixed(2), y = top + high * (1 - (b + 1) / BINS);
      stage.shape("rect", `${l} ${b}`, { ...bar, y, height: high / BINS, fill: BLUE, "fill-opacity": dark });
    }
    const power = clamp(Math.log10(gradient / last.gradient) || 0, -7, 7), to = base - (power / 6) * 50;
    const height = Math.max(2, Math.abs(to - base)), y = (to + base - height) / 2, middle = left + (l + 0.5) * wide;
    stage.shape("rect", `gradient ${l}`, { ...bar, y, height, fill: RED });
    if (Math.abs(power) === 7) stage.text(`cut ${l}`, middle, to + (power > 0 ? -3 : 12), power > 0 ? "↑" : "↓");
    if (!(l === 0 || l === n - 1 || ((l + 1) % 5 === 0 && n - l > 3))) continue;
    stage.text(`layer ${l}`, middle, base + bars / 2 + 16, `${l + 1}`);
    stage.text(`std ${l}`, middle, top + high + 16, short(+std.toPrecision(2)));
  }
  for (const name of ["depth", "gain", "activation"]) stage.control(name);
  stage.control("batch_norm", "batch norm");
  stage.control("skip", "skip connections");
  stage.button("other weights", () => stage.set({ seed: (state.seed + 1) % 1001 }));
  stage.button("start again", stage.again);
  stage.say("net", `${WIDTH} units a layer; weights with standard deviation gain / root(${WIDTH}); batch norm stands ` +
    "before the activation; a skip connection adds a layer's input to its output.");
  const wide_nets = "In wide nets with ReLU, batch norm lets the gradient grow by root(pi / (pi - 1)) = 1.21 a layer";
  if (state.batch_norm) stage.say("theory", `${wide_nets} (Yang et al., 2019).`);
  return { layers, sentence: verdict(layers, state.skip) };
}

export default {
  render: (place) => new Stage(place, "Values and gradients of a deep net", spec, draw).end,
};
